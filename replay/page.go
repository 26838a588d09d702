package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
)

// PageRequest asks for a page of a channel's past.
type PageRequest struct {
	App     broker.AppID
	Channel broker.Channel

	Limit       int  // 1 to 1,000; default 100
	OldestFirst bool // default: newest first

	// Before and After are positions on the wire form, both exclusive, exactly as they were sent;
	// empty: not given. Both may be given.
	Before, After string

	// From and To bound the time of the events, both inclusive; zero: no bound. An event that was
	// stored more than a minute after it was taken may be missing where To is given.
	From, To time.Time

	// ClientEvents says whether client events are given.
	ClientEvents bool

	// Recent is the feed's window. Default: none, everything is read from the history.
	Recent Recent
}

// Page is a page of a channel's past. There is no hole in it, nor between it and the one that Next
// continues with.
type Page struct {
	Items []*broker.Event // in the order asked for

	// HasMore says whether there are more. A page may be short, or empty, and have more where it
	// would have had to pass over thousands of client events.
	HasMore bool

	// Next continues: as Before when newest came first, as After when oldest did. Zero when the
	// page is empty and has no more.
	Next broker.Position

	// Oldest and Newest are what the app's log holds, of any channel, with their times; zero when
	// it holds nothing.
	Oldest, Newest broker.Position
}

// PageError is why there is no page.
type PageError struct {
	Reason Reason
	Field  string // "before", "after", "limit", "from" or "to"; empty when it is about none
	Err    error  // the cause, nil when there is none
}

// Error begins with the reason.
func (e *PageError) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Reason))
	if e.Field != "" {
		b.WriteString(" " + e.Field)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *PageError) Unwrap() error { return e.Err }

// Page reads a page. Errors are of type *[PageError]: [Unsupported]; [Unavailable], and then the
// context's error may be its cause; [Invalid] for a field that makes no sense; [Reset] and [Ahead]
// for positions of another life of the log; [Expired] for an After that the log no longer reaches.
func (r *Replayer) Page(ctx context.Context, q PageRequest) (Page, error) {
	page, err := r.page(ctx, q)
	outcome := "read"
	if err != nil {
		outcome = string(err.Reason)
		if errors.Is(ctx.Err(), context.Canceled) {
			outcome = "canceled"
		}
	}
	r.metrics.pages.WithLabelValues(string(q.App), outcome).Inc()
	if err != nil {
		return Page{}, err
	}
	return page, nil
}

func (r *Replayer) page(ctx context.Context, q PageRequest) (Page, *PageError) {
	if r.cfg.History == nil {
		return Page{}, &PageError{Reason: Unsupported}
	}
	p, err := newPaging(r, q)
	if err != nil {
		return Page{}, err
	}
	var page Page
	never := func() bool { return false } // the bounds are known to the log only
	if err := r.admit(ctx, q.App, never, func(ctx context.Context) (err error) {
		page, err = p.read(ctx)
		return err
	}); err != nil {
		var known *PageError
		if errors.As(err, &known) {
			return Page{}, known
		}
		return Page{}, &PageError{Reason: Unavailable, Err: fmt.Errorf("read a page of %s: %w", q.Channel, err)}
	}
	return page, nil
}
