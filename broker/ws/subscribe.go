package ws

import (
	"context"
	"errors"
	"fmt"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/playhead/playhead/replay"
)

// subscribe joins the client to a channel. The order of effects: authorised, registered with the
// feed (from here on the gate holds what is published), present, what it missed read up to the seam,
// answered, replayed, and live. The node learns of nothing before the client has shown that it may.
func (s *session) subscribe(ctx context.Context, f pusher.Frame) {
	q, err := f.Subscribe()
	if q.Resume != nil || q.Rewind != nil || errors.Is(err, pusher.ErrResume) {
		s.positioned.Store(true)
	}
	if err != nil && q.Channel == "" {
		s.complain(pusher.CodeNone, err.Error())
		return
	}
	if err == nil {
		err = pusher.CheckChannel(q.Channel, s.app.Limits)
	}
	var member *broker.Member
	if err == nil {
		if _, already := s.subs.find(q.Channel); already {
			s.complain(pusher.CodeNone, pusher.AlreadySubscribed(q.Channel))
			return
		}
		if err = s.checkSubscriptions(); err == nil {
			member, err = s.authorise(ctx, q)
		}
	}
	if err != nil {
		s.refuse(q.Channel, err)
		return
	}
	s.join(ctx, q, member)
}

// checkSubscriptions says whether the client may have one more channel.
func (s *session) checkSubscriptions() error {
	if most := s.app.Limits.SubscriptionsPerConnection; most > 0 && len(s.subs.list) >= most {
		return fmt.Errorf("%w: at most %d are allowed", errTooManyChannels, most)
	}
	return nil
}

// authorise checks that the client may have the channel, and reads who it is in a presence channel.
func (s *session) authorise(ctx context.Context, q pusher.Subscribe) (*broker.Member, error) {
	kind := pusher.KindOf(q.Channel)
	if kind == pusher.ServerToUser {
		if !s.owns(q.Channel) {
			return nil, errors.New(pusher.NotSignedIn(q.Channel))
		}
		return nil, nil
	}
	if !kind.NeedsAuth() {
		return nil, nil
	}
	if err := pusher.VerifyChannel(s.signer(ctx, q.Auth), q.Auth, s.id, q.Channel, q.ChannelData); err != nil {
		return nil, err
	}
	if !kind.Presence() {
		return nil, nil
	}
	var m broker.Member
	var err error
	switch {
	case q.ChannelData != nil:
		m, err = pusher.ReadMember(*q.ChannelData, s.app.Limits)
	case s.account != nil:
		m, err = s.account.user.Member(s.app.Limits)
	default:
		err = errNoMember
	}
	if err != nil {
		return nil, err
	}
	return &m, nil
}

var (
	errNoMember        = errors.New("Missing parameter: data.channel_data")
	errTooManyChannels = errors.New("Too many subscriptions of one connection")
)

// join registers the client, and answers it with what it asked for. What a cache channel's last event
// is, is asked after the client is registered: an event that comes after it then comes through the
// gate. That last event can be newer than the seam, and is where the subscription begins then. The
// gate of a client that couldn't be sent its whole answer stays closed: nothing may look like the rest.
func (s *session) join(ctx context.Context, q pusher.Subscribe, member *broker.Member) {
	if q.Resume != nil && !s.reach(ctx, q.Resume) {
		return
	}
	sub, seam, err := s.feed.Subscribe(q.Channel, s.id, s)
	if err != nil {
		s.Close(broker.TailBroken)
		return
	}
	there, err := s.server.cfg.Presence.Join(ctx, s.entry(q.Channel, member), s.app.Limits.WithDefaults().PresenceMembers)
	if err != nil {
		sub.Close()
		if !errors.Is(err, presence.ErrFull) { // who is there can't be said; it may be elsewhere, or soon
			s.Close(broker.PresenceLost)
			return
		}
		s.refuse(q.Channel, err)
		return
	}
	s.subs.add(joined{sub: sub, member: member, begin: seam})
	kind := pusher.KindOf(q.Channel)
	if kind.NeedsAuth() && !s.vouch() {
		return
	}
	var past replay.Result
	a := pusher.Answer{Channel: q.Channel, Members: there.Members}
	if q.Resume != nil || q.Rewind != nil {
		past = s.past(ctx, q, seam)
		a.Resumed = &pusher.Resumed{Recovered: past.Reason == "", Count: len(past.Events), Reason: string(past.Reason)}
	}
	// Who has recovered has the channel's last event, and so has who got any by rewind.
	recovered := q.Resume != nil && past.Reason == ""
	caches := kind.Cache() && !recovered && len(past.Events) == 0
	var last *broker.Delivery
	begin := seam
	if caches {
		last = s.recall(ctx, q.Channel)
	}
	if last != nil {
		begin = later(seam, last.Event.Position)
		s.subs.began(q.Channel, begin)
	}
	if s.positioned.Load() {
		a.Position = begin
	}
	whole := s.answer(ctx, textFrame(pusher.AppendSubscriptionSucceeded(reserve(256), a)))
	if whole && a.Resumed != nil {
		whole = s.replay(ctx, q.Channel, begin, past)
	}
	switch {
	case whole && last != nil:
		whole = s.answer(ctx, last.Encoded(s.form(), encodeDelivery))
	case whole && caches:
		whole = s.answer(ctx, textFrame(pusher.AppendCacheMiss(reserve(128), q.Channel)))
	}
	if !whole {
		return
	}
	if begin != seam {
		sub.OpenAfter(there.Serial, begin)
	} else {
		sub.Open(there.Serial)
	}
}

