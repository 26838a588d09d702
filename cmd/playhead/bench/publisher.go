package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// publisher publishes one request after the other.
type publisher struct {
	run    *run
	number int
	next   int // the channel that is next
	body   []byte
	events []event
}

// load publishes until the measured time is over. With a rate each event is due at a time, whether or
// not the server has answered those before: who waits behind a slow answer counts that as well.
func (p *publisher) load(ctx context.Context) {
	r := p.run
	if r.cfg.Rate == None {
		for ctx.Err() == nil && time.Since(r.began) < r.measure.upto {
			if r.room() {
				p.publish(ctx, time.Since(r.began))
			} else if pause(ctx, 200*time.Microsecond) != nil {
				return
			}
		}
		return
	}
	each := time.Duration(float64(r.cfg.Batch) / r.cfg.Rate * float64(time.Second)) // between requests, of all
	for k := p.number; ; k += r.cfg.Publishers {
		due := r.loadFrom + time.Duration(k)*each
		if due >= r.measure.upto {
			return
		}
		now := time.Since(r.began)
		if now >= r.measure.upto+r.cfg.Patience {
			r.unsent.Add(int64(r.cfg.Batch)) // hopelessly behind
			continue
		}
		if now < due {
			if pause(ctx, due-now) != nil {
				return
			}
			r.lags.add(p.number, time.Since(r.began)-due)
		}
		if ctx.Err() != nil {
			return
		}
		p.publish(ctx, due)
	}
}

// publish publishes a batch of events to the next channels.
func (p *publisher) publish(ctx context.Context, due time.Duration) {
	r := p.run
	p.events = p.events[:0]
	for range r.cfg.Batch {
		l := r.lane(p.next, p.number)
		p.events = append(p.events, event{lane: p.next*r.cfg.Publishers + p.number, number: l.begun.Add(1) - 1, due: due})
		p.next = (p.next + 1) % r.cfg.Channels
	}
	err := p.post(ctx)
	took := time.Since(r.began) - due
	for _, e := range p.events {
		l := &r.lanes[e.lane]
		if err != nil {
			l.doubt(e.number)
		}
		l.settled.Add(1)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.refuse(int64(len(p.events)), err)
		}
		return
	}
	r.published.Add(int64(len(p.events)))
	if due >= r.measure.from && due < r.measure.upto {
		r.accepted.Add(int64(len(p.events)))
		r.publishes.add(p.number, took)
	}
}

// post sends the request.
func (p *publisher) post(ctx context.Context) error {
	r := p.run
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Patience)
	defer cancel()
	path, b := "/events", p.body[:0]
	if len(p.events) > 1 {
		path, b = "/batch_events", append(b, `{"batch":[`...)
	}
	for i, e := range p.events {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"name":"bench","channel":%q,"data":"`, r.channel(e.lane/r.cfg.Publishers))
		b = append(e.appendData(b, r.id, r.cfg.Size), `"}`...)
	}
	if len(p.events) > 1 {
		b = append(b, `]}`...)
	}
	p.body = b
	u, err := url.Parse(r.cfg.URL + "/apps/" + url.PathEscape(r.cfg.AppID) + path)
	if err != nil {
		return err
	}
	signed := pusher.Request{Method: http.MethodPost, Path: u.EscapedPath(), Body: b}
	if u.RawQuery, err = signed.Sign(broker.Credential{Key: r.cfg.Key, Secret: r.cfg.Secret}, time.Now()); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		var outer *url.Error
		if errors.As(err, &outer) {
			err = outer.Err // without the signature
		}
		return fmt.Errorf("publish: %w", err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("publish: read the answer: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("publish: %s: %.200s", resp.Status, said)
	}
	return nil
}
