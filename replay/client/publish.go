package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
)

// Publication is one event for one or several channels.
type Publication struct {
	Channels []broker.Channel // 1 to 100
	Event    string           // the event's name
	Data     string           // any text, JSON by custom

	// SocketID is the connection that is not to get the event. Default: none.
	SocketID broker.SocketID

	// IdempotencyKey has the server store the event once, however often it is published with
	// it within the server's window (2 min unless configured). 1 to 128 printable ASCII
	// characters. Default: one is made, so that a publish can safely be tried again.
	IdempotencyKey string
}

// Stored is one channel's share of a publish.
type Stored struct {
	Channel broker.Channel

	// ID and Position are the event's; empty where the server doesn't tell.
	ID       string
	Position Position

	// Duplicate says that the server held an event with this idempotency key already; ID and
	// Position are that one's, and nothing was stored now.
	Duplicate bool
}

// Publish publishes an event and returns when it is stored, with what became of it in each channel,
// in the order of the channels. Where the server didn't answer, or said that it can't store now, it
// tries again with the same key. An error means that the event may or may not be stored; publishing
// it again with the same key of the caller's is safe. Errors: [StatusError] for what the server
// refused; the last attempt's.
func (c *Client) Publish(ctx context.Context, p Publication) ([]Stored, error) {
	if p.IdempotencyKey == "" {
		p.IdempotencyKey = rand.Text()
	}
	body, err := p.body(true)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	answer, err := c.ask(ctx, http.MethodPost, "/events", nil, body)
	if err != nil {
		return nil, fmt.Errorf("publish to %s: %w", c.cfg.URL, err)
	}
	var told struct {
		Channels map[broker.Channel]struct {
			ID        string   `json:"id"`
			Position  Position `json:"position"`
			Duplicate bool     `json:"duplicate"`
		} `json:"channels"`
	}
	if err := json.Unmarshal(answer, &told); err != nil {
		return nil, fmt.Errorf("publish to %s: read the answer: %w", c.cfg.URL, err)
	}
	all := make([]Stored, len(p.Channels))
	for i, ch := range p.Channels {
		s := told.Channels[ch]
		all[i] = Stored{Channel: ch, ID: s.ID, Position: s.Position, Duplicate: s.Duplicate}
	}
	return all, nil
}

// NewPublish returns the signed request that publishes an event, good for ten minutes, for others to
// send. No idempotency key is made, and no positions are asked for.
func (c *Client) NewPublish(ctx context.Context, p Publication) (*http.Request, error) {
	if err := c.signs(); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	body, err := p.body(false)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	req, err := c.request(ctx, http.MethodPost, "/events", nil, body)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	return req, nil
}

// body is what is sent. What the server would refuse is left to it, but for text that JSON would
// silently change.
func (p *Publication) body(positions bool) ([]byte, error) {
	if len(p.Channels) == 0 {
		return nil, errors.New("no channel")
	}
	if !utf8.ValidString(p.Data) || !utf8.ValidString(p.Event) {
		return nil, errors.New("the event's name and data must be UTF-8")
	}
	b := struct {
		Name           string           `json:"name"`
		Channel        broker.Channel   `json:"channel,omitempty"`
		Channels       []broker.Channel `json:"channels,omitempty"`
		Data           string           `json:"data"`
		SocketID       broker.SocketID  `json:"socket_id,omitempty"`
		IdempotencyKey string           `json:"idempotency_key,omitempty"`
		Info           string           `json:"info,omitempty"`
	}{Name: p.Event, Data: p.Data, SocketID: p.SocketID, IdempotencyKey: p.IdempotencyKey}
	if len(p.Channels) == 1 {
		b.Channel = p.Channels[0]
	} else {
		b.Channels = p.Channels
	}
	if positions {
		b.Info = "position"
	}
	return json.Marshal(b)
}
