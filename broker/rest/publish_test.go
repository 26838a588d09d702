package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// onLog has the site publish to a real node on a log.
func onLog(t *testing.T, log broker.Log) func(*Config, *broker.App) {
	t.Helper()
	node, err := broker.New(broker.Config{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config, _ *broker.App) { c.Node = node }
}

// stored returns the names of the events a log holds in a channel.
func stored(t *testing.T, log *brokertest.Memory, ch broker.Channel) []string {
	t.Helper()
	var names []string
	for e, err := range log.Range(t.Context(), "3", ch, 0, 1_000_000) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	return names
}

// What isn't known to be stored is an error, in both versions; and the next publish is fine.
func TestFaultsAre503(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		outcome brokertest.Outcome
		want    []string
	}{
		"failed":            {brokertest.NotStored, []string{"second"}},
		"failed but stored": {brokertest.StoredAnyway, []string{"first", "second"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory := &brokertest.Memory{}
			log := &brokertest.Faulty{Log: memory}
			s := open(t, onLog(t, log), remembers)
			log.FailAppends(1, v.outcome)
			w := s.send(s.request(t, "POST", "/apps/3/events", "", `{"name":"first","channel":"c","data":""}`))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" {
				t.Errorf("%d, Retry-After %q; want 503 and 1", w.Code, w.Header().Get("Retry-After"))
			}
			for _, part := range []string{"The event was not stored, or may not have been", "may deliver twice", "with an idempotency_key trying again is safe"} {
				if !strings.Contains(w.Body.String(), part) {
					t.Errorf("answer %q doesn't say %q", w.Body, part)
				}
			}
			if strings.Contains(w.Body.String(), "fault") {
				t.Errorf("answer %q tells of the inside", w.Body)
			}
			if status, body := s.do(t, "POST", "/apps/3/events", "", `{"name":"second","channel":"c","data":""}`); status != 200 {
				t.Errorf("the publish after it: %d %s", status, body)
			}
			if diff := cmp.Diff(v.want, stored(t, memory, "c")); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFaultsOfABatchAre503(t *testing.T) {
	t.Parallel()
	memory := &brokertest.Memory{}
	log := &brokertest.Faulty{Log: memory}
	s := open(t, onLog(t, log))
	log.FailAppends(1, brokertest.NotStored)
	status, _ := s.do(t, "POST", "/apps/3/batch_events", "", `{"batch":[`+items(3)+`]}`)
	if got := stored(t, memory, "c"); status != 503 || got != nil {
		t.Errorf("%d and %q stored, want 503 and nothing", status, got)
	}
}

func TestErrorsOfTheNode(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		err    error
		status int    // as counted
		sent   int    // as answered
		text   string // of the answer
		logged string
	}{
		"unavailable":   {fmt.Errorf("publish: %w", broker.ErrUnavailable), 503, 503, "may not have been", "level=WARN"},
		"closed":        {fmt.Errorf("publish: %w", broker.ErrClosed), 503, 503, "may not have been", "level=WARN"},
		"out of time":   {fmt.Errorf("publish: %w", context.DeadlineExceeded), 503, 503, "may be yet", "level=WARN"},
		"caller left":   {fmt.Errorf("publish: %w", context.Canceled), 499, 503, "given up", ""},
		"anything else": {errors.New("the secret inside"), 500, 500, "Internal server error", "level=ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logged bytes.Buffer
			s := open(t, func(c *Config, _ *broker.App) { c.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
			s.node.err = v.err
			status, body := s.do(t, "POST", "/apps/3/events", "", plainBody)
			if status != v.sent || !strings.Contains(body, v.text) || strings.Contains(body, "secret") {
				t.Errorf("%d %s, want %d with %q", status, body, v.sent, v.text)
			}
			if !strings.Contains(logged.String(), v.logged) || v.logged == "" && logged.Len() > 0 {
				t.Errorf("logged %q, want %q", &logged, v.logged)
			}
			if got := testutil.ToFloat64(s.api.metrics.requests.WithLabelValues("events", strconv.Itoa(v.status))); got != 1 {
				t.Errorf("%v requests counted with status %d, want 1", got, v.status)
			}
		})
	}
}

// While the log is down every publish is refused; the log of the process must not grow with them.
func TestRefusalsAreLoggedNowAndThen(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	now := vectorTime
	s := open(t, func(c *Config, _ *broker.App) {
		c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		c.Now = func() time.Time { return now }
	})
	s.node.err = broker.ErrUnavailable
	for range 100 {
		s.do(t, "POST", "/apps/3/events", "", plainBody)
		now = now.Add(250 * time.Millisecond)
	}
	if got := strings.Count(logged.String(), "level=WARN"); got != 3 {
		t.Errorf("%d warnings in 25 s, want 3", got)
	}
}

func TestPublishTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Faulty{Log: &brokertest.Memory{}}
		release := log.BlockAppends()
		defer release()
		s := open(t, onLog(t, log))
		started := time.Now()
		if status, body := s.do(t, "POST", "/apps/3/events", "", plainBody); status != 503 {
			t.Errorf("%d %s, want 503", status, body)
		}
		if took := time.Since(started); took != 15*time.Second {
			t.Errorf("answered after %v, want the default of 15 s", took)
		}
	})
}

func TestTheCallersDeadlineStands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Faulty{Log: &brokertest.Memory{}}
		release := log.BlockAppends()
		defer release()
		s := open(t, onLog(t, log))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started := time.Now()
		w := s.send(s.request(t, "POST", "/apps/3/events", "", plainBody).WithContext(ctx))
		if took := time.Since(started); w.Code != 503 || took != time.Minute {
			t.Errorf("%d after %v, want 503 after the caller's minute", w.Code, took)
		}
	})
}

func TestNoPublishTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &brokertest.Faulty{Log: &brokertest.Memory{}}
		release := log.BlockAppends()
		s := open(t, onLog(t, log), func(c *Config, _ *broker.App) { c.PublishTimeout = -1 })
		timer := time.AfterFunc(24*time.Hour, release)
		defer timer.Stop()
		if status, body := s.do(t, "POST", "/apps/3/events", "", plainBody); status != 200 {
			t.Errorf("%d %s, want 200 after a day", status, body)
		}
	})
}

// listener is a connection that keeps the names and channels of what it is delivered.
type listener struct{ events chan string }

func (l listener) Deliver(d *broker.Delivery) {
	l.events <- fmt.Sprintf("%s on %s: %s", d.Event.Name, d.Event.Channel, d.Event.Data)
}

func (l listener) Close(broker.Reason) {}

// Checklist 110, 112 and 116: what connections get of several publishes.
func TestDelivered(t *testing.T) {
	t.Parallel()
	node, err := broker.New(broker.Config{Log: &brokertest.Memory{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	feed, err := node.Feed(ctx, "3")
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Release()
	subscribe := func(socket broker.SocketID, channels ...broker.Channel) listener {
		l := listener{events: make(chan string, 100)}
		for _, ch := range channels {
			sub, _, err := feed.Subscribe(ch, socket, l)
			if err != nil {
				t.Fatal(err)
			}
			sub.Open(0)
		}
		return l
	}
	both, sender := subscribe("1.1", "a", "b"), subscribe("1.2", "a", "b")
	s := open(t, func(c *Config, _ *broker.App) { c.Node = node })
	for _, v := range []struct{ path, body string }{
		{"events", `{"name":"1","channels":["a","b","a"],"data":"x"}`},
		{"events", `{"name":"2","channels":["a","b"],"data":"x","socket_id":"1.2"}`},
		{"events", `{"name":"3","channel":"b","data":"x","socket_id":"99.99"}`},
		{"batch_events", `{"batch":[{"name":"4","channel":"a","data":"x"},{"name":"5","channel":"a","data":"y","socket_id":"1.2"},{"name":"6","channel":"a","data":"z"}]}`},
		{"events", `{"name":"end","channel":"a","data":""}`},
	} {
		if status, body := s.do(t, "POST", "/apps/3/"+v.path, "", v.body); status != 200 {
			t.Fatalf("%s: %d %s", v.body, status, body)
		}
	}
	for name, v := range map[string]struct {
		listener listener
		want     []string
	}{
		"a bystander": {both, []string{"1 on a: x", "1 on b: x", "2 on a: x", "2 on b: x", "3 on b: x", "4 on a: x", "5 on a: y", "6 on a: z", "end on a: "}},
		"the sender":  {sender, []string{"1 on a: x", "1 on b: x", "3 on b: x", "4 on a: x", "6 on a: z", "end on a: "}},
	} {
		var got []string
		for len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "end") {
			got = append(got, <-v.listener.events)
		}
		if diff := cmp.Diff(v.want, got); diff != "" {
			t.Errorf("%s got (-want +got):\n%s", name, diff)
		}
	}
}

// Checklist 113 and 115: counts are of the channels published to.
func TestInfo(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.join(t, "presence-a", "1.1", "10")
	s.join(t, "presence-a", "1.2", "10")
	s.join(t, "presence-a", "1.3", "11")
	s.join(t, "b", "1.1", "")
	for name, v := range map[string]struct{ path, body, want string }{
		"both": {
			"events", `{"name":"n","channels":["presence-a","b","c","b"],"data":"","info":"user_count,subscription_count"}`,
			`{"channels":{"presence-a":{"user_count":2,"subscription_count":3},"b":{"subscription_count":1},"c":{"subscription_count":0}}}`,
		},
		"what doesn't apply is left out": {
			"events", `{"name":"n","channels":["presence-a","b"],"data":"","info":"user_count"}`,
			`{"channels":{"presence-a":{"user_count":2},"b":{}}}`,
		},
		"one channel": {
			"events", `{"name":"n","channel":"b","data":"","info":"subscription_count"}`,
			`{"channels":{"b":{"subscription_count":1}}}`,
		},
		"a batch, asked for some": {
			"batch_events", `{"batch":[{"channel":"presence-a","name":"n","data":"","info":"user_count,subscription_count"},{"channel":"b","name":"n","data":""},{"channel":"b","name":"n","data":"","info":"user_count"},{"channel":"b","name":"n","data":"","info":"subscription_count"}]}`,
			`{"batch":[{"user_count":2,"subscription_count":3},{},{},{"subscription_count":1}]}`,
		},
		"with positions, of which this node has none": {
			"events", `{"name":"n","channels":["presence-a","b"],"data":"","idempotency_key":"k","info":"user_count,position,subscription_count"}`,
			`{"channels":{"presence-a":{"id":"k","position":null,"duplicate":false,"user_count":2,"subscription_count":3},"b":{"id":"k·2","position":null,"duplicate":false,"subscription_count":1}}}`,
		},
		"a batch, nothing asked": {
			"batch_events", `{"batch":[{"channel":"b","name":"n","data":""},{"channel":"b","name":"n","data":"","info":""}]}`,
			`{}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, body := s.do(t, "POST", "/apps/3/"+v.path, "", v.body); status != 200 || body != v.want {
				t.Errorf("%d %s\nwant 200 %s", status, body, v.want)
			}
		})
	}
}
