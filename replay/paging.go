package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/playhead/playhead/broker"
)

// paging is the reading of one page.
type paging struct {
	r             *Replayer
	h             History
	q             PageRequest
	limit         int
	before, after *broker.Position // nil: not given

	// What bounds the page: events with serials in (low, high].
	low, high      uint64
	oldest, newest broker.Position
	doubt          bool // the log was read, and may have forgotten something meanwhile
}

// newPaging checks a request as far as it can be told without reading.
func newPaging(r *Replayer, q PageRequest) (*paging, *PageError) {
	p := &paging{r: r, h: r.cfg.History, q: q, limit: q.Limit}
	if p.limit == 0 {
		p.limit = 100
	}
	if p.limit < 1 || p.limit > mostPast {
		return nil, &PageError{Reason: Invalid, Field: "limit", Err: fmt.Errorf("%d is not 1 to %d", q.Limit, mostPast)}
	}
	if !q.From.IsZero() && !q.To.IsZero() && q.From.After(q.To) {
		return nil, &PageError{Reason: Invalid, Field: "from", Err: errors.New("later than to")}
	}
	for _, f := range []struct {
		name string
		text string
		to   **broker.Position
	}{{"before", q.Before, &p.before}, {"after", q.After, &p.after}} {
		if f.text == "" {
			continue
		}
		pos, err := broker.ParsePosition(f.text)
		if err != nil {
			return nil, &PageError{Reason: Invalid, Field: f.name, Err: err}
		}
		*f.to = &pos
	}
	return p, nil
}

// read reads the page. Its error is a *[PageError], or a fault of the log.
func (p *paging) read(ctx context.Context) (Page, error) {
	if err := p.bound(ctx); err != nil {
		return Page{}, err
	}
	var page Page
	var err error
	if p.q.OldestFirst {
		err = p.forward(ctx, &page)
	} else {
		err = p.backward(ctx, &page)
	}
	if err != nil {
		return Page{}, err
	}
	if err := p.prove(ctx, &page); err != nil {
		return Page{}, err
	}
	return page, p.ends(ctx, &page)
}

// bound finds out between which serials the page's events are.
func (p *paging) bound(ctx context.Context) error {
	var err error
	if p.oldest, p.newest, err = p.h.Bounds(ctx, p.q.App); err != nil {
		return fmt.Errorf("read the log's bounds: %w", err)
	}
	p.low, p.high = p.oldest.Serial-1, p.newest.Serial
	if p.before != nil {
		if err := p.check(ctx, "before", *p.before); err != nil {
			return err
		}
		p.high = min(p.high, max(p.before.Serial, 1)-1)
	}
	if p.after != nil {
		if err := p.check(ctx, "after", *p.after); err != nil {
			return err
		}
		if err := p.reaches(p.oldest); err != nil {
			return err
		}
		p.low = max(p.low, p.after.Serial)
	}
	if !p.q.From.IsZero() && p.low < p.high {
		from, err := p.h.Since(ctx, p.q.App, p.q.From)
		if err != nil {
			return fmt.Errorf("find the first of the time asked for: %w", err)
		}
		p.low = max(p.low, from)
	}
	if !p.q.To.IsZero() && p.low < p.high {
		to, err := p.h.Since(ctx, p.q.App, p.q.To.Add(timeSlack))
		if err != nil {
			return fmt.Errorf("find the last of the time asked for: %w", err)
		}
		p.high = min(p.high, to)
	}
	return nil
}

// check looks at a position as a replay does.
func (p *paging) check(ctx context.Context, field string, pos broker.Position) error {
	switch {
	case pos.Epoch != p.newest.Epoch:
		return &PageError{Reason: Reset, Field: field}
	case pos.Serial > p.newest.Serial:
		return &PageError{Reason: Ahead, Field: field}
	case pos.Serial == 0 || pos.Time == 0 || pos.Serial < p.oldest.Serial:
		return nil
	}
	if p.q.Recent != nil {
		if same, known := p.q.Recent.Holds(pos); known && same {
			return nil
		}
	}
	switch e, err := p.h.At(ctx, p.q.App, pos.Serial); {
	case err != nil:
		return fmt.Errorf("read the event at a position: %w", err)
	case e != nil && e.Time.UnixMilli() != pos.Time:
		return &PageError{Reason: Reset, Field: field}
	}
	return nil
}

// reaches reports, as an error, when the log has forgotten what came after After.
func (p *paging) reaches(oldest broker.Position) error {
	if p.after != nil && oldest.Serial > p.after.Serial+1 {
		return &PageError{Reason: Expired, Field: "after"}
	}
	return nil
}

