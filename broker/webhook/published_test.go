package webhook

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// carrier is a log that carries and does not keep.
type carrier struct{ err error }

func (c *carrier) Append(context.Context, ...*broker.Event) error { return c.err }

func (c *carrier) Tail(context.Context, broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	return broker.Position{}, nil, errors.New("not here")
}

func published(ch broker.Channel, n int) *broker.Event {
	return &broker.Event{
		App: "shop", Channel: ch, ID: fmt.Sprintf("id-%d", n), Name: fmt.Sprintf("client-%d", n),
		Data: []byte(`{}`), Exclude: "1.2", Client: true, Time: time.Now(),
	}
}

// Without a source, client events are told by the node that appended them: each once, in order, and not
// before they are appended.
func TestPublished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.start(func(c *Config) { c.Source = nil })
		log := &carrier{}
		watched := h.w.Watch(log)
		backend := published("private-a", 0)
		backend.Client = false
		events := []*broker.Event{backend}
		var want []string
		for n := range 20 {
			events = append(events, published("private-a", n+1))
			want = append(want, fmt.Sprintf("client_event private-a client-%d", n+1))
		}
		for _, e := range events {
			if err := watched.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		log.err = broker.ErrUnavailable
		if err := watched.Append(t.Context(), published("private-a", 99)); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("append: %v", err)
		}
		h.after(time.Minute)
		if diff := cmp.Diff(want, h.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if n := h.metric("playhead_webhook_queued_total", "event=client_event"); n != 20 {
			t.Errorf("queued %v, want 20", n)
		}
		h.stop()
	})
}

// Nothing is told twice where a source gives client events, and nothing that nobody wants.
func TestPublishedAsWanted(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(h *harness, c *Config){
		"with a source":         func(*harness, *Config) {},
		"without an endpoint":   func(h *harness, c *Config) { c.Source = nil; h.apps.set() },
		"without client events": func(h *harness, c *Config) { c.Source = nil; h.apps.apps[0].ClientEvents = false },
		"another channel": func(h *harness, c *Config) {
			c.Source = nil
			quiet := hook
			quiet.ChannelPrefix = "presence-"
			h.apps.set(quiet)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, hook)
				h.start(func(c *Config) { change(h, c) })
				if err := h.w.Watch(&carrier{}).Append(t.Context(), published("private-a", 1)); err != nil {
					t.Fatal(err)
				}
				h.after(time.Minute)
				if got := h.told(); len(got) != 0 {
					t.Errorf("told: %v", got)
				}
				h.stop()
			})
		})
	}
}

// Client events in the buffer are bounded by what they take.
func TestPublishedIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, hook)
		h.queue.down = true
		h.start(func(c *Config) { c.Source, c.BufferBytes = nil, 100_000 })
		watched := h.w.Watch(&carrier{})
		for n := range 50 {
			e := published("private-a", n)
			e.Data = []byte(`"` + strings.Repeat("x", 9500) + `"`)
			if err := watched.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			h.after(time.Millisecond)
		}
		// One is in the writer's hand, ten are in the buffer.
		if n := h.metric("playhead_webhook_dropped_total", "reason=buffer_full"); n != 39 {
			t.Errorf("dropped %v, want 39", n)
		}
		h.queue.set(func() { h.queue.down = false })
		h.after(time.Minute)
		if n := len(h.told()); n != 11 {
			t.Errorf("%d told, want 11", n)
		}
		h.stop()
	})
}
