package brokertest

import (
	"context"
	"iter"

	"github.com/playhead/playhead/broker"
)

// Carrier is a medium without memory, in the process: it only carries. Its events have no
// positions, and the same ID twice is two events. It is got from [NewCarrier]; all methods are
// safe for concurrent use.
type Carrier struct {
	memory Memory
}

var _ broker.Log = (*Carrier)(nil)

// NewCarrier returns a carrier of its own.
func NewCarrier() *Carrier { return &Carrier{memory: Memory{Window: -1}} }

// Append implements [broker.Log]. It fails as [Memory.Append] does.
func (c *Carrier) Append(ctx context.Context, events ...*broker.Event) error {
	carried := make([]*broker.Event, len(events))
	for i, e := range events {
		own := *e
		carried[i] = &own
	}
	return c.memory.Append(ctx, carried...)
}

// Tail implements [broker.Log]. An app may have any number of tails.
func (c *Carrier) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	_, events, err := c.memory.Tail(ctx, app)
	if err != nil {
		return broker.Position{}, nil, err
	}
	return broker.Position{}, func(yield func(*broker.Event, error) bool) {
		for e, err := range events {
			if err == nil {
				own := *e
				own.Position = broker.Position{}
				e = &own
			}
			if !yield(e, err) {
				return
			}
		}
	}, nil
}

// Break ends the app's present tails with an error.
func (c *Carrier) Break(app broker.AppID, why error) { c.memory.Break(app, why) }
