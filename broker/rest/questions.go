package rest

import (
	"encoding/json"
	"strings"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// channels lists the occupied channels. Users' own channels are nobody's business but theirs.
func (a *API) channels(c call) ([]byte, error) {
	q := readQuery(c.URL.RawQuery)
	ask, err := readAttributes(q.info)
	if err != nil {
		return nil, err
	}
	if ask&userCount != 0 && !strings.HasPrefix(q.prefix, "presence-") {
		return nil, invalidf("user_count may only be requested for presence channels - please supply filter_by_prefix beginning with presence-")
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
	ask, err := readAttributes(readQuery(c.URL.RawQuery).info)
	if err != nil {
		return nil, err
	}
	if ask&userCount != 0 && !pusher.KindOf(ch).Presence() {
		return nil, invalidf("Cannot retrieve the user count unless the channel is a presence channel")
	}
	o := a.cfg.Presence.Occupancy(c.app.ID, ch)
	b := []byte(`{"occupied":false`)
	if o.Subscriptions > 0 {
		b = []byte(`{"occupied":true`)
	}
	return append(ask.appendTo(b, o), '}'), nil
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
