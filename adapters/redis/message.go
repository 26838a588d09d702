package redis

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/playhead/playhead/broker"
)

// version is the first byte of a message. What has another one is of a version to come.
const version = 1

// messageBytes bounds a message. Redis drops a connection that listens when 32 MiB wait for it.
const messageBytes = 8 << 20

// Flags of an event in a message.
const (
	byClient    = 1 << iota // broker.Event.Client
	withExclude             // Exclude follows
	withUser                // UserID follows
)

// errNotEvents is what a message is that no Append wrote.
var errNotEvents = errors.New("not events")

// appendEvent appends an event of a message to b: flags, time, channel, ID, name, what the flags say,
// data. The app is in the name of what it is published to.
func appendEvent(b []byte, e *broker.Event) []byte {
	flags := byte(0)
	if e.Client {
		flags |= byClient
	}
	if e.Exclude != "" {
		flags |= withExclude
	}
	if e.UserID != "" {
		flags |= withUser
	}
	b = append(b, flags)
	b = binary.AppendVarint(b, e.Time.UnixMilli())
	b = appendText(b, string(e.Channel))
	b = appendText(b, e.ID)
	b = appendText(b, e.Name)
	if e.Exclude != "" {
		b = appendText(b, string(e.Exclude))
	}
	if e.UserID != "" {
		b = appendText(b, e.UserID)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Data)))
	return append(b, e.Data...)
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// readEvents returns the events of a message, which stand one after the other behind the version, or
// [errNotEvents].
func readEvents(app broker.AppID, message string) ([]*broker.Event, error) {
	if message == "" {
		return nil, fmt.Errorf("%w: an empty message", errNotEvents)
	}
	if message[0] != version {
		return nil, fmt.Errorf("%w: version %d", errNotEvents, message[0])
	}
	r := reader{rest: message[1:]}
	var all []*broker.Event
	for r.rest != "" && !r.bad {
		all = append(all, r.event(app))
	}
	if r.bad || len(all) == 0 {
		return nil, fmt.Errorf("%w: a message of %d bytes ends amid an event", errNotEvents, len(message))
	}
	return all, nil
}

// reader reads what is left of a message. Once it is bad it gives zeros.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) event(app broker.AppID) *broker.Event {
	flags := r.flags()
	e := &broker.Event{App: app, Client: flags&byClient != 0}
	e.Time = time.UnixMilli(r.varint()).UTC()
	e.Channel = broker.Channel(r.text())
	e.ID = r.text()
	e.Name = r.text()
	if flags&withExclude != 0 {
		e.Exclude = broker.SocketID(r.text())
	}
	if flags&withUser != 0 {
		e.UserID = r.text()
	}
	e.Data = []byte(r.text())
	return e
}

func (r *reader) flags() byte {
	if r.rest == "" {
		r.bad = true
		return 0
	}
	flags := r.rest[0]
	r.rest = r.rest[1:]
	r.bad = r.bad || flags >= withUser<<1
	return flags
}

// number reads what binary.Varint and binary.Uvarint take from bytes.
func number[N int64 | uint64](r *reader, read func([]byte) (N, int)) N {
	head := []byte(r.rest[:min(len(r.rest), binary.MaxVarintLen64)])
	n, length := read(head)
	if length <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.rest = r.rest[length:]
	return n
}

func (r *reader) varint() int64 { return number(r, binary.Varint) }

func (r *reader) text() string {
	n := number(r, binary.Uvarint)
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}
