package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/replay/client"
)

// Tail follows channels and prints their events.
type Tail struct {
	Server
	Channels []broker.Channel `arg:"" help:"Channels to follow."`

	Since   When   `xor:"from" placeholder:"WHEN" help:"Begin with what was published since then: 10m ago, or a time."`
	After   string `xor:"from" placeholder:"POSITION" help:"Begin after a position."`
	Count   int    `xor:"from" placeholder:"N" help:"Begin with the last N events of each channel, up to 1,000."`
	Number  int    `short:"n" placeholder:"N" help:"End after N events. Default: go on until interrupted."`
	UserID  string `name:"user-id" placeholder:"ID" help:"Who to be on presence channels; required there."`
	JSON    bool   `name:"json" help:"Print a JSON object per event, with its id and position."`
	Verbose bool   `short:"v" help:"Print positions, and on standard error what happens to the connection."`
}

// Run follows until ctx ends, or as many events were printed as are wanted. Gaps, and what happens to
// the connection, go to standard error.
func (c *Tail) Run(ctx context.Context, std Stdio) error {
	opts, err := c.options(std)
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	from, err := c.client(false)
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	l := line{json: c.JSON, positions: c.Verbose}
	printed := 0
	for e, err := range from.Tail(ctx, opts) {
		var gap *client.Gap
		switch {
		case errors.As(err, &gap):
			fmt.Fprintln(std.Err, "playhead:", gap)
			continue
		case err != nil:
			return err
		}
		if err := l.write(std.Out, e); err != nil {
			return fmt.Errorf("tail: %w", err)
		}
		if printed++; printed == c.Number {
			return nil
		}
	}
	return nil
}

// options makes a tail's of the flags.
func (c *Tail) options(std Stdio) (client.TailOptions, error) {
	opts := client.TailOptions{Lost: func(err error, wait time.Duration) {
		fmt.Fprintf(std.Err, "playhead: %v; trying again in %v\n", err, wait.Round(time.Millisecond))
	}}
	if c.Verbose {
		opts.Subscribed = func(a client.Answer) {
			fmt.Fprintf(std.Err, "playhead: following %s from %s, %d replayed\n", a.Channel, a.Position, a.Replayed)
		}
	}
	if c.Number < 0 || c.Count < 0 {
		return opts, errors.New("a number of events can't be negative")
	}
	for _, ch := range c.Channels {
		s := client.Subscription{Channel: ch, After: client.Position(c.After)}
		switch {
		case c.Count > 0:
			s.Rewind.Last = c.Count
		case c.Since.ago > 0:
			s.Rewind.Within = c.Since.ago // by the server's clock
		default:
			s.Rewind.Since = c.Since.at
		}
		if pusher.KindOf(ch).Presence() {
			if c.UserID == "" {
				return opts, fmt.Errorf("%s: others see who is there; give --user-id", ch)
			}
			data, err := json.Marshal(map[string]string{"user_id": c.UserID})
			if err != nil {
				return opts, err
			}
			s.ChannelData = string(data)
		}
		opts.Subscriptions = append(opts.Subscriptions, s)
	}
	return opts, nil
}
