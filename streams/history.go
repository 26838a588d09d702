package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
)

const (
	// pageEvents and pageBytes bound one read of several events.
	pageEvents = 200
	pageBytes  = 2 << 20
)

// First returns the epoch of the app's stream and the serial of the oldest event it still holds; of
// an empty stream, its last serial + 1. The Position's Time is 0. The stream's leader answers. An
// app that has no stream gets one. Errors: [broker.ErrUnavailable], the context's.
func (s *Streams) First(ctx context.Context, app broker.AppID) (broker.Position, error) {
	first, err := s.first(ctx, app)
	if err != nil {
		return broker.Position{}, fmt.Errorf("read the first serial of app %s: %w", app, failed(ctx, err))
	}
	return first, nil
}

func (s *Streams) first(ctx context.Context, app broker.AppID) (broker.Position, error) {
	if err := ctx.Err(); err != nil {
		return broker.Position{}, err
	}
	st, err := s.stream(app)
	if err != nil {
		return broker.Position{}, err
	}
	info, err := st.find(ctx, s.read)
	if err != nil {
		return broker.Position{}, err
	}
	epoch, err := epochOf(info)
	if err != nil {
		return broker.Position{}, err
	}
	serial := info.State.FirstSeq
	if info.State.Msgs == 0 {
		serial = info.State.LastSeq + 1
	}
	return broker.Position{Epoch: epoch, Serial: serial}, nil
}

// At returns the event, of any channel, at a serial; nil when nothing stands there. The stream's
// leader answers. Errors: [broker.ErrUnavailable], the context's.
func (s *Streams) At(ctx context.Context, app broker.AppID, serial uint64) (*broker.Event, error) {
	fail := func(err error) (*broker.Event, error) {
		return nil, fmt.Errorf("read serial %d of app %s: %w", serial, app, failed(ctx, err))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if serial == 0 {
		return nil, nil
	}
	st, epoch, err := s.opened(ctx, app)
	if err != nil {
		return fail(err)
	}
	m, err := st.at(ctx, serial)
	if err != nil {
		return fail(err)
	}
	return st.event(m, epoch), nil
}

// Last returns the channel's newest event that a backend published, or nil when the stream holds
// none. The stream's leader answers. Errors: [broker.ErrUnavailable], the context's.
func (s *Streams) Last(ctx context.Context, app broker.AppID, ch broker.Channel) (*broker.Event, error) {
	fail := func(err error) (*broker.Event, error) {
		return nil, fmt.Errorf("read the last event of %s of app %s: %w", ch, app, failed(ctx, err))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	st, epoch, err := s.opened(ctx, app)
	if err != nil {
		return fail(err)
	}
	m, err := st.ask(ctx, leaderRequest{LastFor: channelSubject(st.subjects, ch, byBackend)})
	if err != nil {
		return fail(err)
	}
	return st.event(m, epoch), nil
}

func (s *Streams) opened(ctx context.Context, app broker.AppID) (*stream, broker.Epoch, error) {
	st, err := s.stream(app)
	if err != nil {
		return nil, "", err
	}
	epoch, err := st.open(ctx, s.read)
	return st, epoch, err
}

// Range yields the events of one channel with serials in (after, upto], oldest first: all that the
// stream holds of them, or an error as its last word. Breaking the loop ends the read. What the
// stream forgets at its head while the range is read may be missing without an error; ask
// [Streams.First] afterwards. Errors: [broker.ErrUnavailable], the context's.
func (s *Streams) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		if err := s.readRange(ctx, app, ch, after, upto, yield); err != nil {
			yield(nil, fmt.Errorf("read %s of app %s in (%d, %d]: %w", ch, app, after, upto, failed(ctx, err)))
		}
	}
}

