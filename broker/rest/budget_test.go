package rest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/playhead/playhead/broker"
)

func triggerOf(channels int) string {
	names := make([]string, channels)
	for i := range names {
		names[i] = fmt.Sprintf(`"c-%d"`, i)
	}
	return `{"name":"e","data":"d","channels":[` + strings.Join(names, ",") + `]}`
}

func batchOf(events int) string {
	return `{"batch":[` + strings.TrimSuffix(strings.Repeat(`{"name":"e","data":"d","channel":"c"},`, events), ",") + `]}`
}

// Too much is answered 429 with the limit's name and when to come again; then it is fine again.
func TestBudgets(t *testing.T) {
	t.Parallel()
	const over = "Rate limit exceeded: at most 10 events per second are allowed (backend_events_per_second)"
	type step struct {
		after              time.Duration
		method, path, body string
		status             int
		text, retryAfter   string
	}
	for name, v := range map[string]struct {
		limits broker.Limits
		steps  []step
	}{
		"no limit by default": {broker.Limits{}, []step{
			{0, "POST", "/apps/3/events", triggerOf(100), 200, "{}", ""},
			{0, "POST", "/apps/3/events", triggerOf(100), 200, "{}", ""},
			{0, "GET", "/apps/3/channels", "", 200, `{"channels":{}}`, ""},
		}},
		"each channel of a trigger counts": {broker.Limits{BackendEventsPerSecond: 10}, []step{
			{0, "POST", "/apps/3/events", triggerOf(8), 200, "{}", ""},
			{0, "POST", "/apps/3/events", triggerOf(3), 429, over, "1"},
			{0, "POST", "/apps/3/events", triggerOf(2), 200, "{}", ""},
			{0, "POST", "/apps/3/events", triggerOf(1), 429, over, "1"},
			{100 * time.Millisecond, "POST", "/apps/3/events", triggerOf(1), 200, "{}", ""},
		}},
		"a channel that is named twice counts once": {broker.Limits{BackendEventsPerSecond: 1}, []step{
			{0, "POST", "/apps/3/events", `{"name":"e","data":"d","channels":["c","c"]}`, 200, "{}", ""},
			{time.Second, "POST", "/apps/3/events", `{"name":"e","data":"d","channels":["c","c"]}`, 200, "{}", ""},
		}},
		"each event of a batch counts": {broker.Limits{BackendEventsPerSecond: 10}, []step{
			{0, "POST", "/apps/3/batch_events", batchOf(10), 200, "{}", ""},
			{0, "POST", "/apps/3/batch_events", batchOf(1), 429, over, "1"},
			{time.Second, "POST", "/apps/3/batch_events", batchOf(10), 200, "{}", ""},
		}},
		"more than a second's worth is owed for": {broker.Limits{BackendEventsPerSecond: 10}, []step{
			{0, "POST", "/apps/3/events", triggerOf(30), 200, "{}", ""},
			{0, "POST", "/apps/3/events", triggerOf(1), 429, over, "3"},
			{2 * time.Second, "POST", "/apps/3/events", triggerOf(1), 429, over, "1"},
			{100 * time.Millisecond, "POST", "/apps/3/events", triggerOf(1), 200, "{}", ""},
		}},
		"what is refused costs nothing": {broker.Limits{BackendEventsPerSecond: 1}, []step{
			{0, "POST", "/apps/3/events", `{"name":"e","data":"d","channels":["a b"]}`, 400, "Invalid channel name 'a b': character ' ' is not allowed", ""},
			{0, "POST", "/apps/3/events", triggerOf(1), 200, "{}", ""},
		}},
		"questions have a budget of their own": {broker.Limits{BackendEventsPerSecond: 1, ReadRequestsPerSecond: 2}, []step{
			{0, "POST", "/apps/3/events", triggerOf(1), 200, "{}", ""},
			{0, "GET", "/apps/3/channels", "", 200, `{"channels":{}}`, ""},
			{0, "GET", "/apps/3/channels/c", "", 200, `{"occupied":false}`, ""},
			{0, "GET", "/apps/3/channels/presence-c/users", "", 429, "Rate limit exceeded: at most 2 read requests per second are allowed (read_requests_per_second)", "1"},
			{500 * time.Millisecond, "GET", "/apps/3/channels/presence-c/users", "", 200, `{"users":[]}`, ""},
		}},
		"history is a question": {broker.Limits{ReadRequestsPerSecond: 1}, []step{
			{0, "GET", historyPath, "", 501, "unsupported: the medium of this server has no memory, so there is no history", ""},
			{0, "GET", historyPath, "", 429, "Rate limit exceeded: at most 1 read requests per second are allowed (read_requests_per_second)", "1"},
		}},
		"a duplicate costs what any event does": {broker.Limits{BackendEventsPerSecond: 1}, []step{
			{0, "POST", "/apps/3/events", `{"name":"e","data":"d","channel":"c","idempotency_key":"k"}`, 200, "{}", ""},
			{0, "POST", "/apps/3/events", `{"name":"e","data":"d","channel":"c","idempotency_key":"k"}`, 429, "Rate limit exceeded: at most 1 events per second are allowed (backend_events_per_second)", "1"},
		}},
		"ending connections is no event": {broker.Limits{BackendEventsPerSecond: 1, ReadRequestsPerSecond: 1}, []step{
			{0, "POST", "/apps/3/users/1/terminate_connections", "", 200, "{}", ""},
			{0, "POST", "/apps/3/users/1/terminate_connections", "", 200, "{}", ""},
			{0, "POST", "/apps/3/events", triggerOf(1), 200, "{}", ""},
			{0, "GET", "/apps/3/channels", "", 200, `{"channels":{}}`, ""},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := open(t, func(_ *Config, app *broker.App) { app.Limits = v.limits.WithDefaults() })
				for i, st := range v.steps {
					time.Sleep(st.after)
					published := len(s.node.calls)
					w := s.send(s.request(t, st.method, st.path, "", st.body))
					if w.Code != st.status || strings.TrimSuffix(w.Body.String(), "\n") != st.text || w.Header().Get("Retry-After") != st.retryAfter {
						t.Errorf("step %d: %d %q, Retry-After %q; want %d %q, %q", i+1, w.Code, w.Body, w.Header().Get("Retry-After"), st.status, st.text, st.retryAfter)
					}
					if st.status != 200 && len(s.node.calls) != published {
						t.Errorf("step %d: published all the same", i+1)
					}
				}
			})
		})
	}
}

