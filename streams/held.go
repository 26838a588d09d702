package streams

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
)

// held is a letter that was taken and not done.
type held struct {
	taker   *taker
	receipt string // what it is acknowledged by
	done    bool   // acknowledged, but the server hasn't said that it knows
}

// Take yields the letters of an endpoint that are not done yet, each once, oldest first, and then
// those that come. It waits until no other taker of the endpoint, on any node, is left: one that was
// killed is given up after [LettersConfig].Takeover. Only so many letters are given out before some
// are done. It ends when the loop or ctx does, or with an error as its last word when another taker
// may have been given the letters. Then, whatever was not done is the next taker's.
func (l *Letters) Take(ctx context.Context, app broker.AppID, endpoint string) iter.Seq2[*broker.Letter, error] {
	return func(yield func(*broker.Letter, error) bool) {
		t := &taker{
			s: l.s, nc: l.s.cfg.Tail, js: l.s.tail,
			stream: l.name, ensure: l.ensure, window: l.cfg.Window,
			cfg: l.consumer(app, endpoint),
		}
		t.take = func(_ context.Context, m *nats.Msg, d delivery) bool {
			letter := l.taken(t, m, d)
			return letter == nil || yield(letter, nil)
		}
		err := t.run(ctx)
		l.drop(t)
		if err != nil {
			yield(nil, fmt.Errorf("take letters for endpoint %s of app %s: %w", endpoint, app, failed(ctx, l.doubt(err))))
		}
	}
}

func (l *Letters) consumer(app broker.AppID, endpoint string) jetstream.ConsumerConfig {
	sum := sha256.Sum256([]byte(string(app) + "\x00" + endpoint))
	return jetstream.ConsumerConfig{
		Durable:        hex.EncodeToString(sum[:16]),
		Description:    fmt.Sprintf("Webhooks of app %q for endpoint %q", app, endpoint),
		FilterSubject:  endpointSubject(l.subjects, app, endpoint),
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        takerAckWait,
		MaxDeliver:     -1,
		MaxAckPending:  l.cfg.Window,
		MaxWaiting:     128,
		PriorityPolicy: jetstream.PriorityPolicyPinned,
		PriorityGroups: []string{takerGroup},
		PinnedTTL:      l.cfg.Takeover,
		// The letters stay without it, and the next taker makes it again.
		InactiveThreshold: inactiveThreshold,
	}
}

// taken makes a message a held letter; nil when it is one that has been given out already.
func (l *Letters) taken(t *taker, m *nats.Msg, d delivery) *broker.Letter {
	l.mu.Lock()
	h := l.held[d.serial]
	mine := h != nil && h.taker == t
	switch {
	case mine && !h.done:
		h.receipt = m.Reply
		l.mu.Unlock()
		return nil
	case mine, d.serial <= t.last:
		// It is done; the server didn't hear.
		delete(l.held, d.serial)
		l.mu.Unlock()
		_ = t.nc.Publish(m.Reply, []byte("+ACK")) // it comes again if this fails
		return nil
	}
	letter, err := l.letter(l.subjects, m.Subject, m.Header, m.Data)
	if err != nil {
		l.mu.Unlock()
		l.s.metrics.foreign.Inc()
		_ = t.nc.Publish(m.Reply, []byte("+TERM")) // it comes again if this fails
		return nil
	}
	letter.Serial, letter.Queued = d.serial, time.Unix(0, d.stamp).UTC()
	l.held[d.serial] = &held{taker: t, receipt: m.Reply}
	l.mu.Unlock()
	return letter
}

// drop forgets what a taker held.
func (l *Letters) drop(t *taker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for serial, h := range l.held {
		if h.taker == t {
			delete(l.held, serial)
		}
	}
}

// Done takes letters of one endpoint, which were taken here, out of the queue. Those that are no
// longer the taker's are passed over. After an error some may be given out again, to a later taker.
// Errors: [broker.ErrUnavailable], the context's.
func (l *Letters) Done(ctx context.Context, letters ...*broker.Letter) error {
	receipts := make([]string, 0, len(letters))
	l.mu.Lock()
	for _, letter := range letters {
		if h := l.held[letter.Serial]; h != nil && !h.done {
			h.done = true
			receipts = append(receipts, h.receipt)
		}
	}
	l.mu.Unlock()
	if err := acknowledge(ctx, l.s.cfg.Tail, receipts); err != nil {
		return fmt.Errorf("take %d letters out of the queue: %w", len(letters), failed(ctx, err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, letter := range letters {
		if h := l.held[letter.Serial]; h != nil && h.done {
			delete(l.held, letter.Serial)
		}
	}
	return nil
}
