package ws

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// closeGrace is how long a client that was sent a close frame has to read it and to leave.
const closeGrace = 5 * time.Second

// session is one established connection. The node, the heartbeat and the server speak to it from
// any goroutine, through send and Close, which never block; all else is the reader's, and the
// fields without a lock are owned by it.
type session struct {
	conn       conn
	positioned atomic.Bool // opted in to positions, for good
	pulse      pulse       // the heartbeat's

	server  *Server
	app     *broker.App // as it was when the client came
	feed    *broker.Feed
	id      broker.SocketID
	ws      *websocket.Conn
	account *account // who is signed in; nil for nobody
	subs    subscriptions
	rate    rate
	reader  reader

	deadline uint32        // by the heartbeat's clock, when it must have authorised; 0 for never
	standing atomic.Uint32 // whether it has: pending, vouched or expired
	waitFrom uint32        // by the heartbeat's clock, when it may wait for the node's cursor again
}

// The standings of a session. It leaves the first once, for one of the others.
const (
	pending uint32 = iota // hasn't authorised yet
	vouched               // has signed in, or subscribed with a signature
	expired               // had done neither in time
)

// vouch notes that the client has authorised. It reports false when its time was over before; the
// session is being closed then, and must not be told that it was a success.
func (s *session) vouch() bool {
	return s.standing.CompareAndSwap(pending, vouched) || s.standing.Load() == vouched
}

// Deliver implements [broker.Subscriber].
func (s *session) Deliver(d *broker.Delivery) { s.send(d.Encoded(s.form(), encodeDelivery)) }

// form is the wire form that the client gets.
func (s *session) form() broker.Form {
	if s.positioned.Load() {
		return broker.Positioned
	}
	return broker.Plain
}

// send queues a frame, and ends the session when it does not fit.
func (s *session) send(frame []byte) {
	if !s.conn.send(frame) {
		s.Close(SlowReader)
	}
}

// Close implements [broker.Subscriber]. It queues the frames that say why and wakes the reader,
// which cleans up; only the first reason counts.
func (s *session) Close(why broker.Reason) {
	code, text := s.server.cfg.closing(why)
	s.conn.seal(why, goodbye(code, text), closesEmpty(why), s.rouse)
}

// cut ends the session without a word.
func (s *session) cut() {
	s.conn.seal(Cut, nil, true, func() {})
	s.conn.cut()
	s.rouse()
}

// serve reads what there is and, when the session is over, takes it apart. ctx ends when the server
// stops.
func (s *session) serve(ctx context.Context, p *poller) {
	err := s.read(ctx, p)
	if errors.Is(err, errIdle) {
		return
	}
	s.leave()
	why := ended(err, s.conn.lost)
	if !s.conn.lost {
		s.Close(why) // unless it is closed already, by us or, with its own code, by the library
	}
	if s.conn.queue.closed() {
		s.conn.linger(closeGrace)
	}
	s.conn.fail(why)
	if own := s.conn.queue.reason(); own != "" {
		why = own
	}
	_ = s.ws.CloseNow() // the library's half; it closes nothing of ours
	if s.reader.poller != nil {
		s.reader.poller.remove(s)
	}
	s.conn.shut()
	s.feed.Release()
	s.server.metrics.closed(why)
	s.server.metrics.connections.WithLabelValues(string(s.app.ID)).Dec()
	s.server.cfg.Logger.Debug("session ended", "app", s.app.ID, "session", s.id, "reason", why, "err", err)
	s.server.depart(s)
}

// misread answers a message that is no frame. Text that is not UTF-8 ends the session: WebSocket
// says so. Anything else does not.
func (s *session) misread(err error) {
	if errors.Is(err, pusher.ErrUTF8) {
		s.Close(InvalidUTF8)
		return
	}
	s.complain(pusher.CodeNone, err.Error())
}

// handle acts on one message. What it is told to do is done, in the log and in the presence of
// others too, when it returns.
func (s *session) handle(ctx context.Context, message []byte) {
	received := s.server.metrics.received
	f, err := pusher.Decode(message)
	if err != nil {
		received.WithLabelValues("malformed").Inc()
		s.misread(err)
		return
	}
	switch string(f.Event) {
	case pusher.EventPing:
		received.WithLabelValues("ping").Inc()
		s.send(pongFrame)
	case pusher.EventPong:
		received.WithLabelValues("pong").Inc()
	case pusher.EventSubscribe:
		received.WithLabelValues("subscribe").Inc()
		s.subscribe(ctx, f)
	case pusher.EventUnsubscribe:
		received.WithLabelValues("unsubscribe").Inc()
		s.unsubscribe(f)
	case pusher.EventSignIn:
		received.WithLabelValues("signin").Inc()
		s.signIn(ctx, f)
	case pusher.EventHistory:
		received.WithLabelValues("history").Inc()
		s.history(ctx, f)
	default:
		if isClientEvent(f.Event) {
			received.WithLabelValues("client_event").Inc()
			s.clientEvent(ctx, f)
			return
		}
		received.WithLabelValues("unsupported").Inc()
		s.complain(pusher.CodeNone, pusher.UnsupportedEvent(string(f.Event)))
	}
}

// pongFrame answers a pusher:ping, the same for all.
var pongFrame = textFrame(pusher.AppendPong(reserve(64)))

// complain tells the client what is wrong with what it sent; the connection stays open.
func (s *session) complain(code pusher.Code, message string) {
	s.send(textFrame(pusher.AppendError(reserve(64+len(message)), code, message)))
}

// room waits until the queue has room for n more bytes that the client asked for itself: an answer
// of any size must not look like a client that doesn't read. The reader waits, so the client's next
// message does too. A client that takes nothing for a while is too slow all the same. Where the queues
// of all connections are half full, each answer has an eighth of its room: who comes back in a storm
// must wait, rather than be closed and come back again. room reports false when there won't be any.
func (s *session) room(ctx context.Context, n int) bool {
	limit := s.conn.queue.limit
	if s.server.sum.tight() {
		limit /= 8
	}
	if s.conn.queue.size()+n+frameCost <= limit/2 {
		return true
	}
	patience := time.NewTicker(s.server.cfg.PongTimeout)
	defer patience.Stop()
	for {
		drained, written := s.conn.queue.await(max(0, min(limit/4, limit-n-frameCost)))
		if drained == nil {
			return true
		}
		select {
		case <-drained:
			// It takes what we send, so it lives, even if nobody has time to hear it.
			s.conn.heard.Store(s.conn.clock.Load())
			return true
		case <-ctx.Done():
			return false
		case <-patience.C:
			if s.conn.queue.progress() == written {
				s.Close(SlowReader)
				return false
			}
			s.conn.heard.Store(s.conn.clock.Load())
		}
	}
}
