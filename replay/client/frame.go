package client

import (
	"encoding/json"
	"strings"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// The server's frames that a tail acts on.
const (
	established = "pusher:connection_established"
	fault       = "pusher:error"
	subscribed  = "pusher_internal:subscription_succeeded"
	refused     = "pusher:subscription_error"
	cacheMiss   = "pusher:cache_miss"
	replayed    = "playhead:replayed"
	gap         = "playhead:gap"
	history     = "playhead:history"
)

// frame is a message from the server.
type frame struct {
	Event    string          `json:"event"`
	Channel  broker.Channel  `json:"channel"`
	Data     json.RawMessage `json:"data"` // as on the wire
	UserID   string          `json:"user_id"`
	ID       string          `json:"id"`
	Position Position        `json:"position"`
	Resume   *outcome        `json:"resume"`
}

// outcome is how a resume or a rewind went.
type outcome struct {
	Recovered bool   `json:"recovered"`
	Count     int    `json:"count"`
	Reason    Reason `json:"reason"`
}

// text returns data: a string's content, and any other value's JSON.
func (f *frame) text() string {
	var s string
	if len(f.Data) > 0 && f.Data[0] == '"' && json.Unmarshal(f.Data, &s) == nil {
		return s
	}
	return string(f.Data)
}

// read decodes data, which is an object or a string that holds one.
func (f *frame) read(v any) error { return json.Unmarshal([]byte(f.text()), v) }

// own reports whether the frame is the protocol's own, not an event. Backends may publish events
// named like ours, but those have an id.
func (f *frame) own() bool {
	switch f.Event {
	case replayed, gap, history:
		return f.ID == ""
	}
	return strings.HasPrefix(f.Event, "pusher:") || strings.HasPrefix(f.Event, "pusher_internal:")
}

// hello is the data of a connection's first frame.
type hello struct {
	SocketID        broker.SocketID `json:"socket_id"`
	ActivityTimeout int             `json:"activity_timeout"` // seconds
}

// request is the data of a subscribe.
type request struct {
	Channel     broker.Channel `json:"channel"`
	Auth        string         `json:"auth,omitempty"`
	ChannelData string         `json:"channel_data,omitempty"`
	Resume      *resume        `json:"resume,omitempty"`
	Rewind      *rewind        `json:"rewind,omitempty"`
}

type resume struct {
	Position Position        `json:"position"`
	SocketID broker.SocketID `json:"socket_id,omitempty"`
}

type rewind struct {
	Count   int   `json:"count,omitempty"`
	Seconds int64 `json:"seconds,omitempty"`
	SinceMS int64 `json:"since_ms,omitempty"`
}

// encode makes the frame of a subscribe.
func (r *request) encode() ([]byte, error) {
	return json.Marshal(struct {
		Event string   `json:"event"`
		Data  *request `json:"data"`
	}{pusher.EventSubscribe, r})
}
