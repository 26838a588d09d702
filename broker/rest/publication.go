package rest

import (
	"fmt"
	"slices"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

var errNoObject = invalidf("Expected the request body to be a JSON object")

// publication is what one request asks to publish: all of it or nothing.
type publication struct {
	events []*broker.Event
	ask    attributes   // what to answer about the events; of a batch, about any of them
	asks   []attributes // of a batch: the same per event
}

// keyed reports whether every event has an idempotency key. Ask before they are published: then all
// have ids.
func (p *publication) keyed() bool {
	return !slices.ContainsFunc(p.events, func(e *broker.Event) bool { return e.ID == "" })
}

// item is what the body says of one publish, not yet checked.
type item struct {
	at       int // its place in the batch; −1 when it is alone
	name     value
	data     value
	channel  value
	channels value
	socketID value
	info     value
	key      value
}

// readTrigger reads the body of POST /events: one event for one or several channels. The key is the
// header's, empty when there is none.
func readTrigger(app *broker.App, body []byte, key string) (*publication, error) {
	v, err := parse(body)
	if err != nil {
		return nil, err
	}
	it, err := readItem(-1, v)
	if err != nil {
		return nil, err
	}
	channels, err := it.targets(app.Limits)
	if err != nil {
		return nil, err
	}
	e, ask, err := it.event(app)
	if err != nil {
		return nil, err
	}
	switch {
	case e.ID == "":
		e.ID = key
	case key != "" && e.ID != key:
		return nil, invalidf("Invalid %s: differs from the %s header", keyMember, keyHeader)
	}
	// The events of one publish share all but their channels and ids.
	p := &publication{events: make([]*broker.Event, len(channels)), ask: ask}
	all := make([]broker.Event, len(channels))
	for i, ch := range channels {
		all[i] = e
		all[i].Channel = ch
		all[i].ID = numbered(e.ID, i)
		p.events[i] = &all[i]
	}
	return p, nil
}

// readBatch reads the body of POST /batch_events: several events, each for one channel. The key is
// the header's; it is for the items that have none of their own.
func readBatch(app *broker.App, body []byte, key string) (*publication, error) {
	v, err := parse(body)
	if err != nil {
		return nil, err
	}
	batch, err := member(v, "batch")
	if err != nil {
		return nil, err
	}
	switch {
	case !batch.given():
		return nil, invalidf("Missing parameter: batch")
	case batch.kind != list:
		return nil, invalidf("Expected batch parameter to be an array")
	}
	p := &publication{}
	most := app.Limits.WithDefaults().EventsPerBatch
	err = batch.elements(func(i int, v value) error {
		if i >= most {
			return invalidf("The batch contains too many events: at most %d are allowed", most)
		}
		it, err := readItem(i, v)
		if err != nil {
			return err
		}
		ch, err := it.target(app.Limits)
		if err != nil {
			return err
		}
		e, ask, err := it.event(app)
		if err != nil {
			return err
		}
		e.Channel = ch
		if e.ID == "" {
			e.ID = numbered(key, i)
		}
		p.events = append(p.events, &e)
		p.asks = append(p.asks, ask)
		p.ask |= ask
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(p.events) == 0 {
		return nil, invalidf("The batch contains no events")
	}
	return p, nil
}

// member returns the member of a body that has only one of interest.
func member(v value, wanted string) (found value, err error) {
	if v.kind != object {
		return value{}, errNoObject
	}
	err = v.members(func(name, v value) error {
		if name.is(wanted) {
			found = v
		}
		return nil
	})
	return found, err
}

// readItem finds the members of interest. Of several with the same name the last one counts, as in
// every language's decoder; unknown ones are ignored.
func readItem(at int, v value) (item, error) {
	it := item{at: at}
	if v.kind != object {
		if at < 0 {
			return it, errNoObject
		}
		return it, invalidf("Expected batch[%d] to be an object", at)
	}
	err := v.members(func(name, v value) error {
		switch {
		case name.is("name"):
			it.name = v
		case name.is("data"):
			it.data = v
		case name.is("channel"):
			it.channel = v
		case name.is("channels"):
			it.channels = v
		case name.is("socket_id"):
			it.socketID = v
		case name.is("info"):
			it.info = v
		case name.is(keyMember):
			it.key = v
		}
		return nil
	})
	return it, err
}

// text returns a member that must be a string.
func (it *item) text(name string, v value) (string, error) {
	switch {
	case !v.given():
		return "", it.missing(name)
	case v.kind != text:
		return "", invalidf("Expected %s parameter to be a string", it.path(name))
	}
	return v.string(), nil
}

func (it *item) missing(name string) error {
	return invalidf("Missing parameter: %s", it.path(name))
}

// path names a member for errors.
func (it *item) path(name string) string {
	if it.at < 0 {
		return name
	}
	return fmt.Sprintf("batch[%d].%s", it.at, name)
}

// in names the item in an error that doesn't.
func (it *item) in(err error) error {
	if it.at < 0 {
		return err
	}
	return fmt.Errorf("batch[%d]: %w", it.at, err)
}

// event checks everything but the channel and returns the event without one, and what is asked
// about it. Without an idempotency key its ID is left to [broker.Node.Publish].
func (it *item) event(app *broker.App) (e broker.Event, ask attributes, err error) {
	e.App = app.ID
	if e.Name, err = it.text("name", it.name); err != nil {
		return e, 0, err
	}
	if err := pusher.CheckEventName(e.Name, app.Limits); err != nil {
		return e, 0, it.in(err)
	}
	switch it.data.kind {
	case absent:
		return e, 0, it.missing("data")
	case text:
		e.Data = it.data.bytes()
	default:
		// Libraries send strings; a value that is none goes as the JSON it was written as.
		e.Data = slices.Clone(it.data.raw)
	}
	if err := pusher.CheckData(e.Data, app.Limits); err != nil {
		return e, 0, it.in(err)
	}
	if it.socketID.given() {
		id, err := it.text("socket_id", it.socketID)
		if err != nil {
			return e, 0, err
		}
		e.Exclude = broker.SocketID(id)
		if err := pusher.CheckSocketID(e.Exclude); err != nil {
			return e, 0, it.in(err)
		}
	}
	if it.info.given() {
		info, err := it.text("info", it.info)
		if err != nil {
			return e, 0, err
		}
		if ask, err = readAttributes(info, counts|position); err != nil {
			return e, 0, it.in(err)
		}
	}
	if it.key.given() {
		if e.ID, err = it.text(keyMember, it.key); err != nil {
			return e, 0, err
		}
		if err := checkKey(it.path(keyMember), e.ID); err != nil {
			return e, 0, err
		}
	}
	return e, ask, nil
}

// target returns the one channel of a batch's item.
func (it *item) target(limits broker.Limits) (broker.Channel, error) {
	name, err := it.text("channel", it.channel)
	if err != nil {
		return "", err
	}
	ch := broker.Channel(name)
	if err := pusher.CheckChannel(ch, limits); err != nil {
		return "", it.in(err)
	}
	return ch, nil
}

// targets returns the channels of a trigger, each once, in the order in which they were named.
func (it *item) targets(limits broker.Limits) ([]broker.Channel, error) {
	if !it.channels.given() {
		if !it.channel.given() {
			return nil, it.missing("channels")
		}
		ch, err := it.target(limits)
		return []broker.Channel{ch}, err
	}
	if it.channels.kind != list {
		return nil, invalidf("Expected channels parameter to be an array")
	}
	most := limits.WithDefaults().ChannelsPerPublish
	var channels []broker.Channel
	var seen map[broker.Channel]bool // nil until there is a second one
	err := it.channels.elements(func(i int, v value) error {
		if i >= most {
			return invalidf("Too many channels: at most %d are allowed", most)
		}
		if v.kind != text {
			return invalidf("Expected channels[%d] to be a string", i)
		}
		ch := broker.Channel(v.string())
		if err := pusher.CheckChannel(ch, limits); err != nil {
			return err
		}
		if i == 1 {
			seen = map[broker.Channel]bool{channels[0]: true}
		}
		if !seen[ch] {
			channels = append(channels, ch)
			if i > 0 {
				seen[ch] = true
			}
		}
		return nil
	})
	if err == nil && len(channels) == 0 {
		err = invalidf("Invalid channels: the list is empty")
	}
	return channels, err
}
