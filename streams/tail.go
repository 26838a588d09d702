package streams

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
)

const (
	// pullEvents is how many messages a tail has asked for at most.
	pullEvents = 2000
	// inactiveThreshold is how long the server keeps the consumer of a node that vanished.
	inactiveThreshold = 10 * time.Minute
	// endTimeout bounds the deletion of the consumer at a tail's end.
	endTimeout = 2 * time.Second
	// patienceMin is how long the first try to go on waits for an answer; later ones wait longer.
	patienceMin = 250 * time.Millisecond
	// resumeMax is the longest pause between two tries to go on.
	resumeMax = time.Second
	// electionGrace is how long a new leader of a replicated stream may take to know what the
	// former had stored.
	electionGrace = 5 * time.Second
)

// Why a tail can't go on.
var (
	errGone   = errors.New("the stream is gone")
	errReset  = errors.New("the stream was deleted and made again")
	errMissed = errors.New("the stream has forgotten what comes next")
	errLost   = errors.New("the stream has lost its end")
)

// tail follows one stream. It is owned by the goroutine that ranges over it.
//
// The truth about where it is lies here, in last, and not with the consumer: the consumer only
// carries, and is set back to last + 1 whenever something may have been lost on the way.
type tail struct {
	stream *stream
	s      *Streams
	slot   int    // which of the node's consumers of this stream
	name   string // of the consumer
	epoch  broker.Epoch
	pull   *pull

	last   uint64 // serial of the last message seen
	stamp  int64  // when that was stored, Unix ns; 0 when it isn't known
	ranged bool
}

// Tail implements [broker.Log]. It survives restarts of the server, elections and cuts, for as long
// as ctx lives. Its last word is an error when the stream is gone or was made anew, has forgotten
// what comes next, or has lost what the tail has given out already.
func (s *Streams) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	fail := func(err error) (broker.Position, iter.Seq2[*broker.Event, error], error) {
		return broker.Position{}, nil, fmt.Errorf("tail app %s: %w", app, failed(ctx, err))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	st, err := s.stream(app)
	if err != nil {
		return fail(err)
	}
	t := &tail{stream: st, s: s, slot: st.takeSlot()}
	t.name = consumerName(s.cfg.NodeName, t.slot)
	t.pull = newPull(s, st.name, t.name, pullEvents)
	from, err := t.begin(ctx)
	if err != nil {
		st.freeSlot(t.slot)
		return fail(err)
	}
	return from, func(yield func(*broker.Event, error) bool) { t.run(ctx, yield) }, nil
}

// takeSlot finds a consumer name that no other tail of this process has. Mostly it is the first.
func (st *stream) takeSlot() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	for i, used := range st.tails {
		if !used {
			st.tails[i] = true
			return i
		}
	}
	st.tails = append(st.tails, true)
	return len(st.tails) - 1
}

func (st *stream) freeSlot(slot int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.tails[slot] = false
}

// begin finds the stream's end and puts a consumer there. What is appended from now on has serials
// after it, whenever the consumer comes to see it.
func (t *tail) begin(ctx context.Context) (broker.Position, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	info, err := t.stream.find(ctx, t.s.tail)
	if err != nil {
		return broker.Position{}, err
	}
	if t.epoch, err = epochOf(info); err != nil {
		return broker.Position{}, err
	}
	t.last = info.State.LastSeq
	from := broker.Position{Epoch: t.epoch, Serial: t.last}
	if info.State.Msgs > 0 {
		m, err := t.stream.at(ctx, t.last)
		if err != nil {
			return broker.Position{}, fmt.Errorf("read the last event: %w", err)
		}
		if m != nil {
			t.stamp = m.Time.UnixNano()
		}
		if e := t.stream.event(m, t.epoch); e != nil {
			from.Time = e.Position.Time
		}
	}
	for {
		err := t.place(ctx)
		if err == nil {
			return from, nil
		}
		if !passing(err) || !pause(ctx, tryPause) {
			return broker.Position{}, err
		}
	}
}

// place makes the consumer behind the last message seen, in place of one that is there: a node that
// was killed leaves one behind.
func (t *tail) place(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*tryTimeout)
	defer cancel()
	err := t.s.tail.DeleteConsumer(ctx, t.stream.name, t.name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("delete consumer %s: %w", t.name, err)
	}
	_, err = t.s.tail.CreateConsumer(ctx, t.stream.name, jetstream.ConsumerConfig{
		Durable:           t.name,
		Description:       "Tail of a Playhead node",
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       t.last + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		ReplayPolicy:      jetstream.ReplayInstantPolicy,
		InactiveThreshold: inactiveThreshold,
		MaxWaiting:        16,
		Replicas:          1,
		MemoryStorage:     true,
	})
	if err != nil {
		return fmt.Errorf("make consumer %s: %w", t.name, err)
	}
	return nil
}

