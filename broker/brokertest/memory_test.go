package brokertest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func TestMemoryRemembersIDsForItsWindow(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		window time.Duration
		within time.Duration
	}{
		"default":    {within: 2*time.Minute - 1},
		"configured": {window: time.Second, within: time.Second - 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &Memory{Window: tt.window}
				mk := &maker{app: newApp()}
				first := mk.event("a")
				appendAll(t, m, first)
				time.Sleep(tt.within)
				same := again(first)
				appendAll(t, m, same)
				wantDuplicate(t, same, first)
				time.Sleep(time.Nanosecond)
				late := again(first)
				appendAll(t, m, late)
				wantNew(t, late)
			})
		})
	}
}

func TestMemoryBreaksTails(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for name, tt := range map[string]struct {
		act  func(*Memory, broker.AppID)
		want error
	}{
		"Break": {act: func(m *Memory, app broker.AppID) { m.Break(app, cause) }, want: cause},
		"Reset": {act: func(m *Memory, app broker.AppID) { m.Reset(app) }, want: ErrTail},
		"Lose":  {act: func(m *Memory, app broker.AppID) { m.Lose(app, 1) }, want: ErrTail},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &Memory{}
			mk := &maker{app: newApp()}
			appendAll(t, m, mk.events("a", 2)...)
			one, two := follow(t, m, mk.app), follow(t, m, mk.app)
			elsewhere := follow(t, m, newApp())
			tt.act(m, mk.app)
			for _, f := range []*follower{one, two} {
				if e, ok := <-f.events; ok {
					t.Errorf("event %s from a broken tail", e.ID)
				}
				if !errors.Is(f.err, tt.want) {
					t.Errorf("tail's last word %v, want %v", f.err, tt.want)
				}
			}
			next := follow(t, m, mk.app)
			e := mk.event("a")
			appendAll(t, m, e)
			sameEvents(t, "next tail", []*broker.Event{e}, next.all(t, m, mk))
			if err := elsewhere.stop(); err != nil {
				t.Errorf("tail of another app: %v", err)
			}
		})
	}
}

func TestMemoryForgettingBreaksTailsThatAreBehind(t *testing.T) {
	t.Parallel()
	m := &Memory{}
	mk := &maker{app: newApp()}
	_, behind, err := m.Tail(t.Context(), mk.app)
	if err != nil {
		t.Fatal(err)
	}
	f := follow(t, m, mk.app)
	appendAll(t, m, mk.events("a", 3)...)
	f.next(t, 3)
	m.Forget(mk.app, 1)
	appendAll(t, m, mk.event("a"))
	f.next(t, 1) // has had what was forgotten
	for e, err := range behind {
		if !errors.Is(err, ErrTail) {
			t.Errorf("tail that missed something: %v, %v, want ErrTail", e, err)
		}
	}
}

func TestMemoryLoseGivesSerialsOutAgain(t *testing.T) {
	t.Parallel()
	m := &Memory{}
	mk := &maker{app: newApp()}
	events := mk.events("a", 5)
	appendAll(t, m, events...)
	m.Lose(mk.app, 3)
	lost := again(events[3]) // its ID went with it
	next := mk.event("a")
	appendAll(t, m, lost, next)
	wantNew(t, lost)
	if diff := cmp.Diff([]uint64{4, 5}, serials([]*broker.Event{lost, next})); diff != "" {
		t.Errorf("serials (-want +got):\n%s", diff)
	}
	if lost.Position.Epoch != events[0].Position.Epoch {
		t.Error("another epoch")
	}
	kept := again(events[2])
	appendAll(t, m, kept)
	wantDuplicate(t, kept, events[2])
	m.Lose(mk.app, 9) // beyond the end
	wantRange(t, Medium{Log: m, History: m}, mk.app, "a", 0, 9, []*broker.Event{events[0], events[1], events[2], lost, next})
}

func TestMemoryReset(t *testing.T) {
	t.Parallel()
	m := &Memory{}
	mk := &maker{app: newApp()}
	events := mk.events("a", 3)
	appendAll(t, m, events...)
	m.Reset(mk.app)
	fresh := again(events[0])
	appendAll(t, m, fresh)
	wantNew(t, fresh)
	if fresh.Position.Serial != 1 || fresh.Position.Epoch == events[0].Position.Epoch {
		t.Errorf("position %+v after a reset, want serial 1 and another epoch than %s", fresh.Position, events[0].Position.Epoch)
	}
}

func TestMemoryTailIsRangedOnce(t *testing.T) {
	t.Parallel()
	m := &Memory{}
	ctx, cancel := context.WithCancel(t.Context())
	_, tail, err := m.Tail(ctx, "1")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for e, err := range tail {
		t.Errorf("%v, %v from a tail whose context has ended", e, err)
	}
	var last error
	for _, err := range tail {
		last = err
	}
	if last == nil {
		t.Error("a tail could be ranged over a second time")
	}
}

func TestMemoryRefusesEventsOfSeveralApps(t *testing.T) {
	t.Parallel()
	m := &Memory{}
	one, two := &maker{app: newApp()}, &maker{app: newApp()}
	if err := m.Append(t.Context(), one.event("a"), two.event("a")); err == nil {
		t.Error("no error")
	}
	if first, err := m.At(t.Context(), one.app, 1); first != nil || err != nil {
		t.Errorf("%v, %v: something was stored", first, err)
	}
}
