package streams_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
)

func clientEvents(n int) []*broker.Event {
	all := make([]*broker.Event, n)
	for i := range all {
		all[i] = event("shop", "private-a")
		all[i].Client = true
		all[i].Exclude = "1.1"
	}
	return all
}

func eventIDs(events []*broker.Event) []string {
	all := []string{}
	for _, e := range events {
		all = append(all, e.ID)
	}
	return all
}

// followSome follows until n events were yielded and followed, and then leaves the loop at the next
// that come, if any; those aren't followed.
func followSome(t *testing.T, l *streams.Letters, since time.Time, n int) []*broker.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	var got []*broker.Event
	for events, err := range l.Follow(ctx, "shop", since) {
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			t.Error("nothing yielded")
		}
		if len(got) == n {
			return got // what came now is left to the next
		}
		got = append(got, events...)
		if len(got) > n {
			t.Fatalf("%d events, want %d", len(got), n)
		}
		if len(got) == n {
			time.AfterFunc(100*time.Millisecond, cancel)
		}
	}
	if len(got) < n {
		t.Fatalf("%d events, want %d", len(got), n)
	}
	return got
}

// Client events are yielded once over restarts of the follower and of the server, from when it was
// first followed; a loop that ended before it came back for more leaves them to the next.
func TestFollow(t *testing.T) {
	t.Parallel()
	r := newRig(t, 0)
	s := r.streams()
	l := r.letters(s)
	appendAll(t, s, clientEvents(3)...)
	var since time.Time
	eventually(t, "the clock moves", func() bool { since = time.Now(); return true })
	first := clientEvents(300)
	appendAll(t, s, event("shop", "private-a"))
	if err := s.Append(soon(t), first...); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(eventIDs(first), eventIDs(followSome(t, l, since, 300))); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}

	second := clientEvents(10)
	appendAll(t, s, second...)
	for events, err := range l.Follow(soon(t), "shop", time.Now()) {
		if err != nil {
			t.Fatal(err)
		}
		if events[0].ID != second[0].ID {
			t.Errorf("first is %s, want %s", events[0].ID, second[0].ID)
		}
		break // killed before they were put anywhere
	}
	r.stop()
	r.start()
	again := r.letters(r.streams())
	got := followSome(t, again, time.Now(), 10)
	if diff := cmp.Diff(eventIDs(second), eventIDs(got)); diff != "" {
		t.Errorf("events after the restart (-want +got):\n%s", diff)
	}
	if e := got[0]; !e.Client || e.Exclude != "1.1" || e.Channel != "private-a" || e.Position.IsZero() {
		t.Errorf("event: %+v", e)
	}
}

// Only one of several followers is given anything; another goes on when it ends.
func TestFollowOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	s := r.streams(interval)
	ctx := soon(t)
	since := time.Now()
	seen := make(chan string, 1000)
	for i := range 3 {
		l := r.letters(r.streams(interval))
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			n := 0
			for events, err := range l.Follow(ctx, "shop", since) {
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range events {
					seen <- fmt.Sprint(e.ID)
				}
				if n += len(events); n >= 40 && i < 2 {
					cancel()
				}
			}
		}()
	}
	want := map[string]int{}
	for range 100 {
		e := clientEvents(1)
		appendAll(t, s, e...)
		want[e[0].ID] = 1
	}
	got := map[string]int{}
	for range 100 {
		select {
		case id := <-seen:
			got[id]++
		case <-ctx.Done():
			t.Fatalf("%d of 100 events", len(got))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Who unfollows and follows again begins anew.
func TestUnfollow(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	s := r.streams(interval)
	l := r.letters(s)
	if err := l.Unfollow(soon(t), "shop"); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	appendAll(t, s, clientEvents(2)...)
	followSome(t, l, since, 2)
	appendAll(t, s, clientEvents(3)...)
	if err := l.Unfollow(soon(t), "shop"); err != nil {
		t.Fatal(err)
	}
	since = time.Now()
	last := clientEvents(1)
	appendAll(t, s, last...)
	if diff := cmp.Diff(eventIDs(last), eventIDs(followSome(t, l, since, 1))); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
