package pusher

import (
	"bytes"
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
)

// ReadMember reads the channel_data of a subscribe to a presence channel, a JSON object with a
// user_id and perhaps a user_info. A user_id that is an integer becomes its digits, exactly, so
// that 10 and "10" are one member; the user_info may be any JSON value and is kept as it is.
// Errors: [ErrChannelData]; [ErrMemberSize] for what is over the limits.
func ReadMember(channelData string, limits broker.Limits) (broker.Member, error) {
	if !utf8.ValidString(channelData) {
		return broker.Member{}, faultf(ErrChannelData, "Invalid channel_data: it is not valid UTF-8")
	}
	var raws [2][]byte
	if !members([]byte(channelData), []string{"user_id", "user_info"}, raws[:]) {
		return broker.Member{}, faultf(ErrChannelData, "Invalid channel_data: it must be a JSON object")
	}
	raw, info := raws[0], raws[1]
	if raw == nil {
		return broker.Member{}, faultf(ErrChannelData, "Invalid channel_data: it lacks user_id")
	}
	id, ok := text(raw)
	if !ok && integer(raw) {
		id, ok = raw, true
	}
	if !ok || len(id) == 0 {
		return broker.Member{}, faultf(ErrChannelData, "Invalid channel_data: user_id must be an integer or a string that is not empty")
	}
	// A copy: a member lives for hours and must not keep all of channel_data alive.
	m := broker.Member{UserID: string(id), Info: bytes.Clone(info)}
	if err := checkMember(m, limits); err != nil {
		return broker.Member{}, err
	}
	return m, nil
}

func checkMember(m broker.Member, limits broker.Limits) error {
	limits = limits.WithDefaults()
	if n := utf8.RuneCountInString(m.UserID); n > limits.PresenceUserIDChars {
		return faultf(ErrMemberSize, "user_id too long: %d characters, at most %d are allowed", n, limits.PresenceUserIDChars)
	}
	if n := len(m.Info); n > limits.PresenceUserInfoBytes {
		return faultf(ErrMemberSize, "user_info too large: %d bytes, at most %d are allowed", n, limits.PresenceUserInfoBytes)
	}
	return nil
}

// integer reports whether a JSON value is a number without fraction or exponent.
func integer(raw []byte) bool {
	digits := raw
	if digits[0] == '-' {
		digits = digits[1:]
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
