package presence

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

const (
	// countAtOnce is up to how many subscriptions of a channel every change is told at once.
	// Above it, telling everybody of everybody would grow with the square.
	countAtOnce = 100

	// countPause is the least time between two counts of a channel above that.
	countPause = 5 * time.Second
)

// pause is the time after a large count in which no other of its channel is told.
type pause struct {
	app     *app
	channel broker.Channel
	end     time.Time // guarded by pauses.mu
	changed bool      // guarded by app.mu; there is a large count to tell at the end
}

// pauses are those of all apps, in the order of their ends: all are equally long. A channel has
// one at most, so they are no more than there are large channels.
type pauses struct {
	wake chan struct{} // tells Run of the first pause; has room for one

	mu   sync.Mutex // below an app's
	list []*pause   // guarded by mu
}

// begin begins the pause. It is called with the lock of its app held, and never blocks.
func (ps *pauses) begin(p *pause) {
	ps.mu.Lock()
	p.end = time.Now().Add(countPause)
	ps.list = append(ps.list, p)
	first := len(ps.list) == 1
	ps.mu.Unlock()
	if !first {
		return
	}
	select {
	case ps.wake <- struct{}{}:
	default:
	}
}

// ended takes out the pauses that are over, and says in how long the next one will be.
func (ps *pauses) ended() (over []*pause, next time.Duration) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	now := time.Now()
	n := slices.IndexFunc(ps.list, func(p *pause) bool { return p.end.After(now) })
	if n < 0 {
		over, ps.list = ps.list, nil
		return over, time.Hour
	}
	over = slices.Clone(ps.list[:n])
	ps.list = slices.Delete(ps.list, 0, n)
	return over, ps.list[0].end.Sub(now)
}

// count tells a channel's subscribers their number, which has changed, or leaves that to Run.
// A number that isn't large is told at once, whatever was told before. It is called with a.mu held.
func (r *Registry) count(a *app, ch broker.Channel, n int, by origin) {
	p := a.paused[ch]
	switch {
	case n <= countAtOnce:
		if p != nil {
			p.changed = false
		}
		r.tellCount(a, ch, n, by)
	case p != nil:
		p.changed = true
	default:
		p = &pause{app: a, channel: ch}
		a.paused[ch] = p
		r.tellCount(a, ch, n, by)
		r.pauses.begin(p)
	}
}

func (r *Registry) tellCount(a *app, ch broker.Channel, n int, by origin) {
	notice := a.notice(broker.SubscriptionCount, ch, by.time)
	notice.Count = n
	r.tell(notice, by)
}

// runPauses tells the subscribers of large channels their number at the ends of their pauses, until ctx
// ends.
func (r *Registry) runPauses(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		over, next := r.pauses.ended()
		for _, p := range over {
			r.resume(p)
		}
		if len(over) > 0 {
			continue // telling took its time
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-r.pauses.wake:
		case <-timer.C:
		}
	}
}

// resume ends a pause, and begins the next one where there was something to tell.
func (r *Registry) resume(p *pause) {
	a := p.app
	a.mu.Lock()
	defer a.mu.Unlock()
	if !p.changed {
		delete(a.paused, p.channel)
		return
	}
	p.changed = false
	if ch := a.channels[p.channel]; ch != nil {
		r.tellCount(a, p.channel, ch.subscriptions, origin{time: time.Now()})
	}
	r.pauses.begin(p)
}

// clear ends all pauses; nothing is told.
func (ps *pauses) clear() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.list = nil
}
