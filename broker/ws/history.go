package ws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/replay"
)

// Why a client can't have a page, beside the replayer's reasons.
const (
	notSubscribed replay.Reason = "not_subscribed"
	rateLimited   replay.Reason = "rate_limited"
)

// history answers with a page of a channel's past. The page waits for room in the queue like any
// answer; what the client is sent meanwhile comes before it, and its next message after it.
func (s *session) history(ctx context.Context, f pusher.Frame) {
	q, err := f.History()
	if err != nil && q.Channel == "" {
		s.complain(pusher.CodeNone, err.Error())
		return
	}
	s.attend(ctx, func(ctx context.Context) {
		frame, result := s.page(ctx, q, err)
		s.server.metrics.history(s.app.ID, result)
		s.answer(ctx, frame)
	})
}

// page makes the answer to a question for history, and the label of its outcome.
func (s *session) page(ctx context.Context, q pusher.History, wrong error) (frame []byte, result string) {
	refuse := func(reason replay.Reason, message string) ([]byte, string) {
		room := reserve(256 + len(q.Channel) + len(message))
		return textFrame(pusher.AppendHistoryError(room, q.Channel, q.Ref, string(reason), message)), string(reason)
	}
	if wrong != nil {
		return refuse(replay.Invalid, wrong.Error())
	}
	joined, ok := s.subs.find(q.Channel)
	if !ok {
		return refuse(notSubscribed, pusher.NotSubscribed(q.Channel))
	}
	if wait := s.server.histories.Take(ctx, s.id, s.server.cfg.HistoryRate, 1); wait > 0 {
		return refuse(rateLimited, fmt.Sprintf("Too many questions for history; ask again in %v", wait.Round(time.Millisecond)))
	}
	page, err := s.readPage(ctx, q, joined.begin)
	if err != nil {
		return refuse(pageless(err))
	}
	most := s.server.cfg.QueueBytes / 2
	return textFrame(pusher.AppendPage(reserve(0), pusher.Page{
		Channel: q.Channel,
		Ref:     q.Ref,
		Items:   page.Items,
		HasMore: page.HasMore,
		Next:    page.Next,
		Begin:   joined.begin,
	}, most)), "page"
}

// readPage reads the page that q asks for. At the position where the subscription began stands an
// event which was there before and isn't live. So to page back from that position means that event
// too, else nothing would give it; to page back from any other doesn't.
func (s *session) readPage(ctx context.Context, q pusher.History, begin broker.Position) (replay.Page, error) {
	player := s.server.cfg.Replay
	r := replay.PageRequest{
		App:          s.app.ID,
		Channel:      q.Channel,
		Limit:        q.Limit,
		OldestFirst:  q.After != "",
		Before:       q.Before,
		After:        q.After,
		ClientEvents: s.app.ReplayClientEvents,
		Recent:       s.feed,
	}
	if q.Before == "" || q.Before != begin.String() {
		return player.Page(ctx, r)
	}
	r.Before = broker.Position{Epoch: begin.Epoch, Serial: begin.Serial + 1}.String()
	page, err := player.Page(ctx, r)
	var p *replay.PageError
	if !errors.As(err, &p) || p.Reason != replay.Ahead {
		return page, err
	}
	// Nothing was stored since, so the page ends where the log does. What is stored meanwhile is live.
	r.Before = ""
	page, err = player.Page(ctx, r)
	page.Items = slices.DeleteFunc(page.Items, func(e *broker.Event) bool { return e.Position.Serial > begin.Serial })
	return page, err
}

// pageless chooses what a client is told that can't have a page.
func pageless(err error) (reason replay.Reason, message string) {
	var p *replay.PageError
	if !errors.As(err, &p) {
		return replay.Unavailable, "The log can't be read right now"
	}
	switch p.Reason {
	case replay.Unsupported:
		return p.Reason, "There is no history: the medium has no memory"
	case replay.Invalid:
		return p.Reason, fmt.Sprintf("Invalid parameter: data.%s", p.Field)
	case replay.Reset:
		return p.Reason, fmt.Sprintf("The log was made anew since data.%s was given out", p.Field)
	case replay.Ahead:
		return p.Reason, fmt.Sprintf("data.%s lies beyond the end of the log", p.Field)
	case replay.Expired:
		return p.Reason, fmt.Sprintf("The log no longer holds everything after data.%s", p.Field)
	}
	return replay.Unavailable, "The log can't be read right now"
}
