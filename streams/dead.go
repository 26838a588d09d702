package streams

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
)

const (
	// headerWhy is why a dead letter could not be delivered.
	headerWhy = "Ph-Why"
	// headerLetter is the ID of a dead letter. Its Nats-Msg-Id is another one: it may die again.
	headerLetter = "Ph-Letter"
	// whyMax bounds that text, in bytes.
	whyMax = 1000
)

// Bury moves letters of one endpoint, which were taken here, to the dead. A crash on the way leaves
// some in both places: they are delivered or buried again. Errors: [broker.ErrUnavailable], the
// context's; then burying them again is safe.
func (l *Letters) Bury(ctx context.Context, why string, letters ...*broker.Letter) error {
	if err := l.bury(ctx, why, letters); err != nil {
		return fmt.Errorf("bury %d letters: %w", len(letters), failed(ctx, l.doubt(err)))
	}
	return l.Done(ctx, letters...)
}

func (l *Letters) bury(ctx context.Context, why string, letters []*broker.Letter) error {
	if err := l.ensure(ctx); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	if len(why) > whyMax {
		why = why[:whyMax]
	}
	for _, letter := range letters {
		m := nats.NewMsg(endpointSubject(l.deadSubjects, letter.App, letter.Endpoint))
		m.Header[headerID] = []string{strconv.FormatUint(letter.Serial, 10) + "/" + inHeader.escape(letter.ID)}
		m.Header[headerLetter] = []string{inHeader.escape(letter.ID)}
		m.Header[headerTime] = []string{strconv.FormatInt(letter.Time.UnixMilli(), 10)}
		m.Header[headerWhy] = []string{inHeader.escape(why)}
		m.Data = letter.Body
		for {
			err := l.request(ctx, m)
			if err == nil {
				break
			}
			var refused *apiError
			if errors.As(err, &refused) && !refused.transient() || !pause(ctx, tryPause) {
				return err
			}
		}
	}
	return l.s.commits.wait(ctx, time.Time{}) // then they may leave the queue
}

// Dead yields the dead letters of an app, or of all when app is empty, those first that died first.
// An error is its last word: [broker.ErrUnavailable], the context's.
func (l *Letters) Dead(ctx context.Context, app broker.AppID) iter.Seq2[*broker.DeadLetter, error] {
	return func(yield func(*broker.DeadLetter, error) bool) {
		fail := func(err error) {
			yield(nil, fmt.Errorf("read dead letters: %w", failed(ctx, l.doubt(err))))
		}
		subject := l.deadSubjects + ">"
		if app != "" {
			subject = l.deadSubjects + inToken.escape(string(app)) + ".*"
		}
		handle, err := l.dead(ctx)
		if err != nil {
			fail(err)
			return
		}
		for number := uint64(1); ; number++ {
			m, err := l.at(ctx, handle, number, jetstream.WithGetMsgSubject(subject))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				fail(err)
				return
			}
			number = m.Sequence
			dead, err := l.deadLetter(m)
			if err != nil {
				l.s.metrics.foreign.Inc()
				continue
			}
			if !yield(dead, nil) {
				return
			}
		}
	}
}

func (l *Letters) dead(ctx context.Context) (jetstream.Stream, error) {
	if err := l.ensure(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return l.s.read.Stream(ctx, l.deadName)
}

func (l *Letters) at(ctx context.Context, handle jetstream.Stream, number uint64, opts ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return handle.GetMsg(ctx, number, opts...)
}

func (l *Letters) deadLetter(m *jetstream.RawStreamMsg) (*broker.DeadLetter, error) {
	letter, err := l.letter(l.deadSubjects, m.Subject, m.Header, m.Data)
	if err != nil {
		return nil, err
	}
	id, ok1 := inHeader.unescape(header(m.Header, headerLetter))
	why, ok2 := inHeader.unescape(header(m.Header, headerWhy))
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("%w: headers of dead letter %d", errNotLetter, m.Sequence)
	}
	letter.ID = id
	return &broker.DeadLetter{Letter: *letter, Number: m.Sequence, Why: why, Died: m.Time.UTC()}, nil
}

// Retry puts dead letters into the queue again, by their numbers, and returns how many those were:
// numbers that no dead letter has are passed over. A crash on the way leaves one in both places.
// Errors: [broker.ErrUnavailable], the context's, and one when the queue refuses a letter.
func (l *Letters) Retry(ctx context.Context, numbers ...uint64) (int, error) {
	handle, err := l.dead(ctx)
	if err != nil {
		return 0, fmt.Errorf("retry dead letters: %w", failed(ctx, l.doubt(err)))
	}
	n := 0
	for _, number := range numbers {
		found, err := l.retry(ctx, handle, number)
		if err != nil {
			return n, fmt.Errorf("retry dead letter %d: %w", number, failed(ctx, l.doubt(err)))
		}
		if found {
			n++
		}
	}
	return n, nil
}

func (l *Letters) retry(ctx context.Context, handle jetstream.Stream, number uint64) (found bool, err error) {
	m, err := l.at(ctx, handle, number)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	dead, err := l.deadLetter(m)
	if err != nil {
		return false, err
	}
	letter := dead.Letter
	// The queue may still remember the ID it had.
	letter.ID = fmt.Sprintf("%s/%d", dead.ID, number)
	refused, err := l.put(ctx, []*broker.Letter{&letter})
	if err != nil {
		return false, err
	}
	if len(refused) > 0 {
		return false, errors.New("too much waits for its endpoint")
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	err = handle.DeleteMsg(ctx, number)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		err = nil // somebody else did, or it was forgotten meanwhile
	}
	return true, err
}
