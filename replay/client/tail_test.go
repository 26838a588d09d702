package client

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

// subscriptions are channels to follow from now on.
func subscriptions(channels ...broker.Channel) []Subscription {
	var all []Subscription
	for _, ch := range channels {
		all = append(all, Subscription{Channel: ch})
	}
	return all
}

// The event is what was published, with all that is known of it.
func TestTailYieldsWhatWasPublished(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	c := h.client(nil)
	ready := make(answers, 10)
	var sent *broker.Event
	var wait sync.WaitGroup
	wait.Go(func() {
		ready.take(t)
		sent = h.publish("orders", `App\Event "<x>"`, "not JSON & \u2028 \x00")
	})
	defer wait.Wait()
	for e, err := range c.Tail(t.Context(), TailOptions{Subscriptions: subscriptions("orders"), Subscribed: func(a Answer) { ready <- a }}) {
		if err != nil {
			t.Fatal(err)
		}
		wait.Wait()
		want := Event{
			Channel: "orders", ID: sent.ID, Name: `App\Event "<x>"`, Data: "not JSON & \u2028 \x00",
			Position: Position(sent.Position.String()), Time: sent.Time,
		}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Error(diff)
		}
		break
	}
	// Leaving the loop has hung up, in words.
	await(t, "the session closed", func() bool { return h.closes("client_closed") == 1 })
}

// Over cuts, every event of each channel comes once and in order, and nothing of others.
func TestTailComesBack(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	c := h.client(nil)
	ready := make(answers, 100)
	opts := TailOptions{
		Subscriptions: []Subscription{
			{Channel: "a"}, {Channel: "private-b"}, {Channel: "presence-c", ChannelData: `{"user_id":"me"}`},
		},
		Subscribed: func(a Answer) { ready <- a },
	}
	g := collect(t, c, opts)
	for range opts.Subscriptions {
		if a := ready.take(t); a.Position == "" || a.SocketID == "" || a.Replayed != 0 {
			t.Errorf("first answer %+v", a)
		}
	}
	want := map[string][]string{}
	say := func(ch broker.Channel, data string) {
		h.publish(ch, "e", data)
		want[string(ch)] = append(want[string(ch)], fmt.Sprintf("%s e %s", ch, data))
	}
	say("a", "0")
	g.await(t, 1)
	for round := range 3 {
		h.lines.accept(false)
		h.lines.cut()
		for i := range 5 {
			for _, s := range opts.Subscriptions {
				say(s.Channel, fmt.Sprint(round, "-", i))
			}
			h.publish("other", "e", "")
		}
		h.lines.accept(true)
		for range opts.Subscriptions {
			if a := ready.take(t); a.Replayed != 5 {
				t.Errorf("answer %+v, want 5 replayed", a)
			}
		}
		say("private-b", fmt.Sprint("live ", round))
		all := g.await(t, 1+16*(round+1))
		byChannel := map[string][]string{}
		for _, line := range all {
			ch, _, _ := strings.Cut(line, " ")
			byChannel[ch] = append(byChannel[ch], line)
		}
		if diff := cmp.Diff(want, byChannel); diff != "" {
			t.Fatal(diff)
		}
	}
}

// A kept position is where the tail begins, at the end of the log or far back.
func TestTailAfter(t *testing.T) {
	t.Parallel()
	h := start(t, setup{maxEvents: 10})
	c := h.client(nil)
	var all []*broker.Event
	for i := range 2_500 {
		all = append(all, h.publish("a", "e", fmt.Sprint(i)))
		if i%10 == 0 {
			h.publish("b", "e", "")
		}
	}
	for name, after := range map[string]int{
		"at the end": 2_499, "within a replay": 2_495, "beyond a replay": 2_480, "beyond a page": 100,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			next := after + 1
			opts := TailOptions{Subscriptions: []Subscription{{Channel: "a", After: Position(all[after].Position.String())}}}
			if next == len(all) {
				opts.Subscribed = func(a Answer) { // there is nothing to come; the loop has to be left by hand
					if a.Replayed != 0 {
						t.Errorf("answer %+v", a)
					}
					cancel()
				}
			}
			for e, err := range c.Tail(ctx, opts) {
				if err != nil {
					t.Fatal(err)
				}
				want := all[next]
				if e.ID != want.ID || e.Data != string(want.Data) || e.Position != Position(want.Position.String()) || !e.Time.Equal(want.Time) {
					t.Fatalf("got %+v, want number %d", e, next)
				}
				if next++; next == len(all) {
					break
				}
			}
			if next != len(all) {
				t.Errorf("ended before number %d", next)
			}
		})
	}
}

