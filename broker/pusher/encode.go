package pusher

import (
	"strconv"
	"time"

	"github.com/playhead/playhead/broker"
)

// Every Append function adds one whole frame to b and returns the extended slice. What JavaScript
// clients parse once is an object; what they parse twice, the data of all frames but pusher:error,
// is a string that holds the object's JSON.

// replayVersion is the version of the replay extension told in the first frame.
const replayVersion = 1

// AppendConnectionEstablished adds the first frame of a connection. The activity time-out goes out
// as whole seconds, rounded up, at least one. The window, how far back a client may resume, is
// told to clients that opted in to positions, and 0 where the medium has no memory; it is nil for
// all others.
func AppendConnectionEstablished(b []byte, socket broker.SocketID, activity time.Duration, window *time.Duration) []byte {
	data := make([]byte, 0, 128)
	data = append(data, `{"socket_id":`...)
	data = appendString(data, string(socket))
	data = append(data, `,"activity_timeout":`...)
	data = strconv.AppendInt(data, max(1, int64((activity+time.Second-1)/time.Second)), 10)
	if window != nil {
		data = append(data, `,"replay":{"version":`...)
		data = strconv.AppendInt(data, replayVersion, 10)
		data = append(data, `,"window_seconds":`...)
		data = strconv.AppendInt(data, int64(*window/time.Second), 10)
		data = append(data, '}')
	}
	data = append(data, '}')
	b = append(b, `{"event":"pusher:connection_established","data":`...)
	b = appendQuoted(b, data)
	return append(b, '}')
}

// AppendError adds a pusher:error. Its data is an object, not a string, and [CodeNone] is null:
// clients insist on both.
func AppendError(b []byte, code Code, message string) []byte {
	b = append(b, `{"event":"pusher:error","data":{"code":`...)
	if code == CodeNone {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendInt(b, int64(code), 10)
	}
	b = append(b, `,"message":`...)
	b = appendString(b, message)
	return append(b, "}}"...)
}

// AppendPong adds the answer to a pusher:ping.
func AppendPong(b []byte) []byte { return append(b, `{"event":"pusher:pong","data":"{}"}`...) }

// AppendPing adds a ping of the protocol's own, for a client that would else miss a word from us.
func AppendPing(b []byte) []byte { return append(b, `{"event":"pusher:ping","data":"{}"}`...) }

// Answer is what an accepted subscribe is answered with.
type Answer struct {
	Channel broker.Channel

	// Members is the membership of a presence channel, the new member included, each user
	// once. Other channels have none, whatever it holds.
	Members []broker.Member

	// Position is where the subscription begins; zero, and left out, for connections that did
	// not opt in and where the medium has no memory.
	Position broker.Position

	// Resumed is the outcome for a client that asked to resume or to rewind, else nil.
	Resumed *Resumed
}

// Resumed is how a replay went.
type Resumed struct {
	Recovered bool
	Count     int    // events replayed; when not recovered, what is left of what a rewind asked for
	Reason    string // why not, when not recovered: one of replay-protocol's words
}

// AppendSubscriptionSucceeded adds the answer to a subscribe.
func AppendSubscriptionSucceeded(b []byte, a Answer) []byte {
	b = append(b, `{"event":"pusher_internal:subscription_succeeded","channel":`...)
	b = appendString(b, string(a.Channel))
	b = append(b, `,"data":`...)
	if KindOf(a.Channel).Presence() {
		b = appendQuoted(b, appendMembers(nil, a.Members))
	} else {
		b = append(b, `"{}"`...)
	}
	b = appendPosition(b, a.Position)
	if r := a.Resumed; r != nil {
		b = append(b, `,"resume":`...)
		if r.Recovered {
			b = append(b, `{"recovered":true,"count":`...)
			b = strconv.AppendInt(b, int64(r.Count), 10)
		} else {
			b = append(b, `{"recovered":false,"reason":`...)
			b = appendString(b, r.Reason)
			b = appendCount(b, r.Count)
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

// appendMembers adds the presence document. Every id has an entry in hash, which is an object even
// when it is empty.
func appendMembers(b []byte, members []broker.Member) []byte {
	b = append(b, `{"presence":{"count":`...)
	b = strconv.AppendInt(b, int64(len(members)), 10)
	b = append(b, `,"ids":[`...)
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, m.UserID)
	}
	b = append(b, `],"hash":{`...)
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, m.UserID)
		b = append(b, ':')
		b = appendInfo(b, m)
	}
	return append(b, "}}}"...)
}

// appendInfo adds a member's user_info, null when there is none.
func appendInfo(b []byte, m broker.Member) []byte {
	if len(m.Info) == 0 {
		return append(b, "null"...)
	}
	return append(b, m.Info...)
}

