package webhook

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

const (
	// putLetters is how many letters are put at once, at most.
	putLetters = 500
	// putPauseMin and putPauseMax bound the pause after the queue could not be reached.
	putPauseMin = 50 * time.Millisecond
	putPauseMax = 2 * time.Second
	// warnEvery is how often it is logged that something is dropped.
	warnEvery = 10 * time.Second
)

// buffer holds notices between whoever tells them, perhaps with locks held, and the queue.
type buffer struct {
	most, mostBytes int
	wake            chan struct{} // tells the writer that something waits

	mu      sync.Mutex
	notices []told // guarded by mu
	taken   []told // guarded by mu; were taken last, and may not be in the queue yet
	bytes   int    // guarded by mu; what the client events among the notices take
}

// told is what waits in the buffer: a notice, or a client event.
type told struct {
	broker.Notice
	event *broker.Event // then the notice has only the app
}

func (t *told) size() int {
	if t.event == nil {
		return 0 // small; bounded by their number
	}
	return t.event.Size()
}

func newBuffer(most, mostBytes int) *buffer {
	return &buffer{most: most, mostBytes: mostBytes, wake: make(chan struct{}, 1)}
}

// add takes what is told; false when there is no room.
func (b *buffer) add(n told) bool {
	b.mu.Lock()
	if len(b.notices) >= b.most || n.event != nil && b.bytes+n.size() > b.mostBytes {
		b.mu.Unlock()
		return false
	}
	b.notices = append(b.notices, n)
	b.bytes += n.size()
	b.mu.Unlock()
	poke(b.wake)
	return true
}

// oldest returns the mark of the oldest notice that isn't in the queue yet, of those that have one.
func (b *buffer) oldest() (mark uint64, waiting bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, list := range [][]told{b.taken, b.notices} {
		for i := range list {
			if list[i].Mark > 0 {
				return list[i].Mark, true
			}
		}
	}
	return 0, false
}

// take returns what waits, at most so many. What was taken before is in the queue now.
func (b *buffer) take(most int) []told {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(most, len(b.notices))
	taken := b.notices[:n:n]
	b.taken = taken
	for i := range taken {
		b.bytes -= taken[i].size()
	}
	b.notices = b.notices[n:]
	if len(b.notices) == 0 {
		b.notices = nil // a burst doesn't keep its memory
	}
	return taken
}

// write puts what is in the buffer into the queue until ctx ends, and then what is left, if it can
// within the time of a request.
func (w *Webhooks) write(ctx context.Context) {
	numbered := uint64(0)
	warned := time.Time{}
	for {
		notices := w.buffer.take(putLetters)
		if len(notices) == 0 {
			select {
			case <-w.buffer.wake:
				continue
			case <-ctx.Done():
				if notices = w.buffer.take(putLetters); len(notices) == 0 {
					return
				}
			}
		}
		letters := make([]*broker.Letter, 0, len(notices))
		all := w.endpoints.Load()
		for i := range notices {
			if e := notices[i].event; e != nil {
				letters = w.clientLetters(letters, all, e)
				continue
			}
			numbered++
			letters = w.letters(letters, all, &notices[i].Notice, numbered)
		}
		if dropped := w.metrics.takeDropped(); dropped > 0 && time.Since(warned) > warnEvery {
			warned = time.Now()
			w.cfg.Logger.Error("webhooks dropped; the metrics have how many and why", "dropped", dropped)
		}
		if !w.put(ctx, letters) {
			w.abandon(letters)
			return
		}
	}
}

// abandon counts what could not be put before the end.
func (w *Webhooks) abandon(letters []*broker.Letter) {
	lost := map[broker.AppID]int{}
	for _, l := range letters {
		lost[l.App]++
	}
	for _, n := range w.buffer.take(w.cfg.BufferNotices) {
		lost[n.App]++
	}
	total := 0
	for app, n := range lost {
		total += n
		w.metrics.drop(app, "shutdown", n)
	}
	if total > 0 {
		w.cfg.Logger.Error("webhooks dropped: the queue could not be reached before the end", "dropped", total)
	}
}

// letters appends a letter of a notice for each endpoint that needs it.
func (w *Webhooks) letters(letters []*broker.Letter, all *endpoints, n *broker.Notice, number uint64) []*broker.Letter {
	name := pusher.WebhookName(n.Kind)
	var body []byte
	id := n.ID // then another node may tell of it too, and the queue takes the first
	if id == "" {
		id = fmt.Sprintf("%s/%d", w.run, number)
	}
	for _, e := range all.byApp[n.App] {
		if !e.needs(name, n.Channel) {
			continue
		}
		if body == nil {
			body = pusher.AppendWebhookNotice(nil, n)
		}
		letters = append(letters, &broker.Letter{
			ID:       id + "/" + e.name,
			App:      n.App,
			Endpoint: e.name,
			Time:     n.Time.UTC().Truncate(time.Millisecond),
			Body:     body,
		})
		w.metrics.queued.WithLabelValues(string(n.App), name).Inc()
	}
	return letters
}

// put puts letters, trying again while the queue can't be reached; false when ctx ended before. It
// tries at least once, for the time of a request, also when ctx has ended.
func (w *Webhooks) put(ctx context.Context, letters []*broker.Letter) bool {
	if len(letters) == 0 {
		return true
	}
	wait := putPauseMin
	for {
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.Timeout)
		refused, err := w.cfg.Queue.Put(try, letters...)
		cancel()
		if err == nil {
			for _, l := range refused {
				w.metrics.drop(l.App, "queue_full", 1)
			}
			wanted := map[key]struct{}{}
			for _, l := range letters {
				wanted[key{l.App, l.Endpoint}] = struct{}{}
			}
			for k := range wanted {
				w.want(k)
			}
			if wait > putPauseMin {
				w.cfg.Logger.Info("webhooks can be put into the queue again")
			}
			return true
		}
		if wait == putPauseMin {
			w.cfg.Logger.Warn("webhooks can't be put into the queue and wait in memory", "err", err)
		}
		if !pause(ctx, wait) {
			return false
		}
		wait = min(2*wait, putPauseMax)
	}
}