// run is the iterator.
func (t *tail) run(ctx context.Context, yield func(*broker.Event, error) bool) {
	if t.ranged {
		yield(nil, fmt.Errorf("tail app %s: ranged over a second time", t.stream.app))
		return
	}
	t.ranged = true
	t.pull.open()
	defer t.end(ctx)
	for {
		more, fault := t.follow(ctx, yield)
		if !more || ctx.Err() != nil {
			return
		}
		t.s.metrics.tailResumes.Inc()
		t.s.cfg.Logger.Warn("tail is held up", "app", t.stream.app, "serial", t.last, "err", fault)
		started := time.Now()
		if err := t.resume(ctx); err != nil {
			if ctx.Err() == nil {
				t.stream.doubt(t.epoch)
				yield(nil, fmt.Errorf("tail app %s after %d: %w", t.stream.app, t.last, err))
			}
			return
		}
		t.s.cfg.Logger.Info("tail goes on", "app", t.stream.app, "serial", t.last, "dur", time.Since(started))
	}
}

// end leaves nothing behind, if the server can be reached.
func (t *tail) end(ctx context.Context) {
	t.pull.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if t.s.cfg.Tail.IsConnected() {
		err := t.s.tail.DeleteConsumer(ctx, t.stream.name, t.name)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.s.cfg.Logger.Warn("tail's consumer is left behind; the server deletes it later", "app", t.stream.app, "err", err)
		}
	}
	t.stream.freeSlot(t.slot)
}

// follow yields what comes until the loop ends (more is false), ctx does, or something is wrong.
func (t *tail) follow(ctx context.Context, yield func(*broker.Event, error) bool) (more bool, fault error) {
	if err := t.pull.begin(); err != nil {
		return true, err
	}
	for {
		m, d, err := t.pull.next(ctx)
		if errors.Is(err, errEnd) {
			return false, nil
		}
		if err != nil {
			return true, err
		}
		if e := t.take(m, d); e != nil && !yield(e, nil) {
			return false, nil
		}
	}
}

// take returns the event in a message; nil when there is none or it has been seen.
func (t *tail) take(m *nats.Msg, d delivery) *broker.Event {
	if d.serial <= t.last {
		return nil
	}
	t.last, t.stamp = d.serial, d.stamp
	e, err := decode(t.stream.app, t.stream.subjects, m.Subject, m.Header, m.Data, t.epoch, d.serial)
	if err != nil {
		t.s.metrics.foreign.Inc()
		t.s.cfg.Logger.Debug("passed over in a stream", "app", t.stream.app, "serial", d.serial, "err", err)
		return nil
	}
	return e
}

// resume sets the consumer back to the last message seen, or makes it anew there, as soon as the
// server lets it. Its errors are final.
func (t *tail) resume(ctx context.Context) error {
	t.pull.stop()
	wait, gone, short := tryPause, 0, time.Time{}
	for patience := patienceMin; ; patience = min(2*patience, tryTimeout) {
		// What is asked while a connection or a server goes down gets no answer at all.
		try, cancel := context.WithTimeout(ctx, patience)
		info, err := t.stream.info(try, t.s.tail)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, jetstream.ErrStreamNotFound):
			if gone++; gone > 1 { // said twice: not by somebody who is about to learn of it
				return errGone
			}
		case err == nil:
			gone = 0
			err = t.continues(ctx, info)
			switch {
			case errors.Is(err, errLost) && t.s.cfg.Replicas > 1 && (short.IsZero() || time.Since(short) < electionGrace):
				if short.IsZero() {
					short = time.Now()
				}
			case errors.Is(err, errReset), errors.Is(err, errMissed), errors.Is(err, errLost):
				return err
			case err == nil:
				if err = t.set(ctx); err == nil {
					return nil
				}
			}
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
		wait = min(2*wait, resumeMax)
	}
}

// continues makes sure that the stream is the one that was followed and goes on behind the last
// message seen. Other errors than those named there are of the asking.
func (t *tail) continues(ctx context.Context, info *jetstream.StreamInfo) error {
	if epoch, err := epochOf(info); err != nil || epoch != t.epoch {
		return errReset
	}
	first, end := info.State.FirstSeq, info.State.LastSeq
	if info.State.Msgs == 0 {
		first = end + 1
	}
	switch {
	case end < t.last:
		return fmt.Errorf("%w: it ends at %d", errLost, end)
	case first > t.last+1:
		return fmt.Errorf("%w: it begins at %d", errMissed, first)
	case first > t.last || t.stamp == 0:
		return nil
	}
	m, err := t.stream.at(ctx, t.last)
	if err != nil {
		return err
	}
	if m != nil && m.Time.UnixNano() != t.stamp {
		return fmt.Errorf("%w: another event stands at %d", errLost, t.last)
	}
	return nil
}

// set sets the consumer back, or makes it anew.
func (t *tail) set(ctx context.Context) error {
	try, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	// Nobody answers for a consumer that isn't there when it is to be reset, but when it is asked for.
	_, err := t.s.tail.Consumer(try, t.stream.name, t.name)
	if err == nil {
		_, err = t.s.tail.ResetConsumerToSequence(try, t.stream.name, t.name, t.last+1)
	}
	if err == nil {
		return nil
	}
	return t.place(ctx)
}
