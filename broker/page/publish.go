package page

import (
	"context"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// maxKey is the longest idempotency key (replay-protocol §6).
const maxKey = 128

// published is what the page is told of an event it has published.
type published struct {
	ID        string `json:"id"`
	Position  string `json:"position"`
	Duplicate bool   `json:"duplicate"`
	TimeMS    int64  `json:"time_ms"` // when the node took it, Unix ms
}

// publish publishes one event and returns when it is stored.
func (p *Page) publish(ctx context.Context, app *broker.App, body []byte) (any, error) {
	e, err := readEvent(app, body)
	if err != nil {
		return nil, err
	}
	if p.cfg.PublishTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.cfg.PublishTimeout)
		defer cancel()
	}
	if err := p.cfg.Publisher.Publish(ctx, e); err != nil {
		return nil, err
	}
	return published{
		ID:        e.ID,
		Position:  e.Position.String(),
		Duplicate: e.Duplicate,
		TimeMS:    e.Time.UnixMilli(),
	}, nil
}

// readEvent reads and checks what is to be published.
func readEvent(app *broker.App, body []byte) (*broker.Event, error) {
	var ask struct {
		Channel  broker.Channel  `json:"channel"`
		Name     string          `json:"event"`
		Data     *string         `json:"data"`
		SocketID broker.SocketID `json:"socket_id"`
		Key      string          `json:"idempotency_key"`
	}
	if err := decode(body, &ask); err != nil {
		return nil, err
	}
	if err := pusher.CheckChannel(ask.Channel, app.Limits); err != nil {
		return nil, err
	}
	if err := pusher.CheckEventName(ask.Name, app.Limits); err != nil {
		return nil, err
	}
	if ask.Data == nil {
		return nil, invalidf("Missing parameter: data, a string")
	}
	if err := pusher.CheckData([]byte(*ask.Data), app.Limits); err != nil {
		return nil, err
	}
	if ask.SocketID != "" {
		if err := pusher.CheckSocketID(ask.SocketID); err != nil {
			return nil, err
		}
	}
	if err := checkKey(ask.Key); err != nil {
		return nil, err
	}
	return &broker.Event{
		App:     app.ID,
		Channel: ask.Channel,
		ID:      ask.Key,
		Name:    ask.Name,
		Data:    []byte(*ask.Data),
		Exclude: ask.SocketID,
	}, nil
}

// checkKey says whether an event may have this idempotency key; it need not have one.
func checkKey(key string) error {
	if len(key) > maxKey {
		return invalidf("Idempotency key too long: %d characters, at most %d are allowed", len(key), maxKey)
	}
	for _, c := range key {
		if c <= ' ' || c > '~' {
			return invalidf("Invalid idempotency key: only printable ASCII characters are allowed")
		}
	}
	return nil
}