// Neither strangers nor other apps use up an app's budget.
func TestBudgetsAreApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, func(c *Config, app *broker.App) {
			app.Limits.ReadRequestsPerSecond = 1
			other := *app
			other.ID = "4"
			c.Apps.(appsOf)["4"] = &other
		})
		for range 3 {
			r := s.request(t, "GET", "/apps/3/channels", "", "")
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "auth_signature=", "auth_signature=0", 1)
			if w := s.send(r); w.Code != http.StatusUnauthorized {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		for i, want := range []int{200, 429} {
			for _, app := range []string{"3", "4"} {
				if status, body := s.do(t, "GET", "/apps/"+app+"/channels", "", ""); status != want {
					t.Errorf("request %d for app %s: %d %s, want %d", i+1, app, status, body, want)
				}
			}
		}
	})
}

// A changed limit holds for the next request.
func TestBudgetOfAChangedApp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		apps := appsOf{}
		s := open(t, func(c *Config, app *broker.App) {
			app.Limits.ReadRequestsPerSecond = 1
			apps["3"] = app
			c.Apps = apps
		})
		ask := func(want int) {
			t.Helper()
			if status, body := s.do(t, "GET", "/apps/3/channels", "", ""); status != want {
				t.Errorf("%d %s, want %d", status, body, want)
			}
		}
		ask(200)
		ask(429)
		changed := *s.app
		changed.Limits.ReadRequestsPerSecond = 0
		apps["3"] = &changed
		for range 10 {
			ask(200)
		}
		apps["3"] = s.app
		time.Sleep(time.Second)
		ask(200)
		ask(429)
	})
}
