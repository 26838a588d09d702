package broker

import "time"

// Channel is the name of a channel as clients write it, for example "private-orders".
type Channel string

// SocketID names one live connection in the whole cluster. It has the form "123.456".
type SocketID string

// Event is one publish to one channel. Once handed to [Log.Append] or received from a tail or
// a range it is shared and must not be changed, but for the fields Append sets.
type Event struct {
	App     AppID
	Channel Channel

	// ID is unique in the app: the publisher's idempotency key, or made by [Node.Publish].
	// A medium with memory stores an ID once within its duplicate window.
	ID string

	// Name is the event's name, for example "order.updated". Any characters.
	Name string

	// Data is the payload exactly as the publisher sent it. It is never parsed.
	Data []byte

	// Exclude is the connection that must not receive the event: the one a backend named
	// as socket_id, or the sender of a client event. Usually empty.
	Exclude SocketID

	// UserID is the sender's member id of a client event on a presence channel, else empty.
	UserID string

	// Client says that a client sent the event over its connection, not a backend over HTTP.
	Client bool

	// Time is when the node took the event, in UTC and whole milliseconds. [Node.Publish]
	// sets it; the log stores it with the event.
	Time time.Time

	// Position is set by [Log.Append], and carried by what a tail or a range yields. It is
	// zero where the medium has no memory.
	Position Position

	// Duplicate is set by [Log.Append] when the log already held an event with this ID; the
	// Position is then that of the first one and nothing was stored now.
	Duplicate bool
}

// eventOverhead is what an event takes besides its texts and data, in bytes: the Event itself, its
// places in a window and its index, and what the allocator rounds up.
const eventOverhead = 320

// Size estimates what the event takes where it is kept in memory, in bytes.
func (e *Event) Size() int {
	return eventOverhead + len(e.Data) + len(e.Name) + len(e.ID) + len(e.Channel) + len(e.Exclude) + len(e.UserID)
}
