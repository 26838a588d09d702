package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
)

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

// leaderRequest asks for one message: the one at Serial, the next of NextFor at or after Serial, the
// first of NextFor stored at or after StoredFrom, or the last of LastFor.
type leaderRequest struct {
	Serial     uint64     `json:"seq,omitempty"`
	NextFor    string     `json:"next_by_subj,omitempty"`
	LastFor    string     `json:"last_by_subj,omitempty"`
	StoredFrom *time.Time `json:"start_time,omitempty"`
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
	done, err := st.s.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
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
