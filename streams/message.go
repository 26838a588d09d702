package streams

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
)

// The headers of a stored event. Channel and Client are in its subject, Data is the payload. Empty
// fields have no header.
const (
	headerID      = "Nats-Msg-Id" // what JetStream knows duplicates by
	headerTime    = "Ph-Time"     // Unix ms
	headerName    = "Ph-Event"
	headerExclude = "Ph-Exclude"
	headerUser    = "Ph-User"
)

// Headers that steer JetStream and are no part of the event.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSerial = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
	headerRollup      = "Nats-Rollup"
)

// errNotEvent is what a message is that no Append wrote.
var errNotEvent = errors.New("not an event")

// encode returns the message that stores e.
func encode(appSubject string, e *broker.Event) *nats.Msg {
	by := byBackend
	if e.Client {
		by = byClient
	}
	// One array holds all values: a message costs two allocations less per header.
	values := make([]string, 0, 5)
	h := make(nats.Header, 8)
	set := func(key, value string) {
		if value != "" {
			values = append(values, value)
			n := len(values)
			h[key] = values[n-1 : n : n]
		}
	}
	set(headerTime, strconv.FormatInt(e.Time.UnixMilli(), 10))
	set(headerID, inHeader.escape(e.ID))
	set(headerName, inHeader.escape(e.Name))
	set(headerExclude, inHeader.escape(string(e.Exclude)))
	set(headerUser, inHeader.escape(e.UserID))
	return &nats.Msg{
		Subject: channelSubject(appSubject, e.Channel, by),
		Header:  h,
		Data:    e.Data,
	}
}

// headerBytes is what a message's headers take on the wire, at most: with those of a batch, whose
// ids are bounded.
func headerBytes(m *nats.Msg) int {
	n := 200
	for key, values := range m.Header {
		n += len(key) + len(values[0]) + len(": \r\n")
	}
	return n
}

// decode returns the event in a message that stands at a serial, or [errNotEvent].
func decode(app broker.AppID, appSubject, subject string, h nats.Header, data []byte, epoch broker.Epoch, serial uint64) (*broker.Event, error) {
	ch, client, ok := parseSubject(appSubject, subject)
	if !ok {
		return nil, fmt.Errorf("%w: subject %q", errNotEvent, subject)
	}
	ms, err := strconv.ParseInt(header(h, headerTime), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: time %q", errNotEvent, header(h, headerTime))
	}
	e := &broker.Event{
		App:      app,
		Channel:  ch,
		Data:     data,
		Client:   client,
		Time:     time.UnixMilli(ms).UTC(),
		Position: broker.Position{Epoch: epoch, Serial: serial, Time: ms},
	}
	var exclude string
	for _, f := range [...]struct {
		key   string
		field *string
	}{
		{headerID, &e.ID},
		{headerName, &e.Name},
		{headerExclude, &exclude},
		{headerUser, &e.UserID},
	} {
		if *f.field, ok = inHeader.unescape(header(h, f.key)); !ok {
			return nil, fmt.Errorf("%w: header %s", errNotEvent, f.key)
		}
	}
	e.Exclude = broker.SocketID(exclude)
	return e, nil
}

// header returns a header's first value. It reads the map itself: nats.Header.Get does the same
// with more steps.
func header(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}