// later returns the later of two places in one life of a log. A place in another life tells nothing:
// the feed is about to notice, and sends the session home.
func later(seam, p broker.Position) broker.Position {
	if p.Epoch == seam.Epoch && p.Serial > seam.Serial {
		return p
	}
	return seam
}

// answer queues a frame that the client asked for, when there is room for it. It reports false when
// that won't be: the session is closed or about to end.
func (s *session) answer(ctx context.Context, frame []byte) bool {
	if !s.room(ctx, len(frame)) {
		return false
	}
	s.send(frame)
	return !s.conn.queue.closed()
}

// refuse answers a subscribe that is not accepted. The connection and its other subscriptions stay.
func (s *session) refuse(ch broker.Channel, err error) {
	message := err.Error()
	s.send(textFrame(pusher.AppendSubscriptionError(reserve(192+len(message)), ch, refusal(err), message)))
}

// refusal chooses what a refused subscribe is answered with.
func refusal(err error) pusher.Refusal {
	switch {
	case errors.Is(err, presence.ErrFull), errors.Is(err, errTooManyChannels):
		return pusher.ChannelFull
	case errors.Is(err, pusher.ErrMemberSize):
		return pusher.MemberTooLarge
	case errors.Is(err, pusher.ErrChannelLength):
		return pusher.NameTooLong
	case errors.Is(err, pusher.ErrChannelName):
		return pusher.NameInvalid
	case errors.Is(err, pusher.ErrChannelData), errors.Is(err, pusher.ErrResume),
		errors.Is(err, errNoMember):
		return pusher.DataInvalid
	}
	return pusher.Unauthorized
}

// unsubscribe ends one subscription. There is no answer to a proper one.
func (s *session) unsubscribe(f pusher.Frame) {
	ch, err := f.Unsubscribe()
	if err != nil {
		s.complain(pusher.CodeNone, err.Error())
		return
	}
	j, ok := s.subs.remove(ch)
	if !ok {
		s.complain(pusher.CodeNone, pusher.NotSubscribed(ch))
		return
	}
	s.part(j)
}

// part takes the client out of a channel: first nothing is delivered any more, then the others
// learn that it is gone.
func (s *session) part(j joined) {
	j.sub.Close()
	s.server.cfg.Presence.Leave(s.entry(j.sub.Channel(), j.member))
}

// entry is the client's place in a channel; joining and leaving must give the same.
func (s *session) entry(ch broker.Channel, member *broker.Member) presence.Entry {
	kind := pusher.KindOf(ch)
	own := kind == pusher.ServerToUser
	return presence.Entry{
		App:      s.app.ID,
		Channel:  ch,
		Socket:   s.id,
		Member:   member,
		Counted:  s.app.SubscriptionCount && !kind.Presence() && !own,
		Unlisted: own,
	}
}

// leave ends all subscriptions and the login.
func (s *session) leave() {
	for _, j := range s.subs.list {
		s.part(j)
	}
	s.subs = subscriptions{}
	s.signOut()
}

// joined is a channel the client is in.
type joined struct {
	sub    *broker.Subscription
	member *broker.Member // who the client is there; nil unless it is a presence channel

	// begin is where the subscription begins, as the client is told: what comes after it is live.
	begin broker.Position
}

// subscriptions are the channels of one client. Most clients have a few, for which going through
// a list is as quick as a map and takes a fraction of its memory.
type subscriptions struct {
	list  []joined
	index map[broker.Channel]int // places in the list; nil for few
}

// few is up to how many there is no map.
const few = 16

func (s *subscriptions) place(ch broker.Channel) (int, bool) {
	if s.index != nil {
		i, ok := s.index[ch]
		return i, ok
	}
	for i, j := range s.list {
		if j.sub.Channel() == ch {
			return i, true
		}
	}
	return 0, false
}

func (s *subscriptions) find(ch broker.Channel) (joined, bool) {
	i, ok := s.place(ch)
	if !ok {
		return joined{}, false
	}
	return s.list[i], true
}

func (s *subscriptions) add(j joined) {
	s.list = append(s.list, j)
	if s.index == nil && len(s.list) <= few {
		return
	}
	if s.index == nil {
		s.index = make(map[broker.Channel]int, 2*few)
		for i, j := range s.list {
			s.index[j.sub.Channel()] = i
		}
		return
	}
	s.index[j.sub.Channel()] = len(s.list) - 1
}

// began notes where the subscription to a channel begins.
func (s *subscriptions) began(ch broker.Channel, begin broker.Position) {
	if i, ok := s.place(ch); ok {
		s.list[i].begin = begin
	}
}

// remove takes a channel out; the last one takes its place.
func (s *subscriptions) remove(ch broker.Channel) (joined, bool) {
	i, ok := s.place(ch)
	if !ok {
		return joined{}, false
	}
	j, last := s.list[i], len(s.list)-1
	s.list[i] = s.list[last]
	s.list[last] = joined{}
	s.list = s.list[:last]
	if s.index != nil {
		delete(s.index, ch)
		if i < last {
			s.index[s.list[i].sub.Channel()] = i
		}
	}
	return j, true
}
