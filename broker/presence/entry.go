package presence

import (
	"encoding/json"
	"fmt"

	"github.com/playhead/playhead/broker"
)

// Channels of the log: what happens, and now and then what all of it comes to.
const (
	happenings broker.Channel = "happenings"
	states     broker.Channel = "states"
)

// What an entry says, as the name of its event. Kinds that aren't known are passed over: they are of a
// later version.
const (
	claims     = "claim"     // a node wants to begin, and its name may be in use
	begins     = "begin"     // a node begins a life, and has nothing
	changes    = "changes"   // a node's connections come and go
	beats      = "beat"      // a node is alive
	terminates = "terminate" // a user's connections are to be closed
	buries     = "bury"      // a node takes another for dead
	ends       = "end"       // a node ends its life
)

// entry is what a node has to say, as it stands in an event's data.
type entry struct {
	Node string `json:"node"`
	Life string `json:"life"` // which of the node's: it has another one after each start

	// Number is 1 for the entry with which a life begins, 2 for the next one; 0 in a claim.
	Number uint64 `json:"number,omitempty"`

	Changes []change `json:"changes,omitempty"`

	// Told is up to which serial everything was told to backends, or will be whatever becomes of the
	// node. It is in what the teller says.
	Told uint64 `json:"told,omitempty"`

	// Status is in a beat.
	Status *Status `json:"status,omitempty"`

	// Buried is who is dead.
	Buried *grave `json:"buried,omitempty"`

	// App and User are whose connections are to be closed.
	App  broker.AppID `json:"app,omitempty"`
	User string       `json:"user,omitempty"`
}

// Status is what a node says of itself.
type Status struct {
	Connections int   `json:"connections"`
	Started     int64 `json:"started"` // Unix ms; when the life began
	Lag         int64 `json:"lag"`     // ms between the time of the last entry and when it was folded
}

// grave names a life that is over, unless it has said something after Serial.
type grave struct {
	Node   string `json:"node"`
	Life   string `json:"life"`
	Serial uint64 `json:"serial"`
}

// event returns the entry as an event of the log. The same entry always has the same ID, so that it may
// be appended again.
func (x *entry) event(kind string) (*broker.Event, error) {
	data, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	id := fmt.Sprintf("%s-%s-%d", kind, x.Life, x.Number)
	return &broker.Event{App: App, Channel: happenings, ID: id, Name: kind, Data: data}, nil
}

// readEntry reads what an event says.
func readEntry(e *broker.Event) (*entry, error) {
	var x entry
	if err := json.Unmarshal(e.Data, &x); err != nil {
		return nil, fmt.Errorf("read %s at serial %d: %w", e.Name, e.Position.Serial, err)
	}
	return &x, nil
}
