package streams

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pageEvents and pageBytes bound one read of several events.
	pageEvents = 200
	pageBytes  = 2 << 20
	// firstEvents bounds the first page of a channel: the server doesn't stop at the range's end but
	// walks on, and most ranges have no more.
	firstEvents = 100
)

// pageRequest asks for messages, the first at or after Serial: those of NextFor, or where that is empty
// all; at most Batch, and no more after those that make MaxBytes.
type pageRequest struct {
	Serial   uint64 `json:"seq"`
	NextFor  string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes"`
}

// page reads messages from whichever replica answers: without a hole between them, but they may begin
// too late or end too early.
func (st *stream) page(ctx context.Context, q pageRequest) ([]*message, error) {
	request, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	done, err := st.s.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	nc := st.s.cfg.Read
	// With the library's own queue each page would cost half a megabyte.
	arrived := make(chan *nats.Msg, q.Batch+1)
	sub, err := nc.ChanSubscribe(nc.NewInbox(), arrived)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	if err := nc.PublishRequest(st.s.api+"DIRECT.GET."+st.name, sub.Subject, request); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var page []*message
	for {
		var m *nats.Msg
		select {
		case m = <-arrived:
		case <-ctx.Done():
			return nil, ctx.Err()
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
		case "503":
			return nil, nats.ErrNoResponders
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

// turn waits until a read may begin. It is over with done.
func (s *Streams) turn(ctx context.Context) (done func(), err error) {
	started := time.Now()
	s.metrics.readsWaiting.Inc()
	defer s.metrics.readsWaiting.Dec()
	select {
	case s.reads <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.metrics.reads.Inc()
	return func() {
		<-s.reads
		s.metrics.reads.Dec()
		s.metrics.readSeconds.Observe(time.Since(started).Seconds())
	}, nil
}
