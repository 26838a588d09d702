package ws

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/playhead/playhead/broker/pusher"
)

const (
	// listenAfter is how long something may take before the client is listened to meanwhile. Most
	// reads are over by then, and cost a timer and no goroutine.
	listenAfter = 100 * time.Millisecond

	// mostOverheard is how much of what a client says meanwhile is kept, in bytes: the questions of
	// some hundred channels. The rest stays with the kernel.
	mostOverheard = 64 << 10
)

// attend does what may take long because it reads the log or waits for the client, and meanwhile
// stays attentive: pings are answered, pongs heard, and what the client says is kept for its turn.
// The context that work gets ends when the client has left or the session is closed. work must not
// touch what the reader owns of the connection.
func (s *session) attend(ctx context.Context, work func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.conn.lost || s.conn.queue.closed() {
		cancel()
	}
	stop, over := make(chan struct{}), make(chan struct{})
	listening := time.AfterFunc(listenAfter, func() {
		defer close(over)
		s.listen(stop, cancel)
	})
	work(ctx)
	if listening.Stop() {
		return
	}
	close(stop)
	s.conn.wake()
	<-over
	_ = s.conn.SetReadDeadline(time.Time{}) // an error means that it is closed, and the next Read says so
	if s.conn.queue.closed() {
		s.conn.wake() // which we may have undone
	}
}

// listen hears what the client says until stop is closed. When the client has left or the session is
// closed it calls gone and returns. It owns, in the reader's place, what the reader owns of the
// connection.
func (s *session) listen(stop <-chan struct{}, gone context.CancelFunc) {
	c := &s.conn
	quiet := s.server.cfg.ActivityTimeout / 2
	speak := time.Now().Add(quiet)
	for {
		// Whoever closes stop or the session ends the read after that; so we look after we have
		// set a deadline, which may have undone it.
		_ = c.SetReadDeadline(speak) // an error means that it is closed, and the read says so
		select {
		case <-stop:
			return
		default:
		}
		if c.queue.closed() {
			gone()
			return
		}
		var err error
		if len(c.early) < mostOverheard {
			err = c.overhear()
		} else {
			// It may be alive or not: we don't listen.
			c.heard.Store(c.clock.Load())
			select {
			case <-stop:
				return
			case <-time.After(tick):
			}
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			if errors.Is(err, errTooSlow) {
				s.Close(SlowReader)
			}
			gone()
			return
		}
		// A client that hears nothing for the activity time-out asks, and can't be answered: its
		// question waits for its turn. So it is told something before, unless something is on its way.
		if now := time.Now(); !now.Before(speak) {
			if c.queue.size() == 0 {
				s.send(askFrame)
			}
			speak = now.Add(quiet)
		}
	}
}

// askFrame is the protocol's own ping, the same for all.
var askFrame = textFrame(pusher.AppendPing(reserve(64)))
