package streams

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
)

// commits lets callers wait until what the streams have acknowledged is on the disk: one call of
// [Config.Commit] for all that was acknowledged before it began, of whatever stream. What is
// acknowledged meanwhile is for the next one, so groups grow with what goes on at a time, and a lone
// append doesn't wait for others.
type commits struct {
	commit func() error  // nil where an acknowledgement is enough
	wake   chan struct{} // tells run that there is a group

	mu   sync.Mutex
	next *group // guarded by mu; whom the commit that begins next is for; nil for nobody
	err  error  // guarded by mu; what ended it for good
}

// group is those who wait for one commit.
type group struct {
	done chan struct{} // closed when it has its answer
	err  error         // set before done is closed
}

func newCommits(commit func() error) *commits {
	return &commits{commit: commit, wake: make(chan struct{}, 1)}
}

// down says why nothing can be committed any more, or nil.
func (c *commits) down() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// wait returns when what was acknowledged before it was called is on the disk. It gives up with ctx,
// and at the deadline unless that is zero.
func (c *commits) wait(ctx context.Context, deadline time.Time) error {
	if c.commit == nil {
		return nil
	}
	g, err := c.join()
	if err != nil {
		return err
	}
	var late <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-g.done:
		return g.err
	case <-late:
		return fmt.Errorf("%w: stored, but not on the disk in time", broker.ErrUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join returns the group of the next commit. One that runs is of no use: it may have passed by what
// the caller wants on the disk.
func (c *commits) join() (*group, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	if c.next == nil {
		c.next = &group{done: make(chan struct{})}
		select {
		case c.wake <- struct{}{}:
		default: // of a group that was failed
		}
	}
	return c.next, nil
}

// run commits until ctx ends, and then once more for those who wait.
func (c *commits) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-c.wake:
			c.round()
		case <-ctx.Done():
		}
	}
	c.round()
	c.end(broker.ErrClosed)
}

// round makes one commit. After one that could not be made there is none any more: the system may
// have thrown away what it could not write, and would call the next one a success.
func (c *commits) round() {
	c.mu.Lock()
	g := c.next
	c.next = nil
	broken := c.err
	c.mu.Unlock()
	if g == nil {
		return
	}
	if broken == nil {
		if err := c.commit(); err != nil {
			broken = fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
			c.end(broken)
		}
	}
	g.err = broken
	close(g.done)
}

// end fails those who wait for the next commit, and all who come.
func (c *commits) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	if c.next != nil {
		c.next.err = c.err
		close(c.next.done)
		c.next = nil
	}
}
