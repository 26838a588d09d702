package brokertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay"
)

// Medium is what the suites test: one node's views of a medium. A field is nil where the medium
// lacks the capability.
type Medium struct {
	// Log is required. It is tailed once at a time for each app, as a node does.
	Log broker.Log

	// Other is the log as another node of the same medium has it. Nil leaves out what takes
	// two nodes.
	Other broker.Log

	// Cache is required by [TestCache].
	Cache broker.Cache

	// History is required by [TestHistory]. A medium that has one has memory: [TestLog] then
	// expects positions, and that an ID is stored once.
	History replay.History

	// Forget lets the app's log forget everything up to a serial, as retention does. Nil
	// leaves out what takes it.
	Forget func(t *testing.T, app broker.AppID, upto uint64)
}

// remembers reports whether the medium has memory.
func (m Medium) remembers() bool { return m.History != nil }

// patience bounds what a suite waits for, so that a test that waits in vain says for what.
const patience = 30 * time.Second

// bounded returns the test's context, bounded.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newApp makes an app id that nobody used before.
func newApp() broker.AppID { return broker.AppID("suite-" + rand.Text()) }

// maker makes events of one app.
type maker struct {
	app broker.AppID
	n   int
}

// event makes an event that a backend publishes. Its ID ends in a number that grows.
func (m *maker) event(ch broker.Channel) *broker.Event {
	m.n++
	return &broker.Event{
		App:     m.app,
		Channel: ch,
		ID:      fmt.Sprintf("%s-%d", rand.Text(), m.n),
		Name:    "suite.event",
		Data:    fmt.Appendf(nil, `{"n":%d}`, m.n),
		Time:    time.Now().UTC().Truncate(time.Millisecond),
	}
}

// events makes n events.
func (m *maker) events(ch broker.Channel, n int) []*broker.Event {
	all := make([]*broker.Event, n)
	for i := range all {
		all[i] = m.event(ch)
	}
	return all
}

// appendAll appends events one by one.
func appendAll(t *testing.T, log broker.Log, events ...*broker.Event) {
	t.Helper()
	for _, e := range events {
		if err := log.Append(bounded(t), e); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
}

// appendOnce appends events in one call.
func appendOnce(t *testing.T, log broker.Log, events ...*broker.Event) {
	t.Helper()
	if err := log.Append(bounded(t), events...); err != nil {
		t.Fatalf("append: %v", err)
	}
}

// ids returns the events' IDs.
func ids(events []*broker.Event) []string {
	var all []string
	for _, e := range events {
		all = append(all, e.ID)
	}
	return all
}

// serials returns the events' serials.
func serials(events []*broker.Event) []uint64 {
	var all []uint64
	for _, e := range events {
		all = append(all, e.Position.Serial)
	}
	return all
}

// sameEvents compares events field by field; empty data may come back as nil. The diff is made
// only when there is one, for it takes long.
func sameEvents(t *testing.T, what string, want, have []*broker.Event) {
	t.Helper()
	if slices.EqualFunc(want, have, same) {
		return
	}
	t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(want, have, cmpopts.EquateEmpty()))
}

// same reports whether two events are equal in every field.
func same(a, b *broker.Event) bool {
	x, y := *a, *b
	sameData, sameTime := bytes.Equal(x.Data, y.Data), x.Time.Equal(y.Time)
	x.Data, y.Data, x.Time, y.Time = nil, nil, time.Time{}, time.Time{}
	return sameData && sameTime && reflect.DeepEqual(x, y)
}

// sameIDs compares events by their IDs, in order.
func sameIDs(t *testing.T, what string, want, have []*broker.Event) {
	t.Helper()
	if diff := cmp.Diff(ids(want), ids(have)); diff != "" {
		t.Errorf("%s, by id (-want +got):\n%s", what, diff)
	}
}

// arrived returns the events as a reader must get them: as they are, not marked as duplicates,
// and without a position where the medium has no memory.
func arrived(m Medium, events ...*broker.Event) []*broker.Event {
	all := make([]*broker.Event, len(events))
	for i, e := range events {
		own := *e
		own.Duplicate = false
		if !m.remembers() {
			own.Position = broker.Position{}
		}
		all[i] = &own
	}
	return all
}

// follower follows an app's tail in a goroutine of its own.
type follower struct {
	from   broker.Position
	events chan *broker.Event // closed when the tail has ended
	err    error              // the tail's last word; set before events is closed
	cancel context.CancelFunc
}

// follow begins a tail. It ends with the test at the latest.
func follow(t *testing.T, log broker.Log, app broker.AppID) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	from, events, err := log.Tail(ctx, app)
	if err != nil {
		cancel()
		t.Fatalf("tail: %v", err)
	}
	f := &follower{from: from, events: make(chan *broker.Event), cancel: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(f.events)
		for e, err := range events {
			if err != nil {
				f.err = err
				return
			}
			select {
			case f.events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// next waits for the next n events.
func (f *follower) next(t *testing.T, n int) []*broker.Event {
	t.Helper()
	ctx := bounded(t)
	var all []*broker.Event
	for len(all) < n {
		select {
		case e, ok := <-f.events:
			if !ok {
				t.Fatalf("tail ended after %d of %d events: %v", len(all), n, f.err)
			}
			all = append(all, e)
		case <-ctx.Done():
			t.Fatalf("tail gave %d of %d events: %v", len(all), n, ctx.Err())
		}
	}
	return all
}

// until waits for the event with an ID and returns all before it, without it.
func (f *follower) until(t *testing.T, id string) []*broker.Event {
	t.Helper()
	var all []*broker.Event
	for {
		e := f.next(t, 1)[0]
		if e.ID == id {
			return all
		}
		all = append(all, e)
	}
}

// all appends one more event and returns what the tail gave until then. It shows that nothing
// else is on its way, without waiting for nothing to happen.
func (f *follower) all(t *testing.T, log broker.Log, mk *maker) []*broker.Event {
	t.Helper()
	mark := mk.event("mark")
	appendAll(t, log, mark)
	return f.until(t, mark.ID)
}

// stop ends the tail and returns its last word.
func (f *follower) stop() error {
	f.cancel()
	for range f.events { // what it was about to give
	}
	return f.err
}

// canceled returns a context that has ended.
func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// wantCanceled checks that an error is the context's.
func wantCanceled(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%s with a context that has ended: %v, want its error", what, err)
	}
}
