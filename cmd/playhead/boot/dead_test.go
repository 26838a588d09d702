package boot

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

// What an endpoint refuses ends among the dead; from there it can be listed and sent again.
func TestDeadWebhooks(t *testing.T) {
	t.Parallel()
	var well atomic.Bool
	bodies := make(chan string, 100)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !well.Load() {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		b, _ := io.ReadAll(r.Body)
		bodies <- string(b)
	}))
	t.Cleanup(endpoint.Close)
	l := fromFile(t, fmt.Sprintf("webhooks: {max_age: 50ms}\napps: [{id: a, key: k, secret: s, webhooks: [{name: one, url: %q, events: channel_occupied}]}]", endpoint.URL))
	second := "http://" + l.MetricsAddr().String()
	list := func(c DeadConfig) string {
		t.Helper()
		var out strings.Builder
		c.URL, c.Output = second, &out
		if err := ListDead(t.Context(), Config{}, c); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := list(DeadConfig{}); got != "No webhook is dead.\n" {
		t.Errorf("at first: %s", got)
	}
	l.joined(t, "k")
	var got string
	await(t, "a dead webhook", func() bool { got = list(DeadConfig{AppID: "a"}); return strings.Contains(got, "endpoint one") })
	if !regexp.MustCompile(`^1  \S+Z  app "a"  endpoint one  .*418.*\n    {"name":"channel_occupied","channel":"c"}\n$`).MatchString(got) {
		t.Errorf("list %q", got)
	}
	if got := list(DeadConfig{AppID: "b"}); got != "No webhook is dead.\n" {
		t.Errorf("of another app: %s", got)
	}
	well.Store(true)
	var out strings.Builder
	if err := RetryDead(t.Context(), Config{}, DeadConfig{URL: second, Numbers: []uint64{1, 7}, Output: &out}); err != nil || out.String() != "1 put into the queue again.\n" {
		t.Errorf("retry: %q, %v", out.String(), err)
	}
	if got := <-bodies; !strings.Contains(got, `[{"name":"channel_occupied","channel":"c"}]`) {
		t.Errorf("sent again: %s", got)
	}
	await(t, "nobody dead", func() bool { return list(DeadConfig{}) == "No webhook is dead.\n" })

	for name, tt := range map[string]struct {
		do   func() error
		want string
	}{
		"limit":   {func() error { return ListDead(t.Context(), Config{}, DeadConfig{URL: second, Limit: 5000}) }, `list dead webhooks: ` + second + ` answered 400 Bad Request: limit: "5000" is no number from 1 to 1000`},
		"nothing": {func() error { return RetryDead(t.Context(), Config{}, DeadConfig{URL: second}) }, "either numbers, or all and perhaps app"},
		"no URL":  {func() error { return ListDead(t.Context(), Config{}, DeadConfig{URL: "localhost:9601"}) }, `list dead webhooks: "localhost:9601" is not the URL of a node's second listener; write it like http://127.0.0.1:9601`},
		"nobody":  {func() error { return ListDead(t.Context(), Config{}, DeadConfig{URL: "http://127.0.0.1:1"}) }, "is the server running, and metrics.enabled?"},
		"doors":   {func() error { return ListDead(t.Context(), Config{}, DeadConfig{URL: l.url("")}) }, "answered 404 Not Found"},
	} {
		if err := tt.do(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}
