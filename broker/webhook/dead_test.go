package webhook

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func TestDeadHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.receiver.answers(func(post) int { return 500 })
		h.start()
		happened := time.Now()
		for _, ch := range []broker.Channel{"a", "b", "c"} {
			h.notify(broker.ChannelOccupied, ch, "")
		}
		h.after(10 * time.Minute)
		do := func(method, target, body string) (int, string) {
			w := httptest.NewRecorder()
			h.w.DeadHandler().ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
			return w.Code, w.Body.String()
		}

		code, body := do("GET", "/webhooks/dead?limit=2", "")
		var list DeadList
		if err := json.Unmarshal([]byte(body), &list); err != nil || code != http.StatusOK {
			t.Fatalf("%d %s: %v", code, body, err)
		}
		if len(list.Dead) != 2 || !list.More {
			t.Fatalf("list: %s", body)
		}
		d := list.Dead[0]
		if d.App != "shop" || d.Endpoint != "one" || !d.Time.Equal(happened) || !d.Died.After(d.Time) ||
			!strings.HasPrefix(string(d.Event), `{"name":"channel_occupied"`) || !strings.Contains(d.Why, "500") {
			t.Errorf("dead: %s", body)
		}
		if code, body = do("GET", "/?app=other", ""); code != 200 || strings.TrimSpace(body) != `{"dead":[],"more":false}` {
			t.Errorf("of another app: %d %s", code, body)
		}

		for _, bad := range []struct{ method, target, body string }{
			{"GET", "/?limit=0", ""}, {"GET", "/?limit=x", ""}, {"GET", "/?limit=1001", ""},
			{"POST", "/", ""}, {"POST", "/", "{}"}, {"POST", "/", "[]"}, {"POST", "/", `{"numbers":[1],"all":true}`},
			{"POST", "/", `{"numbers":[1],"app":"shop"}`}, {"POST", "/", `{"number":[1]}`}, {"POST", "/", `{"all":true} x`},
			{"POST", "/", `{"numbers":[-1]}`}, {"POST", "/", `{"numbers":[` + strings.Repeat("1,", 1<<20) + `1]}`},
		} {
			if code, body = do(bad.method, bad.target, bad.body); code != http.StatusBadRequest {
				t.Errorf("%s %s %.40s: %d %s", bad.method, bad.target, bad.body, code, body)
			}
		}
		if code, _ = do("DELETE", "/", ""); code != http.StatusMethodNotAllowed {
			t.Errorf("DELETE: %d", code)
		}

		h.receiver.answers(nil)
		before := len(h.told())
		if code, body = do("POST", "/", `{"numbers":[2,4711]}`); code != 200 || strings.TrimSpace(body) != `{"retried":1}` {
			t.Errorf("retry: %d %s", code, body)
		}
		h.after(time.Second)
		if got := h.told()[before:]; len(got) != 1 {
			t.Errorf("told again: %v", got)
		}
		if code, body = do("POST", "/", `{"all":true,"app":"shop"}`); code != 200 || strings.TrimSpace(body) != `{"retried":2}` {
			t.Errorf("retry all: %d %s", code, body)
		}
		h.after(time.Second)
		if diff := cmp.Diff([]string{"channel_occupied a", "channel_occupied b", "channel_occupied c"}, sorted(h.told()[before:])); diff != "" {
			t.Errorf("told again (-want +got):\n%s", diff)
		}
		h.queue.set(func() { h.queue.down = true })
		for _, down := range []struct{ method, body string }{{"GET", ""}, {"POST", `{"all":true}`}, {"POST", `{"numbers":[1]}`}} {
			if code, _ = do(down.method, "/", down.body); code != http.StatusServiceUnavailable {
				t.Errorf("%s %s with the queue down: %d", down.method, down.body, code)
			}
		}
		h.stop()
	})
}
