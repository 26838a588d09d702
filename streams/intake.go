package streams

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
)

// Put stores letters in order; those that are stored already, by their IDs, are not stored again.
// It returns those that are refused because too much waits, for their endpoint or in all. On an
// error some may be stored; putting all again is safe for as long as IDs are remembered. Errors:
// [broker.ErrUnavailable], the context's.
func (l *Letters) Put(ctx context.Context, letters ...*broker.Letter) (refused []*broker.Letter, err error) {
	refused, err = l.put(ctx, letters)
	if err != nil {
		return nil, fmt.Errorf("put %d letters: %w", len(letters), failed(ctx, l.doubt(err)))
	}
	return refused, nil
}

func (l *Letters) put(ctx context.Context, letters []*broker.Letter) (refused []*broker.Letter, err error) {
	if err := l.ensure(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	for len(letters) > 0 {
		n := 0
		for bytes := 0; n < min(len(letters), appendEvents) && bytes < flightBytes; n++ {
			bytes += len(letters[n].Body) + itemOverhead
		}
		some, err := l.putBatch(ctx, letters[:n])
		if err != nil {
			return nil, err
		}
		refused = append(refused, some...)
		letters = letters[n:]
	}
	// What the letters were made of may be acknowledged after this.
	if err := l.s.commits.wait(ctx, time.Time{}); err != nil {
		return nil, err
	}
	return refused, nil
}

// putBatch stores letters as one. When the stream refuses that, because it knows one of them or has
// no room, each goes by itself.
func (l *Letters) putBatch(ctx context.Context, letters []*broker.Letter) (refused []*broker.Letter, err error) {
	if len(letters) > 1 {
		if err := l.putAtOnce(ctx, letters); err == nil || ctx.Err() != nil {
			return nil, err
		}
	}
	type key struct {
		app      broker.AppID
		endpoint string
	}
	full := map[key]bool{} // what came after one that was refused must not overtake it
	for _, letter := range letters {
		k := key{letter.App, letter.Endpoint}
		if !full[k] {
			ok, err := l.putOne(ctx, letter)
			if err != nil {
				return nil, err
			}
			full[k] = !ok
		}
		if full[k] {
			refused = append(refused, letter)
		}
	}
	return refused, nil
}

func (l *Letters) message(letter *broker.Letter) *nats.Msg {
	m := nats.NewMsg(endpointSubject(l.subjects, letter.App, letter.Endpoint))
	m.Header[headerID] = []string{inHeader.escape(letter.ID)}
	m.Header[headerTime] = []string{strconv.FormatInt(letter.Time.UnixMilli(), 10)}
	m.Data = letter.Body
	return m
}

// putAtOnce stores letters as an atomic batch. The message that is wrong with it is answered; of those
// that are right, all but the last have an empty answer.
func (l *Letters) putAtOnce(ctx context.Context, letters []*broker.Letter) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	nc := l.s.cfg.Publish
	answers := make(chan *nats.Msg, len(letters)+1)
	sub, err := nc.ChanSubscribe(nc.NewInbox(), answers)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	id := rand.Text()
	for i, letter := range letters {
		m := l.message(letter)
		m.Reply = sub.Subject
		m.Header[headerBatchID] = []string{id}
		m.Header[headerBatchSerial] = []string{strconv.Itoa(i + 1)}
		if i == len(letters)-1 {
			m.Header[headerBatchCommit] = []string{"1"}
		}
		if err := nc.PublishMsg(m); err != nil {
			return err
		}
	}
	for {
		select {
		case m := <-answers:
			if len(m.Data) == 0 && header(m.Header, "Status") == "" {
				continue
			}
			a, err := parseAck(m)
			if err == nil && a.Error != nil {
				err = a.Error
			}
			return l.doubt(err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// putOne stores a letter, trying until it knows; false when it is refused.
func (l *Letters) putOne(ctx context.Context, letter *broker.Letter) (bool, error) {
	for {
		err := l.request(ctx, l.message(letter))
		var refused *apiError
		switch {
		case err == nil:
			return true, nil
		case errors.As(err, &refused) && refused.ErrCode == codeStoreRefused:
			return false, nil
		case errors.As(err, &refused) && !refused.transient():
			return false, err
		}
		if !pause(ctx, tryPause) {
			return false, err
		}
	}
}

// codeStoreRefused is the error code of a full stream.
const codeStoreRefused = 10077

func (l *Letters) request(ctx context.Context, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	reply, err := l.s.cfg.Publish.RequestMsgWithContext(ctx, m)
	if err != nil {
		return l.doubt(err)
	}
	a, err := parseAck(reply)
	if err != nil {
		return err
	}
	if a.Error != nil {
		return a.Error
	}
	return nil
}
