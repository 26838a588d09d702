package rest

import (
	"context"
	"fmt"

	"github.com/playhead/playhead/broker"
)

// trigger publishes one event to one or several channels.
func (a *API) trigger(c call) ([]byte, error) {
	key, err := headerKey(c.Header)
	if err != nil {
		return nil, err
	}
	p, err := readTrigger(c.app, c.body, key)
	if err != nil {
		return nil, err
	}
	if err := a.publish(c.Context(), c.app, &p); err != nil {
		return nil, err
	}
	b := c.body[:0] // nothing of the body is needed any more
	if p.ask == 0 {
		_ = c.write(append(b, "{}"...))
		return nil, nil
	}
	b = append(b, `{"channels":{`...)
	for i, e := range p.events {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendName(b, e.Channel)
		b = a.appendPublished(b, p.ask, e)
	}
	_ = c.write(append(b, "}}"...))
	return nil, nil
}

// batch publishes several events.
func (a *API) batch(c call) ([]byte, error) {
	key, err := headerKey(c.Header)
	if err != nil {
		return nil, err
	}
	p, err := readBatch(c.app, c.body, key)
	if err != nil {
		return nil, err
	}
	if err := a.publish(c.Context(), c.app, &p); err != nil {
		return nil, err
	}
	b := c.body[:0] // as above
	if p.ask == 0 {
		_ = c.write(append(b, "{}"...))
		return nil, nil
	}
	b = append(b, `{"batch":[`...)
	for i, e := range p.events {
		if i > 0 {
			b = append(b, ',')
		}
		b = a.appendPublished(b, p.asks[i], e)
	}
	_ = c.write(append(b, "]}"...))
	return nil, nil
}

// appendPublished adds what was asked about an event that is stored now.
func (a *API) appendPublished(b []byte, ask attributes, e *broker.Event) []byte {
	b = append(b, '{')
	if ask&position != 0 {
		b = appendStored(b, e)
	}
	if ask&counts != 0 {
		b = ask.appendTo(b, a.cfg.Presence.Occupancy(e.App, e.Channel))
	}
	return append(b, '}')
}

// publish returns when everything is stored. It is one call to the node, so that a medium which
// can stores all or nothing.
func (a *API) publish(ctx context.Context, app *broker.App, p *publication) error {
	if err := a.spend(ctx, app, publishing, len(p.events)); err != nil {
		return err
	}
	keyed := p.keyed()
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	err := a.cfg.Node.Publish(ctx, p.events...)
	if err == nil {
		return nil
	}
	u := &unstored{cause: err, events: len(p.events), keyed: keyed, remembers: a.cfg.History != nil}
	for _, e := range p.events {
		if !e.Position.IsZero() {
			u.stored++
		}
	}
	return u
}

// unstored says that not everything of a publish is known to be stored.
type unstored struct {
	cause     error
	events    int
	stored    int  // of the events, those that are known to be; others may be too
	keyed     bool // all events have an idempotency key
	remembers bool // the medium knows which keys it has stored
}

func (e *unstored) Error() string {
	return fmt.Sprintf("%d of %d events known to be stored: %v", e.stored, e.events, e.cause)
}

func (e *unstored) Unwrap() error { return e.cause }

// which begins the answer: what it is that was not stored, or may not have been.
func (e *unstored) which() string {
	switch left := e.events - e.stored; {
	case e.stored > 0 && left == 1:
		return fmt.Sprintf("%d of %d events were stored. The other one was", e.stored, e.events)
	case e.stored > 0 && left > 1:
		return fmt.Sprintf("%d of %d events were stored. The others were", e.stored, e.events)
	case e.events > 1:
		return fmt.Sprintf("The %d events were", e.events)
	}
	return "The event was"
}

// again ends the answer: what trying again would do.
func (e *unstored) again() string {
	switch {
	case !e.remembers:
		return "Trying again may deliver twice what was stored after all: this medium does not know idempotency keys."
	case e.keyed:
		return "Trying again with the same idempotency key is safe."
	}
	return "Trying again may deliver twice what was stored after all; with an idempotency_key trying again is safe."
}

// bounded returns a context for something that the log is needed for.
func (a *API) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, limited := ctx.Deadline(); limited || a.cfg.PublishTimeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, a.cfg.PublishTimeout)
}

// appendName adds a channel's name as the name of a JSON member. No character that a channel's
// name may have needs an escape.
func appendName(b []byte, ch broker.Channel) []byte {
	b = append(b, '"')
	b = append(b, ch...)
	return append(b, '"', ':')
}
