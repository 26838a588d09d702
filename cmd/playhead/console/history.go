package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay/client"
)

// History prints what a channel's past holds.
type History struct {
	Server
	Channel broker.Channel `arg:"" help:"Channel to read."`

	Limit       int    `placeholder:"N" help:"The most events, or with --all the most at a time; up to 1,000. Default: 100."`
	OldestFirst bool   `help:"Print the oldest first. Default: the newest first."`
	Before      string `placeholder:"POSITION" help:"Only events before a position."`
	After       string `placeholder:"POSITION" help:"Only events after a position."`
	Since       When   `placeholder:"WHEN" help:"Only events published since then: 10m ago, or a time."`
	Until       When   `placeholder:"WHEN" help:"Only events published until then."`
	All         bool   `help:"Print all there are, not only a page."`
	JSON        bool   `name:"json" help:"Print a JSON object per event, with its id and position."`
	Verbose     bool   `short:"v" help:"Print positions."`
}

// Run prints a page, or all of them. Where there is more, standard error says how to go on.
func (c *History) Run(ctx context.Context, std Stdio) error {
	from, err := c.client(true)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	now := time.Now()
	opts := client.HistoryOptions{
		Limit: c.Limit, OldestFirst: c.OldestFirst,
		Before: client.Position(c.Before), After: client.Position(c.After),
		From: c.Since.time(now), To: c.Until.time(now),
	}
	out := bufio.NewWriter(std.Out)
	err = c.print(ctx, out, std, from, opts)
	return explain(errors.Join(err, out.Flush()))
}

// print prints events.
func (c *History) print(ctx context.Context, out *bufio.Writer, std Stdio, from *client.Client, opts client.HistoryOptions) error {
	l := line{json: c.JSON, positions: c.Verbose}
	if c.All {
		if opts.Limit == 0 {
			opts.Limit = 1_000
		}
		for e, err := range from.Read(ctx, c.Channel, opts) {
			if err != nil {
				return err
			}
			if err := l.write(out, e); err != nil {
				return fmt.Errorf("history: %w", err)
			}
		}
		return nil
	}
	page, err := from.History(ctx, c.Channel, opts)
	if err != nil {
		return err
	}
	for _, e := range page.Items {
		if err := l.write(out, e); err != nil {
			return fmt.Errorf("history: %w", err)
		}
	}
	if page.HasMore {
		flag := "--before"
		if c.OldestFirst {
			flag = "--after"
		}
		fmt.Fprintf(std.Err, "playhead: there are more; go on with %s %s, or read --all\n", flag, page.Next)
	}
	return nil
}