// wanted reports whether an event belongs on the page.
func (p *paging) wanted(e *broker.Event) bool {
	return (!e.Client || p.q.ClientEvents) &&
		!e.Time.Before(p.q.From) && (p.q.To.IsZero() || !e.Time.After(p.q.To))
}

// backward reads from the newest on.
func (p *paging) backward(ctx context.Context, page *Page) error {
	s := &scan{
		app:    p.q.App,
		ch:     p.q.Channel,
		wanted: p.wanted,
		limit:  p.limit + 1,
		since:  p.q.From,
		most:   scanFactor * mostPast,
		at:     p.high,
		least:  p.low,
	}
	hit := s.recall(p.q.Recent, p.newest.Epoch)
	p.r.metrics.looked(p.q.App, p.q.Recent, hit)
	if !hit {
		p.doubt = true
		if err := s.read(ctx, p.h); err != nil {
			return err
		}
	}
	page.Items = s.events[:min(len(s.events), p.limit)]
	page.HasMore = len(s.events) > p.limit
	page.next()
	if !page.HasMore && s.at > s.least { // too many were passed over
		page.HasMore = true
		page.Next = broker.Position{Epoch: p.newest.Epoch, Serial: s.at + 1}
	}
	return nil
}

// forward reads from the oldest on.
func (p *paging) forward(ctx context.Context, page *Page) error {
	if p.low >= p.high {
		return nil
	}
	hit := p.memory(page)
	p.r.metrics.looked(p.q.App, p.q.Recent, hit)
	if hit {
		return nil
	}
	p.doubt = true
	vain := 0
	for e, err := range p.h.Range(ctx, p.q.App, p.q.Channel, p.low, p.high) {
		switch {
		case err != nil:
			return fmt.Errorf("read %s: %w", p.q.Channel, err)
		case !p.wanted(e):
			if vain++; vain > scanFactor*mostPast {
				page.HasMore, page.Next = true, e.Position
				return nil
			}
		case len(page.Items) == p.limit:
			page.HasMore = true
			return nil
		default:
			page.Items = append(page.Items, e)
			page.Next = e.Position
		}
	}
	return nil
}

// memory reads forward from memory, when what comes after low is there and not so much of it that
// the log would give its beginning sooner.
func (p *paging) memory(page *Page) bool {
	if p.q.Recent == nil {
		return false
	}
	var events []*broker.Event
	passed := 0
	for e, err := range p.q.Recent.Back(p.q.Channel, p.low, broker.Position{Epoch: p.newest.Epoch, Serial: p.high}) {
		if passed++; err != nil || passed > scanFactor*mostPast {
			return false
		}
		if p.wanted(e) {
			events = append(events, e)
		}
	}
	slices.Reverse(events)
	page.HasMore = len(events) > p.limit
	page.Items = events[:min(len(events), p.limit)]
	page.next()
	return true
}

// next lets the page be continued after its last item.
func (p *Page) next() {
	p.Next = broker.Position{}
	if n := len(p.Items); n > 0 {
		p.Next = p.Items[n-1].Position
	}
}

// prove looks at the log's ends once more, when it was read: what it holds afterwards is on the page
// without a hole.
func (p *paging) prove(ctx context.Context, page *Page) error {
	if !p.doubt {
		return nil
	}
	epoch := p.oldest.Epoch
	var err error
	if p.oldest, p.newest, err = p.h.Bounds(ctx, p.q.App); err != nil {
		return fmt.Errorf("read the log's bounds: %w", err)
	}
	if p.oldest.Epoch != epoch {
		return &PageError{Reason: Reset}
	}
	if err := p.reaches(p.oldest); err != nil {
		return err
	}
	forgotten := func(e *broker.Event) bool { return e.Position.Serial < p.oldest.Serial }
	if slices.ContainsFunc(page.Items, forgotten) {
		page.Items = slices.DeleteFunc(page.Items, forgotten)
		if !p.q.OldestFirst {
			page.HasMore = false // what would come was forgotten before
			page.next()
		}
	}
	if page.HasMore && p.q.OldestFirst && page.Next.Serial+1 < p.oldest.Serial {
		page.Next = broker.Position{Epoch: epoch, Serial: p.oldest.Serial - 1}
	}
	return nil
}

// ends gives the page the log's ends with their times.
func (p *paging) ends(ctx context.Context, page *Page) error {
	if p.oldest.Serial > p.newest.Serial {
		return nil
	}
	page.Oldest, page.Newest = p.oldest, p.newest
	for _, end := range []*broker.Position{&page.Oldest, &page.Newest} {
		if end.Time != 0 {
			continue
		}
		e, err := p.h.At(ctx, p.q.App, end.Serial)
		if err != nil {
			return fmt.Errorf("read the log's ends: %w", err)
		}
		if e != nil {
			end.Time = e.Time.UnixMilli()
		}
	}
	return nil
}
