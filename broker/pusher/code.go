package pusher

import (
	"fmt"

	"github.com/playhead/playhead/broker"
)

// Code says in a pusher:error, a close frame, or both, what is wrong and what the client should
// do: 4000–4099 stay away, 4100–4199 come back after a while, 4200–4299 come back at once. Codes
// from 4300 on stand in errors only and never close; pusher-js would not come back. A connection
// that was never established must not be closed with 42xx: pusher-js would try again without end
// and without pause.
type Code int

// The codes.
const (
	CodeNone               Code = 0    // an error without a code, null on the wire
	CodeTLSOnly            Code = 4000 // the app accepts TLS only
	CodeUnknownApp         Code = 4001 // no app has this key
	CodeAppDisabled        Code = 4003
	CodeAppOverQuota       Code = 4004 // the app has as many connections as it may
	CodePathNotFound       Code = 4005
	CodeVersionMalformed   Code = 4006 // the client library's version can't be read
	CodeVersionUnsupported Code = 4007 // the protocol's version
	CodeVersionMissing     Code = 4008
	CodeUnauthorized       Code = 4009
	CodeOverCapacity       Code = 4100 // of the node, or of what it will queue for one connection
	CodeReconnect          Code = 4200 // come back at once
	CodePongMissing        Code = 4201
	CodeInactive           Code = 4202
	CodeClientEventRate    Code = 4301 // a client event was dropped; the connection stays open
	CodeWatchlistLimit     Code = 4302 // the watchlist was cut; the connection stays open
)

// Text returns the code's usual message; it fits into a close frame.
func (c Code) Text() string {
	switch c {
	case CodeTLSOnly:
		return "Application only accepts TLS connections, reconnect using wss://"
	case CodeUnknownApp:
		return "App key not in this cluster. Did you forget to specify the cluster?"
	case CodeAppDisabled:
		return "Application disabled"
	case CodeAppOverQuota:
		return "Application is over connection quota"
	case CodePathNotFound:
		return "Path not found"
	case CodeVersionMalformed:
		return "Invalid version string format"
	case CodeVersionUnsupported:
		return "Unsupported protocol version"
	case CodeVersionMissing:
		return "No protocol version supplied"
	case CodeUnauthorized:
		return "Connection is unauthorized"
	case CodeOverCapacity:
		return "Over capacity"
	case CodeReconnect:
		return "Please reconnect immediately"
	case CodePongMissing:
		return "Pong reply not received"
	case CodeInactive:
		return "Closed after inactivity"
	case CodeClientEventRate:
		return "Client event rejected due to rate limit"
	case CodeWatchlistLimit:
		return "Watchlist limit exceeded, the first 100 ids are used"
	}
	return "Error"
}

// CloseReasonBytes is the most a close frame's reason may have.
const CloseReasonBytes = 123

// UnknownApp is the message of [CodeUnknownApp] for a key, cut to fit into a close frame.
func UnknownApp(key string) string {
	const format = "App key %s not in this cluster. Did you forget to specify the cluster?"
	return fmt.Sprintf(format, clip(key, CloseReasonBytes-len(format)+len("%s")))
}

// Refusal is why a subscribe was refused; it chooses the type and the status of a
// pusher:subscription_error. The connection stays open.
type Refusal int

// Why subscribes are refused.
const (
	Unauthorized   Refusal = iota // bad or missing signature, or not signed in as the user
	ChannelFull                   // the presence channel has as many members as it may
	MemberTooLarge                // user_id or user_info over the limit
	NameTooLong                   // the channel's name over the limit
	NameInvalid                   // the channel's name is none
	DataInvalid                   // malformed channel_data, resume or rewind
)

// Type returns the refusal's type on the wire.
func (r Refusal) Type() string {
	switch r {
	case ChannelFull, MemberTooLarge, NameTooLong:
		return "LimitReached"
	case NameInvalid:
		return "InvalidChannel"
	case DataInvalid:
		return "InvalidData"
	}
	return "AuthError"
}

// Status returns the refusal's status on the wire.
func (r Refusal) Status() int {
	switch r {
	case ChannelFull:
		return 4100
	case MemberTooLarge:
		return 4301
	case NameTooLong, NameInvalid:
		return 4009
	case DataInvalid:
		return 400
	}
	return 401
}

// Messages of errors that need a connection's state to be noticed, in Pusher's words.

// ClientEventsDisabled answers a client event in an app that allows none.
const ClientEventsDisabled = "To send client events, you must enable this feature in the Settings page of your dashboard."

// ClientEventWithoutChannel answers a client event that lacks its channel.
const ClientEventWithoutChannel = "Invalid client event (must contain channel and data)"

// UnsupportedEvent answers a frame of a name that clients may not send.
func UnsupportedEvent(name string) string {
	return fmt.Sprintf("Unsupported event received on socket: '%s'", clip(name, quoted))
}

// AlreadySignedIn answers a sign-in, as another user, on a connection that is signed in.
func AlreadySignedIn(userID string) string {
	return fmt.Sprintf("Connection is already signed in as user '%s'", clip(userID, quoted))
}

// NotSignedIn answers a subscribe to a user's own channel by a connection that isn't signed in as
// the user.
func NotSignedIn(ch broker.Channel) string {
	return fmt.Sprintf("Connection is not signed in as the user of channel %s", clip(string(ch), quoted))
}

// AlreadySubscribed answers a second subscribe to a channel.
func AlreadySubscribed(ch broker.Channel) string {
	return fmt.Sprintf("Existing subscription to channel %s", ch)
}

// NotSubscribed answers an unsubscribe from a channel the connection is not subscribed to.
func NotSubscribed(ch broker.Channel) string {
	return fmt.Sprintf("No current subscription to channel %s, or subscription in progress", clip(string(ch), quoted))
}

// ClientEventNotSubscribed answers a client event to a channel its sender is not subscribed to.
func ClientEventNotSubscribed(ch broker.Channel) string {
	return fmt.Sprintf("Cannot broadcast client event (connection not subscribed to channel %s)", clip(string(ch), quoted))
}

// ClientEventNotAllowed answers a client event to a channel of a kind that takes none.
func ClientEventNotAllowed(ch broker.Channel) string {
	return fmt.Sprintf("Client events are only allowed on private and presence channels that are not encrypted, not on %s", clip(string(ch), quoted))
}
