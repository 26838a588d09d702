package broker

import (
	"encoding/json"
	"time"
)

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

	ChannelOccupied   // a channel has its first subscription
	ChannelVacated    // a channel's last subscription has ended
	SubscriptionCount // a channel's number of subscriptions is Count now
	WatchedUsers      // users that a connection watches are Online or Offline
	CacheMiss         // a cache channel without a last event was subscribed to
)

// Notice tells of a change in who is where. Unlike an [Event] it is not in the app's log: a
// returning client is shown what is now. Fields that its kind doesn't have are zero.
type Notice struct {
	App     AppID
	Channel Channel
	Kind    NoticeKind
	Time    time.Time // of the change
	Member  Member    // who was added or removed
	Count   int       // subscriptions of the channel

	// Online and Offline are ids of watched users: at first all of them, later the one whose
	// state has changed.
	Online, Offline []string

	// Exclude is the connection that caused the change and is not told.
	Exclude SocketID

	// Serial orders the notices of an app: a snapshot of the members taken at serial n
	// already contains every notice up to n. It is never 0, but for a CacheMiss, which no
	// subscriber is told and no snapshot contains.
	Serial uint64

	// ID is the same on every node that tells of the change; empty where only one node knows of it.
	ID string

	// Mark is a serial of the log that nodes share, at which the change stands; 0 where there is none.
	Mark uint64
}