// readRange reads page after page. Pages come from whichever replica answers, and a replica may lag
// behind the leader, so each page has to begin with the event that the leader says comes next; and
// only the leader says that nothing more does.
func (s *Streams) readRange(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64, yield func(*broker.Event, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if after >= upto {
		return nil
	}
	st, epoch, err := s.opened(ctx, app)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	subject := channelSubject(st.subjects, ch, byAnyone)
	alone := 0 // how many events to take from the leader, one by one, before a page is read again
	for after < upto {
		next, err := st.ask(ctx, leaderRequest{Serial: after + 1, NextFor: subject})
		if err != nil {
			return err
		}
		if next == nil {
			return st.reaches(ctx, upto)
		}
		if next.Serial > upto {
			return nil
		}
		page := []*message{next}
		if alone > 0 {
			alone--
		} else if page, err = st.page(ctx, next.Serial, subject); err != nil {
			if passing(err) && pause(ctx, tryPause) {
				continue
			}
			return err
		}
		if len(page) == 0 || page[0].Serial != next.Serial {
			// The replica isn't there yet, or has forgotten it already. For a while the
			// leader is quicker than trying one after the other.
			page, alone = []*message{next}, pageEvents/10
		}
		for _, m := range page {
			if m.Serial > upto {
				return nil // what is missing between two of a page isn't in the stream
			}
			after = m.Serial
			if e := st.event(m, epoch); e != nil && !yield(e, nil) {
				return nil
			}
		}
	}
	return nil
}

// reaches makes sure that a leader which knows of nothing more has heard of upto at all: one that
// was replaced and doesn't know it yet would not have.
func (st *stream) reaches(ctx context.Context, upto uint64) error {
	info, err := st.find(ctx, st.s.read)
	if err != nil {
		return err
	}
	if info.State.LastSeq < upto {
		return fmt.Errorf("stream %s ends at %d", st.name, info.State.LastSeq)
	}
	return nil
}

// message is a message as the stream holds it.
type message struct {
	Subject string    `json:"subject"`
	Serial  uint64    `json:"seq"`
	Headers []byte    `json:"hdrs"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"` // when it was stored, to the nanosecond; no other message has it
	header  nats.Header
}

// event returns the event in m, or nil when m is nil or holds none.
func (st *stream) event(m *message, epoch broker.Epoch) *broker.Event {
	if m == nil {
		return nil
	}
	e, err := decode(st.app, st.subjects, m.Subject, m.header, m.Data, epoch, m.Serial)
	if err != nil {
		st.s.metrics.foreign.Inc()
		return nil
	}
	return e
}

// leaderRequest asks for one message: the one at Serial, the next of NextFor at or after Serial, or
// the last of LastFor.
type leaderRequest struct {
	Serial  uint64 `json:"seq,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
}

// at returns the message at a serial, nil when there is none.
func (st *stream) at(ctx context.Context, serial uint64) (*message, error) {
	return st.ask(ctx, leaderRequest{Serial: serial})
}

// ask asks the stream's leader for a message, nil when there is none.
func (st *stream) ask(ctx context.Context, q leaderRequest) (*message, error) {
	request, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	for {
		m, err := st.askOnce(ctx, request)
		var refused *apiError
		switch {
		case err == nil:
			return m, nil
		case errors.As(err, &refused) && refused.ErrCode == codeNoMessage:
			return nil, nil
		case errors.As(err, &refused) && !refused.transient():
			if refused.ErrCode == codeNoStream {
				st.doubt(st.known())
			}
			return nil, err
		}
		if refused == nil && !passing(err) || !pause(ctx, tryPause) {
			return nil, err
		}
	}
}

func (st *stream) askOnce(ctx context.Context, request []byte) (*message, error) {
	defer st.s.metrics.read(time.Now())
	st.s.metrics.reading.Inc()
	if err := st.s.turn(ctx); err != nil {
		return nil, err
	}
	defer st.s.turnDone()
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	reply, err := st.s.cfg.Read.RequestWithContext(ctx, st.s.api+"STREAM.MSG.GET."+st.name, request)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *apiError `json:"error"`
		Message *message  `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, fmt.Errorf("read an answer: %w", err)
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	m := answer.Message
	if m == nil {
		return nil, errors.New("answer without message")
	}
	if len(m.Headers) > 0 {
		if m.header, err = nats.DecodeHeadersMsg(m.Headers); err != nil {
			return nil, fmt.Errorf("read headers of serial %d: %w", m.Serial, err)
		}
	}
	return m, nil
}

// page reads messages of a subject, the first at or after a serial, from whichever replica answers:
// without a hole between them, but they may begin too late or end too early.
func (st *stream) page(ctx context.Context, from uint64, subject string) ([]*message, error) {
	defer st.s.metrics.read(time.Now())
	st.s.metrics.reading.Inc()
	if err := st.s.turn(ctx); err != nil {
		return nil, err
	}
	defer st.s.turnDone()
	nc := st.s.cfg.Read
	sub, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	request := fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q,"batch":%d,"max_bytes":%d}`, from, subject, pageEvents, pageBytes)
	if err := nc.PublishRequest(st.s.api+"DIRECT.GET."+st.name, sub.Subject, request); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var page []*message
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		switch status := header(m.Header, "Status"); status {
		case "":
		case "204", "404":
			// What is said to be the last of it has to be what came last.
			last := header(m.Header, "Nats-Last-Sequence")
			if len(page) > 0 && last != strconv.FormatUint(page[len(page)-1].Serial, 10) {
				return nil, fmt.Errorf("page of stream %s should end at %q", st.name, last)
			}
			return page, nil
		default:
			return nil, fmt.Errorf("page of stream %s: %s %s", st.name, status, header(m.Header, "Description"))
		}
		serial, err := strconv.ParseUint(header(m.Header, "Nats-Sequence"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("page of stream %s: serial %q", st.name, header(m.Header, "Nats-Sequence"))
		}
		page = append(page, &message{
			Subject: header(m.Header, "Nats-Subject"),
			Serial:  serial,
			Data:    m.Data,
			header:  m.Header,
		})
	}
}

// turn waits until a read may begin.
func (s *Streams) turn(ctx context.Context) error {
	select {
	case s.reads <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Streams) turnDone() { <-s.reads }
