package presence

import (
	"slices"
	"strings"

	"github.com/playhead/playhead/broker"
)

// Occupancy is how many are in a channel.
type Occupancy struct {
	Channel       broker.Channel
	Subscriptions int // connections; 0 means the channel isn't occupied
	Users         int // distinct users of a presence channel, else 0
}

// Occupancy returns how many are in one channel.
func (r *Registry) Occupancy(id broker.AppID, name broker.Channel) Occupancy {
	a := r.app(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	o := Occupancy{Channel: name}
	if ch := a.channels[name]; ch != nil {
		o.Subscriptions, o.Users = ch.subscriptions, len(ch.users)
	}
	return o
}

// Occupied returns the app's occupied channels whose names begin with prefix, in the order of
// their names. Unlisted ones are not among them.
func (r *Registry) Occupied(id broker.AppID, prefix string) []Occupancy {
	a := r.app(id)
	a.mu.Lock()
	var all []Occupancy
	for name, ch := range a.channels {
		if !ch.unlisted && strings.HasPrefix(string(name), prefix) {
			all = append(all, Occupancy{Channel: name, Subscriptions: ch.subscriptions, Users: len(ch.users)})
		}
	}
	a.mu.Unlock()
	slices.SortFunc(all, func(x, y Occupancy) int { return strings.Compare(string(x.Channel), string(y.Channel)) })
	return all
}

// Users returns the ids of the users in a presence channel, sorted; nil when there are none.
func (r *Registry) Users(id broker.AppID, name broker.Channel) []string {
	a := r.app(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := a.channels[name]
	if ch == nil {
		return nil
	}
	ids := make([]string, 0, len(ch.users))
	for id := range ch.users {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
