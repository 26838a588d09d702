package pusher

import (
	"strings"

	"github.com/playhead/playhead/broker"
)

// Kind is what a channel is, by the longest prefix its name begins with.
type Kind int

// The kinds of channels.
const (
	Public                Kind = iota // any other name
	Cache                             // cache-
	Private                           // private-
	PrivateCache                      // private-cache-
	PrivateEncrypted                  // private-encrypted-
	PrivateEncryptedCache             // private-encrypted-cache-
	Presence                          // presence-
	PresenceCache                     // presence-cache-
	ServerToUser                      // #server-to-user-, one user's own channel
)

// serverToUser is the prefix of a user's own channel, the only use of '#' in a name.
const serverToUser = "#server-to-user-"

// KindOf returns the kind of a channel. The name need not be valid.
func KindOf(ch broker.Channel) Kind {
	name := string(ch)
	if rest, ok := strings.CutPrefix(name, "private-"); ok {
		if rest, ok := strings.CutPrefix(rest, "encrypted-"); ok {
			if strings.HasPrefix(rest, "cache-") {
				return PrivateEncryptedCache
			}
			return PrivateEncrypted
		}
		if strings.HasPrefix(rest, "cache-") {
			return PrivateCache
		}
		return Private
	}
	if rest, ok := strings.CutPrefix(name, "presence-"); ok {
		if strings.HasPrefix(rest, "cache-") {
			return PresenceCache
		}
		return Presence
	}
	switch {
	case strings.HasPrefix(name, "cache-"):
		return Cache
	case strings.HasPrefix(name, serverToUser):
		return ServerToUser
	}
	return Public
}

// String returns the prefix without its last dash, "public" for none.
func (k Kind) String() string {
	switch k {
	case Cache:
		return "cache"
	case Private:
		return "private"
	case PrivateCache:
		return "private-cache"
	case PrivateEncrypted:
		return "private-encrypted"
	case PrivateEncryptedCache:
		return "private-encrypted-cache"
	case Presence:
		return "presence"
	case PresenceCache:
		return "presence-cache"
	case ServerToUser:
		return "server-to-user"
	}
	return "public"
}

// NeedsAuth reports whether a subscribe must carry a signature. A [ServerToUser] channel needs
// none: it needs a connection signed in as that user.
func (k Kind) NeedsAuth() bool { return k >= Private && k <= PresenceCache }

// Presence reports whether the channel has members.
func (k Kind) Presence() bool { return k == Presence || k == PresenceCache }

// Encrypted reports whether only the publisher and the clients can read the channel's data.
func (k Kind) Encrypted() bool { return k == PrivateEncrypted || k == PrivateEncryptedCache }

// Cache reports whether a new subscription is given the channel's last event.
func (k Kind) Cache() bool {
	return k == Cache || k == PrivateCache || k == PrivateEncryptedCache || k == PresenceCache
}

// ClientEvents reports whether subscribers may send client events to the channel.
func (k Kind) ClientEvents() bool { return k.NeedsAuth() && !k.Encrypted() }

// UserOf returns the user whose own channel ch is, and whether it is one.
func UserOf(ch broker.Channel) (userID string, ok bool) {
	return strings.CutPrefix(string(ch), serverToUser)
}

// CheckChannel says whether a channel may have this name: letters, digits and _-=@,.; up to the
// limit's number of characters. A user's own channel is #server-to-user- and the user's id, for
// which the same holds. Errors: [ErrChannelName], [ErrChannelLength].
func CheckChannel(ch broker.Channel, limits broker.Limits) error {
	name, own := UserOf(ch)
	if name == "" {
		if own {
			return faultf(ErrChannelName, "Invalid channel name '%s': it lacks the user's id", ch)
		}
		return faultf(ErrChannelName, "Invalid channel name: it is empty")
	}
	for _, c := range name {
		if !channelChar(c) {
			return faultf(ErrChannelName, "Invalid channel name '%s': character %q is not allowed", clip(string(ch), quoted), c)
		}
	}
	if most := limits.WithDefaults().ChannelNameChars; len(name) > most {
		return faultf(ErrChannelLength, "Channel name too long: %d characters, at most %d are allowed", len(name), most)
	}
	return nil
}

func channelChar(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '_', '-', '=', '@', ',', '.', ';':
		return true
	}
	return false
}
