package ws

import (
	"errors"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// Why sessions end, beside the node's own reasons. Each is a label of playhead_closes_total.
const (
	// SlowReader: more waited for the client than its queue may hold.
	SlowReader broker.Reason = "slow_reader"
	// QueuesFull: more waited for all clients together than may, and most of it for this one.
	QueuesFull broker.Reason = "queues_full"
	// PongTimeout: the client was silent and did not answer the ping.
	PongTimeout broker.Reason = "pong_timeout"
	// Shutdown: the server is being taken down.
	Shutdown broker.Reason = "shutdown"
	// Restart: the server is being taken down, and the clients have no other to go to meanwhile.
	Restart broker.Reason = "restart"
	// Unauthorised: the client neither signed in nor subscribed with a signature in time.
	Unauthorised broker.Reason = "unauthorized"
	// BinaryMessage: the client sent something else than text.
	BinaryMessage broker.Reason = "binary_message"
	// InvalidUTF8: the client sent text that is none.
	InvalidUTF8 broker.Reason = "invalid_utf8"
	// MessageTooBig: the client sent a message over the limit.
	MessageTooBig broker.Reason = "message_too_big"
	// ProtocolError: the client sent something that is not WebSocket.
	ProtocolError broker.Reason = "protocol_error"

	// The rest end without a code: there is nobody left to read it.

	// ClientClosed: the client sent a close frame.
	ClientClosed broker.Reason = "client_closed"
	// ConnectionLost: the connection ended without a close frame.
	ConnectionLost broker.Reason = "connection_lost"
	// WriteFailed: writing on the socket is no longer possible.
	WriteFailed broker.Reason = "write_failed"
	// WriteTimeout: the socket took nothing for too long.
	WriteTimeout broker.Reason = "write_timeout"
	// Cut: the server stopped before the client had gone.
	Cut broker.Reason = "cut"
)

// Why connections are refused before they are established. Each is a result label of
// playhead_connects_total.
const (
	pathNotFound       broker.Reason = "path_not_found"
	unknownApp         broker.Reason = "unknown_app"
	appDisabled        broker.Reason = "app_disabled"
	appOverQuota       broker.Reason = "app_over_quota"
	originNotAllowed   broker.Reason = "origin_not_allowed"
	versionUnsupported broker.Reason = "version_unsupported"
	tooMany            broker.Reason = "too_many_connections"
	draining           broker.Reason = "draining"
	unavailable        broker.Reason = "unavailable"
)

// closing returns the code and the text with which a connection is closed for a reason, or
// refused. It is the one place that chooses codes. 42xx sends the client back at once and must not
// refuse a connection that was never established; 4300 and above never close.
func (cfg *Config) closing(why broker.Reason) (pusher.Code, string) {
	switch why {
	case broker.TailBroken, broker.AppRetired, broker.Evicted:
		return pusher.CodeReconnect, pusher.CodeReconnect.Text()
	case broker.GateOverflow:
		return pusher.CodeOverCapacity, "Too much was published while the replay was read"
	case broker.PresenceLost:
		return pusher.CodeOverCapacity, "Service temporarily unavailable"
	case SlowReader:
		return pusher.CodeOverCapacity, "Too slow: more waited for this connection than may"
	case QueuesFull:
		return pusher.CodeOverCapacity, "Too slow: more waits for all connections than may, and most for this one"
	case PongTimeout:
		return pusher.CodePongMissing, pusher.CodePongMissing.Text()
	case broker.Terminated:
		return pusher.Code(cfg.TerminationCode), "You got disconnected by the app"
	case Unauthorised:
		return pusher.CodeUnauthorized, "Connection not authorized within timeout."
	case Shutdown:
		return pusher.CodeReconnect, pusher.CodeReconnect.Text()
	case Restart:
		return pusher.CodeOverCapacity, "Server is restarting"
	case ProtocolError:
		return pusher.Code(websocket.StatusProtocolError), "Not WebSocket"
	case MessageTooBig:
		return pusher.Code(websocket.StatusMessageTooBig), "Message too big"
	case BinaryMessage:
		return pusher.Code(websocket.StatusUnsupportedData), "Binary messages are not supported"
	case InvalidUTF8:
		return pusher.Code(websocket.StatusInvalidFramePayloadData), "Message is not valid UTF-8"
	case pathNotFound:
		return pusher.CodePathNotFound, pusher.CodePathNotFound.Text()
	case unknownApp:
		return pusher.CodeUnknownApp, pusher.CodeUnknownApp.Text()
	case appDisabled:
		return pusher.CodeAppDisabled, pusher.CodeAppDisabled.Text()
	case appOverQuota:
		return pusher.CodeAppOverQuota, pusher.CodeAppOverQuota.Text()
	case originNotAllowed:
		return pusher.CodeUnauthorized, "Origin not allowed"
	case versionUnsupported:
		return pusher.CodeVersionUnsupported, pusher.CodeVersionUnsupported.Text()
	case tooMany:
		return pusher.CodeOverCapacity, "Too many connections"
	case draining:
		return pusher.CodeOverCapacity, "Server is shutting down"
	case unavailable:
		return pusher.CodeOverCapacity, "Service temporarily unavailable"
	}
	return pusher.Code(websocket.StatusInternalError), "Internal error"
}

// goodbye returns the frames that close a connection: the close frame and, where the code is
// Pusher's, the pusher:error before it that protocols up to 5 insist on.
func goodbye(code pusher.Code, text string) []byte {
	var b []byte
	if code >= 4000 {
		b = textFrame(pusher.AppendError(reserve(192), code, text))
	}
	return appendCloseFrame(b, code, text)
}

// ended returns why a session ended whose reader got err, when nobody here has ended it. lost says
// that the connection had failed by then.
func ended(err error, lost bool) broker.Reason {
	var said websocket.CloseError
	switch {
	case errors.As(err, &said) && !utf8.ValidString(said.Reason):
		return InvalidUTF8
	case errors.As(err, &said):
		return ClientClosed
	case errors.Is(err, websocket.ErrMessageTooBig):
		return MessageTooBig
	case errors.Is(err, errTooSlow):
		return SlowReader
	case lost:
		return ConnectionLost
	}
	return ProtocolError
}

// errTooSlow says that a frame did not fit into the queue.
var errTooSlow = errors.New("client reads too slowly")
