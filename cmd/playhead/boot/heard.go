package boot

import (
	"context"
	"iter"
	"sync"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// maxHeard bounds what is remembered of all apps, in bytes as [broker.Event.Size] has them.
const maxHeard = 64 << 20

// heard is a log that remembers the last events of cache channels which have come through its tails: a
// cache in this process. Of an app without a tail it knows nothing, rather than something old.
type heard struct {
	broker.Log

	mu    sync.Mutex
	apps  map[broker.AppID]*heardApp // guarded by mu; those with tails
	bytes int                        // guarded by mu
}

// heardApp is what is remembered of an app. It is guarded by heard.mu.
type heardApp struct {
	tails int
	last  map[broker.Channel]*broker.Event
}

var (
	_ broker.Log   = (*heard)(nil)
	_ broker.Cache = (*heard)(nil)
)

func newHeard(log broker.Log) *heard {
	return &heard{Log: log, apps: map[broker.AppID]*heardApp{}}
}

// Tail implements [broker.Log]. An event is remembered before the tail's reader has it.
func (h *heard) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	from, events, err := h.Log.Tail(ctx, app)
	if err != nil {
		return from, events, err
	}
	return from, func(yield func(*broker.Event, error) bool) {
		h.begin(app)
		defer h.end(app)
		for e, err := range events {
			if err == nil && !e.Client && pusher.KindOf(e.Channel).Cache() {
				h.keep(e)
			}
			if !yield(e, err) {
				return
			}
		}
	}, nil
}

// Last implements [broker.Cache]. It has no error.
func (h *heard) Last(_ context.Context, app broker.AppID, ch broker.Channel) (*broker.Event, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.apps[app]; a != nil {
		return a.last[ch], nil
	}
	return nil, nil
}

func (h *heard) begin(app broker.AppID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.apps[app]
	if a == nil {
		a = &heardApp{last: map[broker.Channel]*broker.Event{}}
		h.apps[app] = a
	}
	a.tails++
}

// end forgets the app with its last tail: from now on events pass unheard.
func (h *heard) end(app broker.AppID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.apps[app]
	if a.tails--; a.tails > 0 {
		return
	}
	for _, e := range a.last {
		h.bytes -= e.Size()
	}
	delete(h.apps, app)
}

// keep remembers an event. Over the bound others of its app are forgotten, any of them: who asks for those
// is told that there is none.
func (h *heard) keep(e *broker.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := h.apps[e.App].last
	if old := last[e.Channel]; old != nil {
		h.bytes -= old.Size()
	}
	last[e.Channel] = e
	h.bytes += e.Size()
	for ch, other := range last {
		if h.bytes <= maxHeard {
			return
		}
		h.bytes -= other.Size()
		delete(last, ch)
	}
}