// AppendSubscriptionError adds the answer to a subscribe that was refused.
func AppendSubscriptionError(b []byte, ch broker.Channel, why Refusal, message string) []byte {
	data := make([]byte, 0, 64+len(message))
	data = append(data, `{"type":`...)
	data = appendString(data, why.Type())
	data = append(data, `,"error":`...)
	data = appendString(data, message)
	data = append(data, `,"status":`...)
	data = strconv.AppendInt(data, int64(why.Status()), 10)
	data = append(data, '}')
	return appendFrame(b, "pusher:subscription_error", ch, data)
}

// AppendReplayed adds the frame that ends a complete replay of count events.
func AppendReplayed(b []byte, ch broker.Channel, count int, p broker.Position) []byte {
	data := append([]byte(nil), `{"recovered":true,"count":`...)
	data = strconv.AppendInt(data, int64(count), 10)
	data = appendPosition(data, p)
	data = append(data, '}')
	return appendFrame(b, "playhead:replayed", ch, data)
}

// AppendGap adds the frame that stands in place of a replay that cannot be had, with the reason, or
// ends a rewind that is not whole, with the count of the events that came.
func AppendGap(b []byte, ch broker.Channel, reason string, count int, p broker.Position) []byte {
	data := append([]byte(nil), `{"reason":`...)
	data = appendString(data, reason)
	data = appendCount(data, count)
	data = appendPosition(data, p)
	data = append(data, '}')
	return appendFrame(b, "playhead:gap", ch, data)
}

// appendCount adds the count of events that come although not all can, or nothing when none do.
func appendCount(b []byte, count int) []byte {
	if count == 0 {
		return b
	}
	b = append(b, `,"count":`...)
	return strconv.AppendInt(b, int64(count), 10)
}

// appendPosition adds a position member, or nothing for the zero position.
func appendPosition(b []byte, p broker.Position) []byte {
	if p.IsZero() {
		return b
	}
	b = append(b, `,"position":"`...)
	b = p.AppendText(b)
	return append(b, '"')
}

// AppendDelivery adds the frame of an event or a notice in one of the wire forms. In the positioned
// form an event carries its id and, where the medium has memory, its position; notices look the
// same in both. A notice is of a member, a count or watched users: clients hear of nothing else.
func AppendDelivery(b []byte, d *broker.Delivery, form broker.Form) []byte {
	if d.Event == nil {
		return appendNotice(b, d.Notice)
	}
	e := d.Event
	// Room for the frame with a quarter of the data escaped: one allocation for most payloads.
	if room := 256 + len(e.Name) + len(e.Channel) + len(e.Data) + len(e.Data)/4; cap(b)-len(b) < room {
		b = append(make([]byte, 0, len(b)+room), b...)
	}
	b = append(b, `{"event":`...)
	b = appendString(b, e.Name)
	b = append(b, `,"channel":`...)
	b = appendString(b, string(e.Channel))
	b = append(b, `,"data":`...)
	b = appendQuoted(b, e.Data)
	if e.UserID != "" {
		b = append(b, `,"user_id":`...)
		b = appendString(b, e.UserID)
	}
	if form == broker.Positioned {
		b = append(b, `,"id":`...)
		b = appendString(b, e.ID)
		b = appendPosition(b, e.Position)
	}
	return append(b, '}')
}

// AppendCacheMiss adds what a new subscription to a cache channel gets that has no last event.
func AppendCacheMiss(b []byte, ch broker.Channel) []byte {
	return appendFrame(b, "pusher:cache_miss", ch, []byte("{}"))
}

func appendNotice(b []byte, n *broker.Notice) []byte {
	switch n.Kind {
	case broker.SubscriptionCount:
		data := append(make([]byte, 0, 48), `{"subscription_count":`...)
		data = strconv.AppendInt(data, int64(n.Count), 10)
		data = append(data, '}')
		return appendFrame(b, "pusher_internal:subscription_count", n.Channel, data)
	case broker.WatchedUsers:
		return appendWatched(b, n)
	}
	data := make([]byte, 0, 64+len(n.Member.UserID)+len(n.Member.Info))
	data = append(data, `{"user_id":`...)
	data = appendString(data, n.Member.UserID)
	name := "pusher_internal:member_removed"
	if n.Kind == broker.MemberAdded {
		name = "pusher_internal:member_added"
		data = append(data, `,"user_info":`...)
		data = appendInfo(data, n.Member)
	}
	data = append(data, '}')
	return appendFrame(b, name, n.Channel, data)
}

// appendFrame adds a frame of the protocol's own.
func appendFrame(b []byte, event string, ch broker.Channel, data []byte) []byte {
	b = append(b, `{"event":`...)
	b = appendString(b, event)
	b = append(b, `,"channel":`...)
	b = appendString(b, string(ch))
	b = append(b, `,"data":`...)
	b = appendQuoted(b, data)
	return append(b, '}')
}
