package pusher

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// What a peer can get wrong. Every error of this package matches exactly one of them.
var (
	// ErrUTF8: a message is not valid UTF-8. WebSocket has a close code of its own for it, 1007.
	ErrUTF8 = errors.New("not UTF-8")
	// ErrFrame: a message is no frame, or a member of it is missing or of the wrong type.
	ErrFrame = errors.New("malformed frame")
	// ErrEventName: an event's name is empty, too long or reserved.
	ErrEventName = errors.New("invalid event name")
	// ErrChannelName: a channel's name is empty or has a character that isn't allowed.
	ErrChannelName = errors.New("invalid channel name")
	// ErrChannelLength: a channel's name is too long.
	ErrChannelLength = errors.New("channel name too long")
	// ErrSocketID: a socket id does not have the form of one.
	ErrSocketID = errors.New("invalid socket id")
	// ErrDataSize: an event's data is larger than the app allows.
	ErrDataSize = errors.New("data too large")
	// ErrAuth: the auth of a subscribe or a sign-in is missing, malformed or wrong.
	ErrAuth = errors.New("not authorised")
	// ErrChannelData: a subscribe's channel_data does not describe a member.
	ErrChannelData = errors.New("invalid channel_data")
	// ErrUserData: a sign-in's user_data is missing or does not describe a user.
	ErrUserData = errors.New("invalid user_data")
	// ErrMemberSize: a member's user_id or user_info is larger than the app allows.
	ErrMemberSize = errors.New("member too large")
	// ErrResume: a subscribe's resume or rewind is malformed.
	ErrResume = errors.New("invalid resume")
	// ErrHistory: a playhead:history asks for what is no page.
	ErrHistory = errors.New("invalid history")
	// ErrRequest: an HTTP request is not signed as it must be.
	ErrRequest = errors.New("request not authenticated")
)

// fault is an error whose text is exactly what the peer is told.
type fault struct {
	is   error
	text string
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.is }

func faultf(is error, format string, args ...any) error {
	return &fault{is: is, text: fmt.Sprintf(format, args...)}
}

// clip cuts s to at most limit bytes, between characters, so that an answer stays small however
// large the name it complains about.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// quoted is the most of a peer's own words that an answer repeats, in bytes.
const quoted = 200
