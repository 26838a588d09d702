package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// payload is one request, tried until it succeeds or is too old. Its body and signature are made once:
// a retry sends the same bytes. It is owned by the worker, and by the goroutine that posts it while it
// is under way.
type payload struct {
	entries   []*entry
	body      []byte
	key       string
	signature string
	expires   time.Time // no further try after it
	attempts  int
	next      time.Time // of the next try

	why   string // why it is given up; "" while it isn't
	done  bool   // delivered, or buried
	fault error  // why it is not; of the queue for one that is given up
}

func newPayload(e *endpoint, entries []*entry, now time.Time, maxAge time.Duration) *payload {
	p := &payload{entries: entries, next: now, key: e.credential.Key}
	events := make([][]byte, len(entries))
	newest := time.Time{}
	for i, e := range entries {
		events[i] = e.letter.Body
		if e.letter.Queued.After(newest) {
			newest = e.letter.Queued
		}
	}
	if newest.IsZero() || newest.After(now) {
		newest = now
	}
	p.expires = newest.Add(maxAge)
	p.body = pusher.AppendWebhook(nil, now, events)
	p.signature = pusher.SignWebhook(e.credential, p.body)
	return p
}

// givenUp is a payload that is only to be buried.
func givenUp(entries []*entry, now time.Time, why string) *payload {
	return &payload{entries: entries, next: now, why: why}
}

func (p *payload) letters() []*broker.Letter { return lettersOf(p.entries) }

func lettersOf(entries []*entry) []*broker.Letter {
	letters := make([]*broker.Letter, len(entries))
	for i, e := range entries {
		letters[i] = e.letter
	}
	return letters
}

// failed plans the next try, or gives up. The pause is least after the first failure and doubles, up to
// most, with each; then up to half of it is taken off, so that the payloads of an endpoint don't all
// come back at once.
func (p *payload) failed(now time.Time, least, most time.Duration) {
	wait := least
	for i := 1; i < p.attempts && wait < most; i++ {
		wait *= 2
	}
	wait = min(wait, most)
	wait -= rand.N(wait/2 + 1)
	p.next = now.Add(wait)
	if p.why == "" && p.next.After(p.expires) {
		p.why = fmt.Sprintf("%d attempts, the last: %v", p.attempts, p.fault)
		p.next = now
	}
}

// What became of a request.
const (
	answered    = "delivered"
	refused     = "refused"
	redirected  = "redirected"
	timedOut    = "timeout"
	unreachable = "unreachable"
)

// answerBytes is how much of an answer is read, so that its connection can be used again.
const answerBytes = 64 << 10

// post sends a payload once. Whoever ends ctx doesn't end it: a request under way gets its time, since
// one that is cut may have been served.
func (w *Webhooks) post(ctx context.Context, e *endpoint, p *payload) error {
	started := time.Now()
	result, err := w.request(ctx, e, p)
	w.metrics.seconds.Observe(time.Since(started).Seconds())
	w.metrics.attempts.WithLabelValues(string(e.app), result).Inc()
	return err
}

func (w *Webhooks) request(ctx context.Context, e *endpoint, p *payload) (result string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(p.body))
	if err != nil {
		return unreachable, errors.New("the URL can't be used") // it may be secret
	}
	req.Header = e.header.Clone()
	req.Header.Set("Content-Type", pusher.WebhookContentType)
	req.Header.Set(pusher.HeaderKey, p.key)
	req.Header.Set(pusher.HeaderSignature, p.signature)
	resp, err := w.client.Do(req)
	if err != nil {
		var timeout net.Error
		if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
			return timedOut, fmt.Errorf("no answer within %v", w.cfg.Timeout)
		}
		return unreachable, fmt.Errorf("not reached: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, answerBytes) // what counts has been said
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return answered, nil
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return redirected, fmt.Errorf("answered %s; redirects are not followed", resp.Status)
	}
	return refused, fmt.Errorf("answered %s", resp.Status)
}

// withoutURL takes the URL off an error of a client: it may hold secrets, and the endpoint's name is
// told with it anyway.
func withoutURL(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
