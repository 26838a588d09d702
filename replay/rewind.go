package replay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/playhead/playhead/broker"
)

// RewindRequest is what a client that joins wants of the channel's past: the last Count events,
// or those since Since; exactly one of the two is set.
type RewindRequest struct {
	App     broker.AppID
	Channel broker.Channel

	// Seam is where the subscription begins to be live ([broker.Feed.Subscribe]).
	Seam broker.Position

	Count int       // 1 to 1,000
	Since time.Time // events published at or after it

	// ClientEvents says whether client events are given (the app's ReplayClientEvents).
	ClientEvents bool

	// Recent is the feed's window. Default: none, everything is read from the history.
	Recent Recent
}

// mostPast is the most events of one rewind or page.
const mostPast = 1_000

// Rewind answers a joining client with the events asked for, oldest first. It is best effort: with
// the reason [Expired] come the events that are left, and so they do with [TooFar], the newest that
// the limits allow. With any other reason there are none. A request that isn't as described is
// [Invalid]. Faults of the history are logged here and come back as [Unavailable].
func (r *Replayer) Rewind(ctx context.Context, q RewindRequest) Result {
	began := time.Now()
	events, reason, err := r.rewind(ctx, q)
	return r.answered(ctx, q.App, Result{Events: events, Reason: reason}, err, began)
}

func (r *Replayer) rewind(ctx context.Context, q RewindRequest) ([]*broker.Event, Reason, error) {
	if r.cfg.History == nil || q.Seam.IsZero() {
		return nil, Unsupported, nil
	}
	if q.Count < 0 || q.Count > mostPast || (q.Count == 0) == q.Since.IsZero() {
		return nil, Invalid, nil
	}
	var p *past
	var events []*broker.Event
	var reason Reason
	hit := false
	recall := func() bool {
		p = r.past(q)
		if hit = p.recall(q.Recent, q.Seam.Epoch); hit {
			events, reason = p.answer(false)
		}
		return hit
	}
	defer func() { r.metrics.looked(q.App, q.Recent, hit) }()
	if recall() {
		return events, reason, nil
	}
	err := r.admit(ctx, q.App, recall, func(ctx context.Context) (err error) {
		if events, reason, err = r.readPast(ctx, p); err != nil {
			return err
		}
		// The next to join will want as much.
		r.extended(ctx, q.App, q.Recent, broker.Position{Epoch: q.Seam.Epoch, Serial: p.at})
		return nil
	})
	if err != nil {
		return nil, Unavailable, fmt.Errorf("rewind %s: %w", q.Channel, err)
	}
	return events, reason, nil
}

// past is the search for what a joining client gets.
type past struct {
	scan
	q         RewindRequest
	maxEvents int
}

func (r *Replayer) past(q RewindRequest) *past {
	limit := r.cfg.MaxEvents + 1 // with one more it is known to be too many
	if q.Count > 0 {
		limit = min(limit, q.Count)
	}
	p := &past{q: q, maxEvents: r.cfg.MaxEvents}
	p.scan = scan{
		app:   q.App,
		ch:    q.Channel,
		limit: limit,
		bytes: r.cfg.MaxBytes,
		since: q.Since,
		most:  scanFactor * r.cfg.MaxEvents,
		at:    q.Seam.Serial,
		wanted: func(e *broker.Event) bool {
			return (!e.Client || q.ClientEvents) && !e.Time.Before(q.Since)
		},
	}
	return p
}

// readPast reads from the log what the memory didn't have.
func (r *Replayer) readPast(ctx context.Context, p *past) ([]*broker.Event, Reason, error) {
	h := r.cfg.History
	oldest, _, err := h.Bounds(ctx, p.app)
	if err != nil {
		return nil, "", fmt.Errorf("read the log's bounds: %w", err)
	}
	p.least = oldest.Serial - 1
	if !p.since.IsZero() {
		since, err := h.Since(ctx, p.app, p.since)
		if err != nil {
			return nil, "", fmt.Errorf("find the first of the time asked for: %w", err)
		}
		p.least = max(p.least, since)
	}
	fromLog := p.at
	if err := p.read(ctx, h); err != nil {
		return nil, "", err
	}
	// As for a replay, only what the log holds afterwards is sure to be without a hole.
	if oldest, _, err = h.Bounds(ctx, p.app); err != nil {
		return nil, "", fmt.Errorf("read the log's bounds: %w", err)
	}
	if oldest.Epoch != p.q.Seam.Epoch {
		return nil, Reset, nil
	}
	p.events = slices.DeleteFunc(p.events, func(e *broker.Event) bool {
		return e.Position.Serial <= fromLog && e.Position.Serial < oldest.Serial
	})
	forgotten, err := r.forgotten(ctx, p, oldest)
	if err != nil {
		return nil, "", err
	}
	events, reason := p.answer(forgotten)
	return events, reason, nil
}

// forgotten reports whether the log has forgotten some of what was asked for, or may have.
func (r *Replayer) forgotten(ctx context.Context, p *past, oldest broker.Position) (bool, error) {
	switch {
	case oldest.Serial <= 1:
		return false, nil
	case p.q.Count > 0:
		return len(p.events) < p.q.Count, nil
	}
	e, err := r.cfg.History.At(ctx, p.app, oldest.Serial)
	switch {
	case err != nil:
		return false, fmt.Errorf("read the log's oldest event: %w", err)
	case e != nil:
		return !e.Time.Before(p.q.Since), nil
	}
	// The log holds nothing. When even its last event was too old, so was what is forgotten.
	end := p.q.Seam.Time
	return end == 0 || !p.older(end), nil
}

// answer takes from what was found what the limits allow.
func (p *past) answer(forgotten bool) ([]*broker.Event, Reason) {
	var reason Reason
	switch {
	case len(p.events) > p.maxEvents, p.size > p.bytes,
		len(p.events) < p.limit && p.at > p.least: // too many in vain
		reason = TooFar
	case forgotten:
		reason = Expired
	}
	events := p.events[:min(len(p.events), p.maxEvents)]
	size := 0
	for i, e := range events {
		if size += sent(e); size > p.bytes {
			events = events[:i]
			break
		}
	}
	events = slices.Clone(events)
	slices.Reverse(events)
	return events, reason
}
