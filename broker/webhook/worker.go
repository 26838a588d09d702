package webhook

import (
	"context"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

// removed is why letters are buried whose endpoint isn't configured any more.
const removed = "endpoint_removed"

// takenAhead is how many letters may have come and not be looked at. Each look goes through all that is
// in hand, so in a storm it is one look for many.
const takenAhead = 1024

// buryLetters is how many letters are buried at once, at most, when their endpoint is gone.
const buryLetters = 100

// worker delivers to one endpoint. All its fields are owned by the goroutine in run.
type worker struct {
	w   *Webhooks
	key key

	line     *line
	inHand   int           // letters taken and not settled; the queue bounds them
	payloads []*payload    // made, and not under way now
	underWay int           // payloads that are
	results  chan *payload // those that were
	flushAt  time.Time     // when a batch goes out that isn't full; zero while nothing waits for it
	idle     time.Time     // since when there is nothing in hand
	giveBack []*entry      // to be taken out of the queue without being told
	failing  bool          // the endpoint failed last
	warned   time.Time     // when other trouble was logged last
}

func newWorker(w *Webhooks, k key) *worker {
	return &worker{
		w: w, key: k,
		line:    newLine(w.cfg.Delay),
		results: make(chan *payload, w.cfg.InFlight),
	}
}

// run delivers until ctx ends, nothing has come for the linger time, or the queue fails. What is in
// hand then stays in the queue. Requests under way are waited for, and so is the word to the queue that
// they were answered, before another worker, on whichever node, may take the rest.
func (k *worker) run(ctx context.Context) error {
	taking, stop := context.WithCancel(context.WithoutCancel(ctx))
	letters := make(chan *broker.Letter, takenAhead)
	var fault error // set before letters is closed
	var taker, posts sync.WaitGroup
	defer func() {
		posts.Wait()
		stop()
		taker.Wait()
	}()
	taker.Go(func() {
		defer close(letters)
		for l, err := range k.w.cfg.Queue.Take(taking, k.key.app, k.key.name) {
			if err != nil {
				fault = err
				return
			}
			select {
			case letters <- l:
			case <-taking.Done():
				return
			}
		}
	})
	k.idle = time.Now()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := k.step(ctx, &posts)
		if k.inHand == 0 {
			left := k.w.cfg.Linger - time.Since(k.idle)
			if left <= 0 {
				return nil
			}
			next = min(next, left)
		}
		timer.Reset(next)
		select {
		case l, ok := <-letters:
			if !ok {
				return fault
			}
			k.take(l)
			k.takeMore(letters)
		case p := <-k.results:
			k.finished(p)
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// takeMore takes what comes without waiting: what has come together is looked at together.
func (k *worker) takeMore(letters <-chan *broker.Letter) {
	for range takenAhead {
		select {
		case l, ok := <-letters:
			if !ok {
				return // run sees it, too
			}
			k.take(l)
		default:
			return
		}
	}
}

// take puts a letter into the line.
func (k *worker) take(l *broker.Letter) {
	k.inHand++
	now := time.Now()
	e, err := newEntry(l)
	if err != nil {
		k.payloads = append(k.payloads, givenUp([]*entry{{letter: l, name: "unknown"}}, now, err.Error()))
		return
	}
	if to := k.endpoint(); to != nil {
		e.silent = !to.tells(e.name, e.ch)
	}
	if held := k.line.add(now, e); held != nil {
		k.giveBack = append(k.giveBack, held, e)
	}
}

func (k *worker) endpoint() *endpoint { return k.w.endpoints.Load().byKey[k.key] }

// step does what can be done now and returns how long nothing can, unless something comes.
func (k *worker) step(ctx context.Context, posts *sync.WaitGroup) time.Duration {
	now := time.Now()
	to := k.endpoint()
	if to == nil {
		k.giveUpAll(now)
	} else {
		k.giveBack = append(k.giveBack, k.line.silence(now)...)
	}
	k.settle(ctx)
	k.start(ctx, to, now, posts)
	var next time.Time
	if to != nil {
		next = k.fill(ctx, to, now, posts)
	}
	if k.underWay < k.w.cfg.InFlight {
		for _, p := range k.payloads {
			if next.IsZero() || p.next.Before(next) {
				next = p.next
			}
		}
	}
	if next.IsZero() {
		return time.Hour
	}
	return max(0, next.Sub(now))
}

// giveUpAll gives up whatever isn't under way: the endpoint is gone.
func (k *worker) giveUpAll(now time.Time) {
	for _, p := range k.payloads {
		if p.why == "" {
			p.why, p.next = removed, now
		}
	}
	for len(k.line.entries) > 0 {
		n := min(len(k.line.entries), buryLetters)
		k.payloads = append(k.payloads, givenUp(k.line.entries[:n:n], now, removed))
		k.line.entries = k.line.entries[n:]
	}
}

// settle takes what isn't to be told out of the queue.
func (k *worker) settle(ctx context.Context) {
	if len(k.giveBack) == 0 {
		return
	}
	try, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.w.cfg.Timeout)
	defer cancel()
	if err := k.w.cfg.Queue.Done(try, lettersOf(k.giveBack)...); err != nil {
		// They come to a later worker, and there suppress each other as they did here.
		k.w.cfg.Logger.Warn("suppressed webhooks stay in the queue", "app", k.key.app, "endpoint", k.key.name, "err", err)
	}
	k.w.metrics.settled(k.key.app, k.giveBack, suppressed)
	k.letGo(len(k.giveBack))
	k.giveBack = nil
}

// fill makes payloads while there is something to tell and a request may begin; not earlier, so that
// they are as full and as fresh as can be. It returns when there is more to do.
func (k *worker) fill(ctx context.Context, to *endpoint, now time.Time, posts *sync.WaitGroup) (next time.Time) {
	most := 1
	if to.batch {
		most = k.w.cfg.BatchEvents
	}
	for k.underWay < k.w.cfg.InFlight {
		n, due := k.line.ready(now, most)
		if n == 0 {
			k.flushAt = time.Time{}
			return due
		}
		if n < most {
			if k.flushAt.IsZero() {
				k.flushAt = now.Add(k.w.cfg.BatchInterval)
			}
			if now.Before(k.flushAt) {
				if !due.IsZero() && due.Before(k.flushAt) {
					return due
				}
				return k.flushAt
			}
		}
		k.flushAt = time.Time{}
		k.begin(ctx, to, newPayload(to, k.line.cut(now, most), now, k.w.cfg.MaxAge), posts)
	}
	return time.Time{} // a result comes
}

// start begins the payloads whose next try is due, the longest due first.
func (k *worker) start(ctx context.Context, to *endpoint, now time.Time, posts *sync.WaitGroup) {
	for k.underWay < k.w.cfg.InFlight {
		first := -1
		for i, p := range k.payloads {
			if !p.next.After(now) && (first < 0 || p.next.Before(k.payloads[first].next)) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		p := k.payloads[first]
		k.payloads = append(k.payloads[:first], k.payloads[first+1:]...)
		k.begin(ctx, to, p, posts)
	}
}

// begin lets a goroutine do one try of a payload.
func (k *worker) begin(ctx context.Context, to *endpoint, p *payload, posts *sync.WaitGroup) {
	k.underWay++
	p.attempts++
	posts.Go(func() {
		k.try(ctx, to, p)
		k.results <- p
	})
}

// try posts a payload, or buries it, and tells the queue. A crash before it has told the queue leaves
// letters there that have been delivered: they are delivered again.
func (k *worker) try(ctx context.Context, to *endpoint, p *payload) {
	queue := k.w.cfg.Queue
	if p.why == "" {
		if p.fault = k.w.post(ctx, to, p); p.fault != nil {
			return
		}
		k.w.metrics.settled(k.key.app, p.entries, delivered)
	}
	told, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.w.cfg.Timeout)
	defer cancel()
	if p.why == "" {
		p.done, p.fault = true, queue.Done(told, p.letters()...)
		return
	}
	if p.fault = queue.Bury(told, p.why, p.letters()...); p.fault == nil {
		k.w.metrics.settled(k.key.app, p.entries, buried)
		p.done = true
	}
}

// finished takes a payload back after a try.
func (k *worker) finished(p *payload) {
	k.underWay--
	k.log(p)
	if p.done {
		k.line.release(p.entries)
		k.letGo(len(p.entries))
		return
	}
	p.failed(time.Now(), k.w.cfg.RetryMin, k.w.cfg.RetryMax)
	k.payloads = append(k.payloads, p)
}

// log says when the endpoint begins to fail and when it answers again, and now and then what else goes
// wrong: there may be many payloads a second.
func (k *worker) log(p *payload) {
	logger := k.w.cfg.Logger.With("app", k.key.app, "endpoint", k.key.name)
	switch {
	case p.why == "" && !p.done && !k.failing:
		k.failing = true
		logger.Warn("webhook endpoint fails; its webhooks are tried again", "err", p.fault)
	case p.why == "" && p.done && k.failing:
		k.failing = false
		logger.Info("webhook endpoint answers again")
	}
	if p.why == "" && !p.done || p.why == "" && p.fault == nil || time.Since(k.warned) < warnEvery {
		return
	}
	k.warned = time.Now()
	switch {
	case p.why == "":
		logger.Warn("delivered webhooks stay in the queue and may be sent again", "err", p.fault)
	case p.fault != nil:
		logger.Warn("undeliverable webhooks can't be buried yet", "err", p.fault)
	default:
		logger.Warn("webhooks undeliverable; the metrics have how many", "events", len(p.entries), "err", p.why)
	}
}

// letGo counts letters that are out of hand.
func (k *worker) letGo(n int) {
	k.inHand -= n
	if k.inHand == 0 {
		k.idle = time.Now()
	}
}
