package rest

import (
	"strconv"
	"strings"

	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/pusher"
)

// attributes are what a request wants to know of a channel.
type attributes uint8

const (
	userCount         attributes = 1 << iota // distinct users, of presence channels
	subscriptionCount                        // connections
	cache                                    // the last event, of cache channels; only one channel's question
)

// readAttributes reads an info parameter, names joined by commas, where some may be asked for. An
// empty one asks for nothing.
func readAttributes(info string, allowed attributes) (attributes, error) {
	var ask attributes
	if info == "" {
		return 0, nil
	}
	for name := range strings.SplitSeq(info, ",") {
		var one attributes
		switch name {
		case "user_count":
			one = userCount
		case "subscription_count":
			one = subscriptionCount
		case "cache":
			one = cache
		}
		if one&allowed == 0 {
			return 0, invalidf("Invalid info: unknown attribute %.100q; known are %s", name, allowed.names())
		}
		ask |= one
	}
	return ask, nil
}

// counts are the attributes that can be asked for everywhere.
const counts = userCount | subscriptionCount

// names lists the attributes that may be asked for.
func (a attributes) names() string {
	if a&cache != 0 {
		return "user_count, subscription_count and cache"
	}
	return "user_count and subscription_count"
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
