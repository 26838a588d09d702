package pusher

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
)

// watchlistUsers is how many ids of a watchlist are used.
const watchlistUsers = 100

// SignIn is what a pusher:signin brings.
type SignIn struct {
	// Auth is empty when absent.
	Auth string

	// UserData is the exact text that was signed, which the answer repeats.
	UserData string
}

// SignIn reads the data of a pusher:signin. The auth and the content of user_data are not checked
// yet. Errors: [ErrFrame], [ErrAuth], [ErrUserData].
func (f Frame) SignIn() (SignIn, error) {
	var raws [2][]byte
	if !f.members([]string{"auth", "user_data"}, raws[:]) {
		return SignIn{}, faultf(ErrFrame, "Invalid parameter: data must be an object")
	}
	auth, ok := text(raws[0])
	if raws[0] != nil && !ok {
		return SignIn{}, faultf(ErrAuth, "Invalid format: auth must have the format key:signature")
	}
	if raws[1] == nil {
		return SignIn{}, faultf(ErrUserData, "Missing parameter: data.user_data")
	}
	data, ok := text(raws[1])
	if !ok {
		return SignIn{}, faultf(ErrUserData, "Invalid parameter: data.user_data must be a string of JSON")
	}
	return SignIn{Auth: string(auth), UserData: string(data)}, nil
}

// User is who signs in.
type User struct {
	// ID is never empty, and short and plain enough to be in the name of the user's own channel.
	ID string

	// Info is the user_info as received; nil when there was none.
	Info json.RawMessage

	// Watchlist are the ids of the users to hear of, at most 100. They need not be ids of
	// users that exist, nor different ones.
	Watchlist []string

	// WatchlistCut says that more than those were given, which the client is to be told
	// with [CodeWatchlistLimit].
	WatchlistCut bool
}

// ReadUser reads the user_data of a sign-in, a JSON object with an id and perhaps a user_info and a
// watchlist. The id must fit into the name of the user's own channel. Error: [ErrUserData].
func ReadUser(userData string, limits broker.Limits) (User, error) {
	if !utf8.ValidString(userData) {
		return User{}, faultf(ErrUserData, "Invalid user_data: it is not valid UTF-8")
	}
	var raws [3][]byte
	if !members([]byte(userData), []string{"id", "user_info", "watchlist"}, raws[:]) {
		return User{}, faultf(ErrUserData, "Invalid user_data: it must be a JSON object")
	}
	if raws[0] == nil {
		return User{}, faultf(ErrUserData, "Invalid user_data: it lacks id")
	}
	id, ok := text(raws[0])
	if !ok || len(id) == 0 {
		return User{}, faultf(ErrUserData, "Invalid user_data: id must be a string that is not empty")
	}
	if err := CheckUserID(string(id), limits); err != nil {
		return User{}, err
	}
	// Copies: a user stays for hours and must not keep all of user_data alive.
	u := User{ID: string(id), Info: bytes.Clone(raws[1])}
	if raws[2] == nil {
		return u, nil
	}
	var list []*string // pointers, because a null among them is a mistake too
	if err := json.Unmarshal(raws[2], &list); err != nil {
		return User{}, faultf(ErrUserData, "Invalid user_data: watchlist must be an array of strings")
	}
	u.WatchlistCut = len(list) > watchlistUsers
	for _, id := range list[:min(len(list), watchlistUsers)] {
		if id == nil {
			return User{}, faultf(ErrUserData, "Invalid user_data: watchlist must be an array of strings")
		}
		u.Watchlist = append(u.Watchlist, *id)
	}
	return u, nil
}

// CheckUserID says whether a user of this id can sign in: the characters of channel names, at least
// one, and no more than the limit has for those. Error: [ErrUserData].
func CheckUserID(id string, limits broker.Limits) error {
	if id == "" {
		return faultf(ErrUserData, "Invalid user id: it is empty")
	}
	for _, c := range id {
		if !channelChar(c) {
			return faultf(ErrUserData, "Invalid user id '%s': character %q is not allowed", clip(id, quoted), c)
		}
	}
	if most := limits.WithDefaults().ChannelNameChars; len(id) > most {
		return faultf(ErrUserData, "User id too long: %d characters, at most %d are allowed", len(id), most)
	}
	return nil
}

// Member returns the user as a member of a presence channel, for a subscribe without channel_data.
// Error: [ErrMemberSize] for what is over the limits.
func (u User) Member(limits broker.Limits) (broker.Member, error) {
	m := broker.Member{UserID: u.ID, Info: u.Info}
	if err := checkMember(m, limits); err != nil {
		return broker.Member{}, err
	}
	return m, nil
}

// AppendSignInSuccess adds the answer to a sign-in, with its user_data as it came.
func AppendSignInSuccess(b []byte, userData string) []byte {
	data := make([]byte, 0, 32+len(userData)+len(userData)/4)
	data = append(data, `{"user_data":`...)
	data = appendString(data, userData)
	data = append(data, '}')
	b = append(b, `{"event":"pusher:signin_success","data":`...)
	b = appendQuoted(b, data)
	return append(b, '}')
}

// appendWatched adds the frame that tells who of a connection's watchlist is online or offline. It
// is the one frame with data of its own that has no channel.
func appendWatched(b []byte, n *broker.Notice) []byte {
	data := append(make([]byte, 0, 256), `{"events":[`...)
	data = appendWatchlistEvent(data, "online", n.Online)
	data = appendWatchlistEvent(data, "offline", n.Offline)
	data = append(data, "]}"...)
	b = append(b, `{"event":"pusher_internal:watchlist_events","data":`...)
	b = appendQuoted(b, data)
	return append(b, '}')
}

// appendWatchlistEvent adds what holds for the users, if there are any.
func appendWatchlistEvent(b []byte, name string, userIDs []string) []byte {
	if len(userIDs) == 0 {
		return b
	}
	if b[len(b)-1] != '[' {
		b = append(b, ',')
	}
	b = append(b, `{"name":"`...)
	b = append(b, name...)
	b = append(b, `","user_ids":[`...)
	for i, id := range userIDs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, id)
	}
	return append(b, "]}"...)
}
