package ws

import (
	"bytes"
	"context"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// publishTimeout bounds how long the log may take for a client event, and with it how long its
// sender's next message waits.
const publishTimeout = 10 * time.Second

func isClientEvent(name []byte) bool { return bytes.HasPrefix(name, []byte(pusher.ClientPrefix)) }

// clientEvent publishes what a client sends to the other subscribers of one of its channels. It
// returns when the event is stored, which keeps the events of one sender in order.
func (s *session) clientEvent(ctx context.Context, f pusher.Frame) {
	e, code, message := s.checkClientEvent(f)
	if message != "" {
		result := "rejected"
		if code == pusher.CodeClientEventRate {
			result = "rate_limited"
		}
		s.server.metrics.clientEvent(s.app.ID, result)
		s.complain(code, message)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := s.server.cfg.Node.Publish(ctx, e); err != nil {
		s.server.metrics.clientEvent(s.app.ID, "unavailable")
		s.server.cfg.Logger.Debug("client event not stored", "app", s.app.ID, "session", s.id, "channel", e.Channel, "err", err)
		s.complain(pusher.CodeNone, "Client event could not be stored, nobody may have received it; send it again later")
		return
	}
	s.server.metrics.clientEvent(s.app.ID, "stored")
}

// checkClientEvent makes the event to publish, or says what is wrong with it.
func (s *session) checkClientEvent(f pusher.Frame) (e *broker.Event, code pusher.Code, message string) {
	if err := pusher.CheckClientEventName(string(f.Event), s.app.Limits); err != nil {
		return nil, pusher.CodeNone, err.Error()
	}
	ch, data, err := f.ClientEvent()
	if err != nil {
		return nil, pusher.CodeNone, err.Error()
	}
	if !s.app.ClientEvents {
		return nil, pusher.CodeNone, pusher.ClientEventsDisabled
	}
	if !pusher.KindOf(ch).ClientEvents() {
		return nil, pusher.CodeNone, pusher.ClientEventNotAllowed(ch)
	}
	joined, ok := s.subs.find(ch)
	if !ok {
		return nil, pusher.CodeNone, pusher.ClientEventNotSubscribed(ch)
	}
	if err := pusher.CheckData(data, s.app.Limits); err != nil {
		return nil, pusher.CodeNone, err.Error()
	}
	if !s.rate.take(time.Now(), s.app.Limits.WithDefaults().ClientEventsPerSecond) {
		return nil, pusher.CodeClientEventRate, pusher.CodeClientEventRate.Text()
	}
	e = &broker.Event{
		App:     s.app.ID,
		Channel: joined.sub.Channel(),
		Name:    string(f.Event),
		Data:    bytes.Clone(data), // the message's buffer is used again
		Exclude: s.id,
		Client:  true,
	}
	if joined.member != nil {
		e.UserID = joined.member.UserID
	}
	return e, pusher.CodeNone, ""
}

// rate counts what a connection sends within one second, which begins with the first.
type rate struct {
	since time.Time
	count int
}

// take reports whether one more is within the limit.
func (r *rate) take(now time.Time, limit int) bool {
	if now.Sub(r.since) >= time.Second {
		r.since, r.count = now, 0
	}
	if r.count >= limit {
		return false
	}
	r.count++
	return true
}
