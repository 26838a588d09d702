package apps

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
)

// checkID reports what makes an id unfit for paths, metric labels and logs.
func checkID(id broker.AppID, report func(error)) {
	switch {
	case id == "":
		report(errors.New("id: empty"))
	case strings.HasPrefix(string(id), "%"):
		report(errors.New("id: those that begin with % are the server's own"))
	case !utf8.ValidString(string(id)):
		report(errors.New("id: not UTF-8"))
	case strings.ContainsFunc(string(id), func(r rune) bool { return !unicode.IsPrint(r) || r == '/' }):
		report(errors.New("id: only printable characters but '/' are allowed"))
	}
}

// checkCredentials reports what is wrong with the app's credentials and enters its keys into
// taken.
func checkCredentials(app *broker.App, taken map[string]*broker.App, report func(error)) {
	if len(app.Credentials) == 0 {
		report(errors.New("credentials: none; at least one key and secret is needed"))
	}
	for i, c := range app.Credentials {
		what := fmt.Sprintf("credential %d", i+1)
		if c.Secret == "" {
			report(fmt.Errorf("%s: secret: empty", what))
		}
		if c.Key == "" {
			report(fmt.Errorf("%s: key: empty", what))
			continue
		}
		// A key is followed by ':' in signatures and is a segment of WebSocket paths.
		if strings.ContainsFunc(c.Key, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '/' }) {
			report(fmt.Errorf("%s: key %q: only printable ASCII but ' ', ':' and '/' is allowed", what, c.Key))
		}
		switch other := taken[c.Key]; {
		case other == app:
			report(fmt.Errorf("%s: key %q: listed twice", what, c.Key))
		case other != nil:
			report(fmt.Errorf("%s: key %q: app %q has it too", what, c.Key, other.ID))
		default:
			taken[c.Key] = app
		}
	}
}

// checkTimes reports times that can't be.
func checkTimes(app *broker.App, report func(error)) {
	if app.CacheTTL < 0 {
		report(fmt.Errorf("cache TTL: %v is negative", app.CacheTTL))
	}
	if app.AuthorizedConnections < 0 {
		report(fmt.Errorf("authorized connections: %v is negative", app.AuthorizedConnections))
	}
}

// checkOrigins reports what no origin can match, and what looks as if it should match more than it
// does: a typing error here locks pages out.
func checkOrigins(origins []string, report func(error)) {
	for _, origin := range origins {
		if origin == "*" {
			continue
		}
		host := origin
		if scheme, rest, ok := strings.Cut(origin, "://"); ok {
			host = rest
			if scheme == "" {
				report(fmt.Errorf("allowed origin %q: no scheme before ://", origin))
				continue
			}
		}
		plain := strings.TrimPrefix(host, "*.")
		u, err := url.Parse("//" + plain)
		switch {
		case strings.Contains(plain, "*"):
			report(fmt.Errorf("allowed origin %q: '*' may stand alone, or as *. before a host", origin))
		case err != nil || u.Hostname() == "" || u.Host != plain:
			report(fmt.Errorf("allowed origin %q: an origin is a host, or scheme://host, with a port if need be, and nothing behind it", origin))
		}
	}
}

// maxChannelName is the longest channel name the protocol knows, in characters: client libraries
// refuse longer ones, so nobody could subscribe.
const maxChannelName = 200

// checkLimits reports limits that can't be kept.
func checkLimits(l broker.Limits, report func(error)) {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"data bytes", l.DataBytes},
		{"channel name characters", l.ChannelNameChars},
		{"event name characters", l.EventNameChars},
		{"channels per publish", l.ChannelsPerPublish},
		{"events per batch", l.EventsPerBatch},
		{"presence members", l.PresenceMembers},
		{"presence user id characters", l.PresenceUserIDChars},
		{"presence user info bytes", l.PresenceUserInfoBytes},
		{"client events per second", l.ClientEventsPerSecond},
		{"connections", l.Connections},
		{"subscriptions per connection", l.SubscriptionsPerConnection},
		{"backend events per second", l.BackendEventsPerSecond},
		{"read requests per second", l.ReadRequestsPerSecond},
	} {
		if f.value < 0 {
			report(fmt.Errorf("limit of %s: %d is negative", f.name, f.value))
		}
	}
	if l.ChannelNameChars > maxChannelName {
		report(fmt.Errorf("limit of channel name characters: %d is over the protocol's %d", l.ChannelNameChars, maxChannelName))
	}
}
