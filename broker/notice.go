package broker

import "encoding/json"

// Member is a user of a presence channel.
type Member struct {
	UserID string
	Info   json.RawMessage // the member's user_info as received; nil when there was none
}

// NoticeKind says what a [Notice] tells.
type NoticeKind int

// What can be told.
const (
	MemberAdded   NoticeKind = iota + 1 // a user's first connection joined a presence channel
	MemberRemoved                       // a user's last connection left a presence channel
)

// Notice tells the subscribers of a channel that its membership changed. Unlike an [Event] it is
// not in the app's log: the membership now is what a returning client is shown.
type Notice struct {
	App     AppID
	Channel Channel
	Kind    NoticeKind
	Member  Member

	// Exclude is the connection that caused the change and is not told.
	Exclude SocketID

	// Serial orders the notices of an app: a snapshot of the members taken at serial n
	// already contains every notice up to n.
	Serial uint64
}
