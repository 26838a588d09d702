package client

import (
	"slices"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

const (
	// remembered is how many events of a channel are recognised when they come again.
	remembered = 32

	// unreadable is how often in a row a log is found unreadable before that is told as a gap.
	// With the default pauses that is half a minute.
	unreadable = 6
)

// stay is a channel over all connections: what was asked for, and how far the loop is.
type stay struct {
	Subscription

	position Position        // the newest held; empty for none
	socket   broker.SocketID // the connection on which it was got
	begun    bool            // it was subscribed once: from then on there are gaps
	yielded  bool            // at least one event was
	owed     Reason          // of a gap to be told with the next answer; empty for none
	behind   bool            // more was missed than is replayed
	failures int             // how often in a row the log couldn't be read

	recent [remembered]seen // the last events yielded
	at     int              // where the next one goes

	// The rest is of the present connection.

	resumed   bool     // a position was sent
	rewound   bool     // a rewind was sent
	live      bool     // it was answered, and events are to be yielded
	replaying bool     // events of before are on their way; the answer's position isn't reached yet
	seam      Position // the answer's
	cached    bool     // the last event of a cache channel may be on its way
}

// seen tells one event from all others. An id alone comes again when a publisher uses a key again
// after the server has forgotten it.
type seen struct {
	id       string
	position Position
}

// request makes the next subscribe. passed is how long ago the tail was begun.
func (p *stay) request(cred broker.Credential, socket broker.SocketID, passed time.Duration) *request {
	r := &request{Channel: p.Channel, ChannelData: p.ChannelData}
	if pusher.KindOf(p.Channel).NeedsAuth() {
		var data *string
		if p.ChannelData != "" {
			data = &p.ChannelData
		}
		r.Auth = pusher.SignChannel(cred, socket, p.Channel, data)
	}
	switch {
	case p.position != "":
		r.Resume = &resume{Position: p.position, SocketID: p.socket}
	case !p.yielded: // if it was asked for before, nothing came of it: the channel begins now
		r.Rewind = p.Rewind.wire(passed)
	}
	if p.position == "" && p.seam != "" {
		// The last connection ended between the answer and the cached event that it announced.
		p.owed = Unavailable
	}
	p.resumed, p.rewound = r.Resume != nil, r.Rewind != nil
	p.live, p.replaying, p.cached, p.seam = false, false, false, ""
	return r
}

// reach notes that the loop is at a position, got on a connection.
func (p *stay) reach(at Position, socket broker.SocketID) {
	if at != "" {
		p.position, p.socket = at, socket
	}
}

// admit notes an event, and reports whether it is a new one. What a cache channel begins with may have
// been yielded before; where there are no positions, that is all that can come twice.
func (p *stay) admit(id string, at Position, cached bool) bool {
	if id == "" {
		return true
	}
	it := seen{id, at}
	if (at != "" || cached) && slices.Contains(p.recent[:], it) {
		return false
	}
	p.recent[p.at] = it
	p.at = (p.at + 1) % remembered
	return true
}
