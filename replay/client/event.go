package client

import (
	"fmt"
	"time"

	"github.com/playhead/playhead/broker"
)

// Position is a place in the log of an app, as the server gave it out: opaque, ASCII, at most 128
// bytes. Keep it, hand it back; it can't be compared or counted. A position that came with an event
// of one channel is good for any channel of the app.
type Position string

// Event is one publish to one channel.
type Event struct {
	Channel broker.Channel

	// ID is unique in the app within the server's idempotency window: the publisher's
	// idempotency key, or made by the server. Empty when the server isn't Playhead.
	ID string

	// Name is the event's name, any text.
	Name string

	// Data is exactly what was published, any text. On encrypted channels it is the ciphertext.
	Data string

	// UserID is the sender's member id of a client event on a presence channel, else empty.
	UserID string

	// Position is where to go on after this event. Empty where the server's medium has no memory,
	// and when the server isn't Playhead.
	Position Position

	// Time is when the server took the event, in whole milliseconds. Zero when it can't be told.
	Time time.Time
}

// Reason is why events can't be had, in the protocol's words.
type Reason string

// The reasons.
const (
	Expired     Reason = "expired"     // the log no longer holds everything after the position
	Reset       Reason = "reset"       // the position belongs to a former life of the log
	Ahead       Reason = "ahead"       // the position lies beyond the log's end
	TooFar      Reason = "too_far"     // more events were missed than the server replays
	Unavailable Reason = "unavailable" // the log can't be read right now
	Unsupported Reason = "unsupported" // the server's medium has no memory, or it isn't Playhead
	Invalid     Reason = "invalid"     // not a position that the server gave out
)

// Gap is an error that a [Client.Tail] yields in between events: some events of the channel before
// the position can't be had. All later ones can, and the tail goes on with them.
type Gap struct {
	Channel  broker.Channel
	Reason   Reason
	Position Position // where the tail goes on; empty where there are no positions
}

// Error says what happened, for people.
func (g *Gap) Error() string { return fmt.Sprintf("gap in %s: %s", g.Channel, g.Reason.explain()) }

// explain spells a reason out.
func (r Reason) explain() string {
	switch r {
	case Expired:
		return "the log no longer holds what was missed (expired)"
	case Reset:
		return "the log was made anew since (reset)"
	case Ahead:
		return "the log ends before the position (ahead)"
	case TooFar:
		return "more was missed than the server replays (too_far)"
	case Unavailable:
		return "the log can't be read (unavailable)"
	case Unsupported:
		return "the server remembers nothing (unsupported)"
	case Invalid:
		return "not a position of this server (invalid)"
	}
	return string(r)
}

// known reports whether r is one of the protocol's reasons.
func (r Reason) known() bool {
	switch r {
	case Expired, Reset, Ahead, TooFar, Unavailable, Unsupported, Invalid:
		return true
	}
	return false
}

// timeOf tells when an event was published that has this position. Positions are opaque to those
// that use this package; here the server's own reader of them is at hand, and says nothing of forms
// it doesn't know.
func timeOf(p Position) time.Time {
	at, err := broker.ParsePosition(string(p))
	if err != nil || at.Time == 0 {
		return time.Time{}
	}
	return time.UnixMilli(at.Time).UTC()
}
