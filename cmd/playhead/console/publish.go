package console

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/cmd/playhead/boot"
	"github.com/playhead/playhead/replay/client"
)

// maxInput is the most of standard input that is published; servers take less.
const maxInput = 16 << 20

// Publish publishes one event.
type Publish struct {
	Server
	Channel broker.Channel `arg:"" help:"Channel to publish to."`
	Event   string         `arg:"" help:"Name of the event."`
	Data    string         `arg:"" help:"Data of the event, any text; JSON by custom. A single - reads standard input."`

	IdempotencyKey string          `placeholder:"KEY" help:"Store the event once, however often it is published with this key within the server's window. Default: each is stored."`
	SocketID       broker.SocketID `name:"socket-id" placeholder:"ID" help:"Connection that is not to get the event."`
	JSON           bool            `name:"json" help:"Print a JSON object with the event's id and position."`
	PrintCurl      bool            `help:"Print a curl command that does it, valid for ten minutes, and publish nothing."`
}

// Run publishes, and prints the position of what is stored.
func (c *Publish) Run(ctx context.Context, std Stdio) error {
	to, err := c.client(true)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	p := client.Publication{
		Channels: []broker.Channel{c.Channel}, Event: c.Event, Data: c.Data,
		SocketID: c.SocketID, IdempotencyKey: c.IdempotencyKey,
	}
	if c.Data == "-" {
		data, err := io.ReadAll(io.LimitReader(std.In, maxInput+1))
		if err != nil {
			return fmt.Errorf("publish: read standard input: %w", err)
		}
		if len(data) > maxInput {
			return fmt.Errorf("publish: standard input has more than %d bytes", maxInput)
		}
		p.Data = string(data)
	}
	if c.PrintCurl {
		r, err := to.NewPublish(ctx, p)
		if err != nil {
			return err
		}
		command, err := boot.Curl(r)
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		_, err = io.WriteString(std.Out, command)
		return err
	}
	stored, err := to.Publish(ctx, p)
	if err != nil {
		return explain(err)
	}
	return c.told(std, stored[0])
}

// told prints what became of the event.
func (c *Publish) told(std Stdio, s client.Stored) error {
	if c.JSON {
		b, err := json.Marshal(struct {
			Channel   broker.Channel  `json:"channel"`
			ID        string          `json:"id,omitempty"`
			Position  client.Position `json:"position,omitempty"`
			Duplicate bool            `json:"duplicate"`
		}{s.Channel, s.ID, s.Position, s.Duplicate})
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		_, err = std.Out.Write(append(b, '\n'))
		return err
	}
	if s.Duplicate {
		fmt.Fprintln(std.Err, "playhead: this key was published with before; nothing was stored now")
	}
	if s.Position == "" {
		return nil // the server's medium has no positions
	}
	_, err := fmt.Fprintln(std.Out, s.Position)
	return err
}
