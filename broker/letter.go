package broker

import "time"

// Letter tells one endpoint of an app one thing that happened. It waits in a queue until it is
// delivered. Once put or taken it must not be changed.
type Letter struct {
	// ID is unique. A queue keeps a letter once that is put twice within a minute or two.
	ID string

	App      AppID
	Endpoint string // the endpoint's name

	// Time is when it happened, in UTC and whole milliseconds.
	Time time.Time

	// Body is the event as the endpoint will read it, a JSON object. Queues don't look into it.
	Body []byte

	// Queued is when the queue took the letter, and Serial where it stands there. Both are set
	// by the queue that the letter is taken from.
	Queued time.Time
	Serial uint64
}

// DeadLetter is a letter that could not be delivered.
type DeadLetter struct {
	Letter

	// Number names the dead letter in its place.
	Number uint64

	// Why it could not be delivered, for people.
	Why string

	// Died is when that was given up.
	Died time.Time
}

// Backlog is how much waits for one endpoint.
type Backlog struct {
	App      AppID
	Endpoint string
	Letters  uint64 // those that were taken and aren't delivered yet included
}
