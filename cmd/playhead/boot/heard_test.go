package boot

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/playhead/playhead/broker"
)

// scripted is a log whose tails yield what a test sends.
type scripted struct {
	broker.Log
	events chan *broker.Event
}

func (s scripted) Tail(context.Context, broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	return broker.Position{}, func(yield func(*broker.Event, error) bool) {
		for e := range s.events {
			if !yield(e, nil) {
				return
			}
		}
	}, nil
}

// While an app is tailed the last event of a cache channel that a backend published is known before the
// reader has it; when the tail has ended nothing is.
func TestHeard(t *testing.T) {
	t.Parallel()
	s := scripted{events: make(chan *broker.Event, 10)}
	h := newHeard(s)
	last := func(ch broker.Channel) string {
		e, err := h.Last(t.Context(), "a", ch)
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return ""
		}
		return e.Name
	}
	_, events, err := h.Tail(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*broker.Event{
		{Channel: "cache-c", Name: "1"}, {Channel: "cache-c", Name: "2"}, {Channel: "c", Name: "3"},
		{Channel: "cache-c", Name: "client-4", Client: true}, {Channel: "private-cache-c", Name: "5"},
	} {
		e.App = "a"
		s.events <- e
	}
	close(s.events)
	if got := last("cache-c"); got != "" {
		t.Errorf("before anything is heard: %q", got)
	}
	want := map[string][3]string{
		"1": {"1"}, "2": {"2"}, "3": {"2"}, "client-4": {"2"}, "5": {"2", "", "5"},
	}
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if got := [3]string{last("cache-c"), last("c"), last("private-cache-c")}; got != want[e.Name] {
			t.Errorf("with %s: %q, want %q", e.Name, got, want[e.Name])
		}
	}
	if got := last("cache-c"); got != "" || len(h.apps) != 0 || h.bytes != 0 {
		t.Errorf("after the tail: %q, %d apps, %d bytes", got, len(h.apps), h.bytes)
	}
}

// What is remembered is bounded, the newest is there, and a second tail keeps what is known.
func TestHeardBounds(t *testing.T) {
	t.Parallel()
	h := newHeard(nil)
	h.begin("a")
	h.begin("a")
	for i := range 100 {
		e := &broker.Event{App: "a", Channel: broker.Channel(fmt.Sprint("cache-", i%90)), Data: make([]byte, 1<<20)}
		h.keep(e)
	}
	if n := len(h.apps["a"].last); h.bytes > maxHeard || n < 60 || n > 64 {
		t.Errorf("%d events of %d bytes", n, h.bytes)
	}
	h.end("a")
	if len(h.apps) != 1 {
		t.Error("forgotten while there was a tail")
	}
	h.end("a")
	if len(h.apps) != 0 || h.bytes != 0 {
		t.Errorf("%d apps, %d bytes", len(h.apps), h.bytes)
	}
}
