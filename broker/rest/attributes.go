package rest

import (
	"strconv"
	"strings"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/pusher"
)

// attributes are what a request wants to know of a channel, or of an event published to it.
type attributes uint8

const (
	userCount         attributes = 1 << iota // distinct users, of presence channels
	subscriptionCount                        // connections
	cache                                    // the last event, of cache channels; only one channel's question
	position                                 // where the event stands in the log; only what was published
)

// counts are the attributes that can be asked for everywhere.
const counts = userCount | subscriptionCount

// attributeNames are their names on the wire, in the order in which they are listed.
var attributeNames = []struct {
	attribute attributes
	name      string
}{
	{userCount, "user_count"},
	{subscriptionCount, "subscription_count"},
	{cache, "cache"},
	{position, "position"},
}

// readAttributes reads an info parameter, names joined by commas, where some may be asked for. An
// empty one asks for nothing.
func readAttributes(info string, allowed attributes) (attributes, error) {
	var ask attributes
	if info == "" {
		return 0, nil
	}
	for name := range strings.SplitSeq(info, ",") {
		var one attributes
		for _, a := range attributeNames {
			if a.name == name {
				one = a.attribute
			}
		}
		if one&allowed == 0 {
			return 0, invalidf("Invalid info: unknown attribute %.100q; known are %s", name, allowed.names())
		}
		ask |= one
	}
	return ask, nil
}

// names lists the attributes that may be asked for.
func (a attributes) names() string {
	var names []string
	for _, one := range attributeNames {
		if a&one.attribute != 0 {
			names = append(names, one.name)
		}
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// appendTo adds the counts among the attributes to a JSON object that is open, leaving out those that
// a channel of this kind doesn't have.
func (a attributes) appendTo(b []byte, o presence.Occupancy) []byte {
	if a&userCount != 0 && pusher.KindOf(o.Channel).Presence() {
		b = appendCount(b, `"user_count":`, o.Users)
	}
	if a&subscriptionCount != 0 {
		b = appendCount(b, `"subscription_count":`, o.Subscriptions)
	}
	return b
}

func appendCount(b []byte, name string, count int) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, name...)
	return strconv.AppendInt(b, int64(count), 10)
}

// object returns the counts among the attributes as a JSON object.
func (a attributes) object(b []byte, o presence.Occupancy) []byte {
	return append(a.appendTo(append(b, '{'), o), '}')
}

// appendStored adds what became of an event to a JSON object that is open and empty. A medium
// without memory has no position for it, and can't tell whether it is a duplicate.
func appendStored(b []byte, e *broker.Event) []byte {
	b = append(b, `"id":"`...)
	b = appendEscaped(b, e.ID)
	if e.Position.IsZero() {
		b = append(b, `","position":null`...)
	} else {
		b = append(b, `","position":"`...)
		b = append(e.Position.AppendText(b), '"')
	}
	b = append(b, `,"duplicate":`...)
	return strconv.AppendBool(b, e.Duplicate)
}

// appendEscaped adds an id as it stands within a JSON string: quotes and backslashes are the only
// characters it may have that need an escape.
func appendEscaped(b []byte, id string) []byte {
	start := 0
	for i := range len(id) {
		if id[i] == '"' || id[i] == '\\' {
			b = append(append(b, id[start:i]...), '\\')
			start = i
		}
	}
	return append(b, id[start:]...)
}