// What a channel's past gives and what it can't give.
func TestTailRewind(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	c := h.client(nil)
	var middle time.Time
	for i := range 6 {
		e := h.publish("a", "e", fmt.Sprint(i))
		if i == 3 {
			middle = e.Time
		}
		time.Sleep(2 * time.Millisecond) // event times are whole milliseconds and must differ
	}
	for name, tt := range map[string]struct {
		rewind Rewind
		want   []string
	}{
		"last":         {Rewind{Last: 2}, []string{"a e 4", "a e 5"}},
		"since":        {Rewind{Since: middle}, []string{"a e 3", "a e 4", "a e 5"}},
		"within":       {Rewind{Within: time.Hour}, []string{"a e 0", "a e 1", "a e 2", "a e 3", "a e 4", "a e 5"}},
		"more than is": {Rewind{Last: 100}, []string{"a e 0", "a e 1", "a e 2", "a e 3", "a e 4", "a e 5"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := collect(t, c, TailOptions{Subscriptions: []Subscription{{Channel: "a", Rewind: tt.rewind}}})
			if diff := cmp.Diff(tt.want, g.await(t, len(tt.want))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Each reason for a gap is told once, and the tail goes on.
func TestTailTellsGaps(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		setup  setup
		key    bool // without the secret
		before func(h *harness) (after Position)
		want   string
	}{
		"expired": {before: func(h *harness) Position {
			at := h.publish("a", "e", "0").Position
			h.memory.Forget("1", h.publish("a", "e", "1").Position.Serial)
			return Position(at.String())
		}, want: "a gap expired"},
		"reset": {before: func(h *harness) Position {
			at := h.publish("a", "e", "0").Position
			h.memory.Reset("1")
			return Position(at.String())
		}, want: "a gap reset"},
		"invalid": {before: func(*harness) Position { return "no position" }, want: "a gap invalid"},
		"too far, nothing to sign with": {setup: setup{maxEvents: 3}, key: true, before: func(h *harness) Position {
			at := h.publish("a", "e", "0").Position
			for range 4 {
				h.publish("a", "e", "1")
			}
			return Position(at.String())
		}, want: "a gap too_far"},
		"unavailable": {before: func(h *harness) Position {
			at := h.publish("a", "e", "0").Position
			h.publish("a", "e", "1")
			h.history.FailAt(1_000)
			h.history.FailBounds(1_000)
			h.history.FailRange(1_000)
			return Position(at.String())
		}, want: "a gap unavailable"},
		"unsupported": {setup: setup{amnesia: true}, before: func(*harness) Position { return "1-E-1-0" }, want: "a gap unsupported"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, tt.setup)
			c := h.client(func(cfg *Config) {
				if tt.key {
					cfg.Secret, cfg.AppID = "", ""
				}
			})
			after := tt.before(h)
			ready := make(answers, 100)
			g := collect(t, c, TailOptions{
				Subscriptions: []Subscription{{Channel: "a", After: after}},
				Subscribed:    func(a Answer) { ready <- a },
			})
			ready.take(t)
			h.publish("a", "e", "live")
			if diff := cmp.Diff([]string{tt.want, "a e live"}, g.await(t, 2)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A log that can't be read for a while costs time, not events.
func TestTailWaitsForTheLog(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	at := h.publish("a", "e", "0").Position
	h.publish("a", "e", "1")
	h.history.FailRange(3)
	g := collect(t, h.client(nil), TailOptions{Subscriptions: []Subscription{{Channel: "a", After: Position(at.String())}}})
	if diff := cmp.Diff([]string{"a e 1"}, g.await(t, 1)); diff != "" {
		t.Error(diff)
	}
}

// Where events have no positions a cut is a gap, each time.
func TestTailWithoutMemory(t *testing.T) {
	t.Parallel()
	h := start(t, setup{amnesia: true})
	ready := make(answers, 100)
	g := collect(t, h.client(nil), TailOptions{Subscriptions: subscriptions("a"), Subscribed: func(a Answer) { ready <- a }})
	ready.take(t)
	h.publish("a", "e", "0")
	want := []string{"a e 0"}
	g.await(t, 1)
	for range 2 {
		h.lines.cut()
		ready.take(t)
		h.publish("a", "e", "1")
		want = append(want, "a gap unsupported", "a e 1")
		if diff := cmp.Diff(want, g.await(t, len(want))); diff != "" {
			t.Fatal(diff)
		}
	}
}

// A cache channel begins with its last event, has it no second time after a cut, and after a gap
// only when it is a new one.
func TestTailOfCacheChannel(t *testing.T) {
	t.Parallel()
	h := start(t, setup{})
	h.publish("cache-a", "e", "0")
	h.publish("b", "e", "the log's end isn't that event")
	ready := make(answers, 100)
	g := collect(t, h.client(nil), TailOptions{Subscriptions: subscriptions("cache-a", "cache-empty"), Subscribed: func(a Answer) { ready <- a }})
	want := []string{"cache-a e 0"}
	g.await(t, 1)
	cut := func() {
		h.lines.accept(false)
		h.lines.cut()
	}
	back := func() {
		h.lines.accept(true)
		ready.take(t)
		ready.take(t)
	}
	ready.take(t)
	ready.take(t)
	cut()
	back()
	h.publish("cache-a", "e", "1")
	h.publish("cache-empty", "e", "first")
	want = append(want, "cache-a e 1", "cache-empty e first")
	g.await(t, 3)
	cut()
	h.memory.Forget("1", h.publish("b", "e", "").Position.Serial)
	h.publish("b", "e", "")
	back()
	want = append(want, "cache-a gap expired", "cache-empty gap expired")
	h.publish("cache-a", "e", "2")
	want = append(want, "cache-a e 2")
	all := g.await(t, len(want))
	slices.Sort(all)
	slices.Sort(want)
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
}
