package pusher

import (
	"strings"
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
)

// Subprotocol is the WebSocket subprotocol to choose when a client offers it.
const Subprotocol = "pusher-channels-protocol-7"

// Names of the events that clients send.
const (
	EventPing        = "pusher:ping"
	EventPong        = "pusher:pong"
	EventSubscribe   = "pusher:subscribe"
	EventUnsubscribe = "pusher:unsubscribe"
	EventSignIn      = "pusher:signin"
	EventHistory     = "playhead:history"
)

// ClientPrefix begins the name of every client event.
const ClientPrefix = "client-"

// CheckEventName says whether a backend may publish an event of this name: any characters, at
// least one, at most the limit's number, and not one of the protocol's own. Error: [ErrEventName].
func CheckEventName(name string, limits broker.Limits) error {
	if name == "" {
		return faultf(ErrEventName, "Invalid event name: it is empty")
	}
	for _, own := range [...]string{"pusher:", "pusher_internal:", "playhead:"} {
		if strings.HasPrefix(name, own) {
			return faultf(ErrEventName, "Invalid event name '%s': the prefix %s is reserved", clip(name, quoted), own)
		}
	}
	return checkEventLength(name, limits)
}

// CheckClientEventName says whether a client may send an event of this name: it begins with
// [ClientPrefix] and is no longer than the limit. Error: [ErrEventName].
func CheckClientEventName(name string, limits broker.Limits) error {
	if !strings.HasPrefix(name, ClientPrefix) {
		return faultf(ErrEventName, "%s", UnsupportedEvent(name))
	}
	return checkEventLength(name, limits)
}

func checkEventLength(name string, limits broker.Limits) error {
	most := limits.WithDefaults().EventNameChars
	if len(name) <= most {
		return nil
	}
	if n := utf8.RuneCountInString(name); n > most {
		return faultf(ErrEventName, "Event name too long: %d characters, at most %d are allowed", n, most)
	}
	return nil
}

// CheckData says whether an event may carry this data; only its size counts. Error: [ErrDataSize].
func CheckData(data []byte, limits broker.Limits) error {
	if most := limits.WithDefaults().DataBytes; len(data) > most {
		return faultf(ErrDataSize, "The data content of this event exceeds the allowed maximum (%d bytes)", most)
	}
	return nil
}
