package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// errAbsent is that this node doesn't know who is where: it isn't among the other nodes.
var errAbsent = errors.New("not among the other nodes")

// channels lists the occupied channels. Users' own channels are nobody's business but theirs.
func (a *API) channels(c call) ([]byte, error) {
	q := readQuery(c.URL.RawQuery)
	ask, err := readAttributes(q.info, counts)
	if err != nil {
		return nil, err
	}
	if ask&userCount != 0 && !strings.HasPrefix(q.prefix, "presence-") {
		return nil, invalidf("user_count may only be requested for presence channels - please supply filter_by_prefix beginning with presence-")
	}
	if !a.cfg.Presence.Standing() {
		return nil, errAbsent
	}
	b := []byte(`{"channels":{`)
	for _, o := range a.cfg.Presence.Occupied(c.app.ID, q.prefix) {
		if pusher.KindOf(o.Channel) == pusher.ServerToUser {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = ask.object(appendName(b, o.Channel), o)
	}
	return append(b, "}}"...), nil
}

// channel tells of one channel. One that nobody is in is as good as any other.
func (a *API) channel(c call) ([]byte, error) {
	ch := broker.Channel(c.PathValue("channel"))
	if err := pusher.CheckChannel(ch, c.app.Limits); err != nil {
		return nil, err
	}
	ask, err := readAttributes(readQuery(c.URL.RawQuery).info, counts|cache)
	if err != nil {
		return nil, err
	}
	if ask&userCount != 0 && !pusher.KindOf(ch).Presence() {
		return nil, invalidf("Cannot retrieve the user count unless the channel is a presence channel")
	}
	if ask&cache != 0 && !pusher.KindOf(ch).Cache() {
		return nil, invalidf("Cannot retrieve the cache unless the channel is a cache channel")
	}
	if !a.cfg.Presence.Standing() {
		return nil, errAbsent
	}
	o := a.cfg.Presence.Occupancy(c.app.ID, ch)
	b := []byte(`{"occupied":false`)
	if o.Subscriptions > 0 {
		b = []byte(`{"occupied":true`)
	}
	b = ask.appendTo(b, o)
	if ask&cache != 0 {
		if b, err = a.appendCached(append(b, `,"cache":`...), c, ch); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendCached adds what a new subscriber of a cache channel would be given: null when that is
// nothing.
func (a *API) appendCached(b []byte, c call, ch broker.Channel) ([]byte, error) {
	var last *broker.Event
	if a.cfg.Cache != nil {
		ctx, cancel := a.bounded(c.Context())
		defer cancel()
		var err error
		if last, err = a.cfg.Cache.Last(ctx, c.app.ID, ch); err != nil {
			return nil, fmt.Errorf("%w: %w", errUnread, err)
		}
	}
	left := c.app.Cached(last, a.cfg.Now())
	if left == 0 {
		return append(b, "null"...), nil
	}
	data, err := json.Marshal(string(last.Data))
	if err != nil {
		return nil, fmt.Errorf("write the cached event of %s: %w", ch, err)
	}
	b = append(append(b, `{"data":`...), data...)
	// Rounded up: what is there has some time left.
	b = strconv.AppendInt(append(b, `,"ttl":`...), int64((left+time.Second-1)/time.Second), 10)
	return append(b, '}'), nil
}

// users lists the users in a presence channel.
func (a *API) users(c call) ([]byte, error) {
	ch := broker.Channel(c.PathValue("channel"))
	if err := pusher.CheckChannel(ch, c.app.Limits); err != nil {
		return nil, err
	}
	if !pusher.KindOf(ch).Presence() {
		return nil, invalidf("Users can only be retrieved for presence channels")
	}
	if !a.cfg.Presence.Standing() {
		return nil, errAbsent
	}
	type user struct {
		ID string `json:"id"`
	}
	answer := struct {
		Users []user `json:"users"`
	}{Users: []user{}}
	for _, id := range a.cfg.Presence.Users(c.app.ID, ch) {
		answer.Users = append(answer.Users, user{ID: id})
	}
	return json.Marshal(answer)
}
