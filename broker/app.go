package broker

import (
	"errors"
	"log/slog"
	"time"
)

// ErrNoApp is returned by whoever looks an app up that doesn't exist.
var ErrNoApp = errors.New("no such app")

// AppID names an app in HTTP paths, metrics and the log. It is opaque and never empty.
type AppID string

// App is one tenant: its credentials and what it is allowed to do. An App is immutable once
// it has been handed out; a changed configuration hands out a new one.
type App struct {
	ID AppID

	// Credentials are the app's key/secret pairs, oldest first; all are valid, the first
	// signs webhooks. There is at least one.
	Credentials []Credential

	// Disabled apps refuse connections (4003) and HTTP requests (403).
	Disabled bool

	// ClientEvents allows clients to send client-* events on private and presence channels.
	ClientEvents bool

	// ReplayClientEvents lets client events be replayed to a returning client.
	ReplayClientEvents bool

	// SubscriptionCount tells the subscribers of a channel that isn't a presence channel how
	// many they are whenever that changes.
	SubscriptionCount bool

	// Watchlist tells a signed-in user's connections which users of its watchlist are online,
	// and when that changes. Without it watchlists are ignored.
	Watchlist bool

	// AllowedOrigins are the web pages that may connect, by the Origin that browsers send:
	// "https://example.com" is exactly that origin, "example.com" that host with any scheme and
	// port, "example.com:8080" with that port, "*.example.com" every host below it; "*" is any
	// origin. Clients that send none aren't browsers and may always connect. Default: any.
	AllowedOrigins []string

	// AuthorizedConnections is how long a connection may be without a sign-in and without a
	// subscription that needs a signature; then it is closed with 4009. Whole seconds, rounded
	// up. Default: for ever.
	AuthorizedConnections time.Duration

	// CacheTTL is how long a cache channel's last event is given to new subscribers. Default
	// 30 min.
	CacheTTL time.Duration

	// Retention bounds what the app's log remembers.
	Retention Retention

	// Webhooks are where the app's backend is told what happened. Default: nowhere.
	Webhooks []Endpoint

	// Limits bound what the app's clients and backends may send.
	Limits Limits
}

// Credential is one key/secret pair of an app.
type Credential struct {
	Key    string // public; in WebSocket paths and signatures
	Secret string // HMAC key, used as its UTF-8 bytes
}

// LogValue keeps the secret out of logs.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.Key) }

// Secret returns the secret that belongs to key, and whether the app has such a key.
func (a *App) Secret(key string) (string, bool) {
	for _, c := range a.Credentials {
		if c.Key == key {
			return c.Secret, true
		}
	}
	return "", false
}

// Cached returns for how long from now on a cache channel's last event is still given to new
// subscribers; 0 when it isn't any more, and when there is none.
func (a *App) Cached(last *Event, now time.Time) time.Duration {
	if last == nil {
		return 0
	}
	ttl := a.CacheTTL
	if ttl == 0 {
		ttl = 30 * time.Minute
	}
	return max(0, last.Time.Add(ttl).Sub(now))
}

// LogValue keeps secrets out of logs.
func (a *App) LogValue() slog.Value { return slog.StringValue(string(a.ID)) }

// Retention bounds what a log remembers of an app; it forgets its oldest events. A zero field is the
// medium's own default, −1 means no bound.
type Retention struct {
	Age    time.Duration // of an event
	Bytes  int64         // of all events as the medium stores them
	Events int64         // number of events
}

// Limits bound an app. A zero field means its default, which is Pusher's documented value.
type Limits struct {
	DataBytes             int // data of one event, bytes; default 10,240
	ChannelNameChars      int // channel name, characters; default 200, never more
	EventNameChars        int // event name, characters; default 200
	ChannelsPerPublish    int // channels of one trigger; default 100
	EventsPerBatch        int // events of one batch; default 10
	PresenceMembers       int // distinct users of a presence channel; default 100
	PresenceUserIDChars   int // user_id, characters; default 128
	PresenceUserInfoBytes int // user_info, bytes of JSON; default 1,024
	ClientEventsPerSecond int // client events per connection and second; default 10

	Connections                int // connections on one node; default: no limit
	SubscriptionsPerConnection int // channels of one connection; default: no limit
	BackendEventsPerSecond     int // events published over HTTP on one node, one per channel; default: no limit
	ReadRequestsPerSecond      int // questions over HTTP on one node; default: no limit
}

// WithDefaults returns l with every zero field set to its default.
func (l Limits) WithDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.DataBytes, 10_240},
		{&l.ChannelNameChars, 200},
		{&l.EventNameChars, 200},
		{&l.ChannelsPerPublish, 100},
		{&l.EventsPerBatch, 10},
		{&l.PresenceMembers, 100},
		{&l.PresenceUserIDChars, 128},
		{&l.PresenceUserInfoBytes, 1_024},
		{&l.ClientEventsPerSecond, 10},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return l
}
