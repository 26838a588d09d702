package rest

import (
	"context"

	"github.com/playhead/playhead/broker"
)

// trigger publishes one event to one or several channels.
func (a *API) trigger(c call) ([]byte, error) {
	p, err := readTrigger(c.app, c.body)
	if err != nil {
		return nil, err
	}
	if err := a.publish(c.Context(), c.app, p); err != nil {
		return nil, err
	}
	if p.asked == nil {
		return []byte("{}"), nil
	}
	b := []byte(`{"channels":{`)
	for i, e := range p.events {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendName(b, e.Channel)
		b = p.asked[i].object(b, a.cfg.Presence.Occupancy(c.app.ID, e.Channel))
	}
	return append(b, "}}"...), nil
}

// batch publishes several events.
func (a *API) batch(c call) ([]byte, error) {
	p, err := readBatch(c.app, c.body)
	if err != nil {
		return nil, err
	}
	if err := a.publish(c.Context(), c.app, p); err != nil {
		return nil, err
	}
	if p.asked == nil {
		return []byte("{}"), nil
	}
	b := []byte(`{"batch":[`)
	for i, e := range p.events {
		if i > 0 {
			b = append(b, ',')
		}
		b = p.asked[i].object(b, a.cfg.Presence.Occupancy(c.app.ID, e.Channel))
	}
	return append(b, "]}"...), nil
}

// publish returns when everything is stored. It is one call to the node, so that a medium which
// can stores all or nothing.
func (a *API) publish(ctx context.Context, app *broker.App, p *publication) error {
	if err := a.spend(app, publishing, len(p.events)); err != nil {
		return err
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	return a.cfg.Node.Publish(ctx, p.events...)
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
