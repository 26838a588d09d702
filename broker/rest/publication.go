package rest

import (
	"cmp"
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
	asks   []attributes // of a batch that asks anything: the same per event
}

// add adds an event of a batch, and what is asked about it.
func (p *publication) add(e *broker.Event, ask attributes) {
	if p.ask |= ask; p.ask != 0 {
		p.asks = append(p.asks, make([]attributes, len(p.events)-len(p.asks))...)
		p.asks = append(p.asks, ask)
	}
	p.events = append(p.events, e)
}

// keyed reports whether every event has an idempotency key. Ask before they are published: then all
// have ids.
func (p *publication) keyed() bool {
	return !slices.ContainsFunc(p.events, func(e *broker.Event) bool { return e.ID == "" })
}

// item is what the body says of one publish, not yet checked.
type item struct {
	at       int  // its place in the batch; −1 when it is alone
	object   bool // whether it is one; else it says nothing
	name     value
	data     value
	channel  value
	channels value
	socketID value
	info     value
	key      value
}

// scan takes one value off a body, which stands in so many others. Of several members with the same name
// the last one counts, as in every language's decoder; unknown ones are ignored.
func (it *item) scan(s *scanner, depth int) error {
	if s.peek() != '{' {
		_, err := s.value(depth)
		return err
	}
	it.object = true
	return s.object(depth+1, func(name value) error {
		v, err := s.value(depth + 1)
		if member := it.member(name); member != nil {
			*member = v
		}
		return err
	})
}

// member returns where a member of the name is kept, nil when it isn't.
func (it *item) member(name value) *value {
	inner := name.inner()
	if !name.plain() {
		inner = name.bytes()
	}
	switch string(inner) {
	case "name":
		return &it.name
	case "data":
		return &it.data
	case "channel":
		return &it.channel
	case "channels":
		return &it.channels
	case "socket_id":
		return &it.socketID
	case "info":
		return &it.info
	case keyMember:
		return &it.key
	}
	return nil
}

// readTrigger reads the body of POST /events: one event for one or several channels. The key is the
// header's, empty when there is none.
func readTrigger(app *broker.App, body []byte, key string) (p publication, err error) {
	s, err := newScanner(body)
	if err != nil {
		return p, err
	}
	it := item{at: -1}
	if err := it.scan(&s, 0); err != nil {
		return p, err
	}
	if err := s.end(); err != nil {
		return p, err
	}
	if !it.object {
		return p, errNoObject
	}
	channels, err := it.targets(app.Limits)
	if err != nil {
		return p, err
	}
	e, ask, err := it.event(app)
	if err != nil {
		return p, err
	}
	switch {
	case e.ID == "":
		e.ID = key
	case key != "" && e.ID != key:
		return p, invalidf("Invalid %s: differs from the %s header", keyMember, keyHeader)
	}
	// The events of one publish share all but their channels and ids.
	p.ask = ask
	p.events = make([]*broker.Event, len(channels))
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
func readBatch(app *broker.App, body []byte, key string) (publication, error) {
	s, err := newScanner(body)
	if err != nil {
		return publication{}, err
	}
	if s.peek() != '{' {
		if _, err := s.value(0); err != nil {
			return publication{}, err
		}
		return publication{}, cmp.Or(s.end(), errNoObject)
	}
	b := batch{app: app, key: key, most: app.Limits.WithDefaults().EventsPerBatch}
	err = s.object(1, func(name value) error {
		if name.is("batch") {
			return b.scan(&s)
		}
		_, err := s.value(1)
		return err
	})
	if err != nil {
		return publication{}, err
	}
	if err := s.end(); err != nil {
		return publication{}, err
	}
	return b.read()
}

// batch makes events of a batch while its body is scanned: what is wrong with an item counts only if the
// whole body is JSON.
type batch struct {
	app  *broker.App
	key  string // the header's
	most int    // events that it may have

	list value       // the last member named batch
	of   publication // what is in it
	err  error       // what is wrong with it first
}

// scan takes the value of a member named batch off the body. Of several the last one counts.
func (b *batch) scan(s *scanner) error {
	b.of, b.err = publication{}, nil
	if s.peek() != '[' {
		v, err := s.value(1)
		b.list = v
		return err
	}
	b.list = value{kind: list}
	return s.list(2, func(i int) error {
		it := item{at: i}
		if err := it.scan(s, 2); err != nil {
			return err
		}
		if b.err == nil {
			b.err = b.add(&it)
		}
		return nil
	})
}

// add makes an event of an item.
func (b *batch) add(it *item) error {
	if it.at >= b.most {
		return invalidf("The batch contains too many events: at most %d are allowed", b.most)
	}
	if !it.object {
		return invalidf("Expected %s to be an object", it.path(""))
	}
	ch, err := it.target(b.app.Limits)
	if err != nil {
		return err
	}
	e, ask, err := it.event(b.app)
	if err != nil {
		return err
	}
	e.Channel = ch
	if e.ID == "" {
		e.ID = numbered(b.key, it.at)
	}
	b.of.add(&e, ask)
	return nil
}

// read returns what the body asks to publish.
func (b *batch) read() (publication, error) {
	err := b.err
	switch {
	case !b.list.given():
		err = invalidf("Missing parameter: batch")
	case b.list.kind != list:
		err = invalidf("Expected batch parameter to be an array")
	case err == nil && len(b.of.events) == 0:
		err = invalidf("The batch contains no events")
	}
	return b.of, err
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

// path names a member for errors, or the item where there is no name.
func (it *item) path(name string) string {
	switch {
	case it.at < 0:
		return name
	case name == "":
		return fmt.Sprintf("batch[%d]", it.at)
	}
	return fmt.Sprintf("batch[%d].%s", it.at, name)
}

// in names the item in an error that doesn't.
func (it *item) in(err error) error {
	if it.at < 0 {
		return err
	}
	return fmt.Errorf("%s: %w", it.path(""), err)
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
