package boot

import "log/slog"

// DefaultAppConfig is the app of a node that was told of none. Its default credentials are public
// knowledge: for development only.
type DefaultAppConfig struct {
	// ID is its id. Default "app-id".
	ID string `yaml:"id" default:"app-id"`
	// Key is its key. Default "app-key".
	Key string `yaml:"key" default:"app-key"`
	// Secret is its secret. Default "app-secret".
	Secret string `yaml:"secret" default:"app-secret"`

	// ClientEvents lets clients send client-* events. Default true.
	ClientEvents Switch `yaml:"client_events" default:"true"`

	AppSettings `yaml:"-"`
}

// AppConfig is one app.
type AppConfig struct {
	// ID names the app in HTTP paths. Required.
	ID string `yaml:"id"`

	// Key and Secret are the app's credentials when it has one pair; else see Credentials.
	Key    string `yaml:"key"`
	Secret string `yaml:"secret"`

	// Credentials are the app's key/secret pairs, oldest first; all are valid. Used to
	// change a secret without an outage. Either these or Key and Secret are required.
	Credentials []CredentialConfig `yaml:"credentials"`

	// Disabled refuses the app's connections and requests. Default false.
	Disabled Switch `yaml:"disabled" default:"false"`

	// ClientEvents lets clients send client-* events. Default false.
	ClientEvents Switch `yaml:"client_events" default:"false"`

	AppSettings `yaml:"-"`
}

// CredentialConfig is one key/secret pair.
type CredentialConfig struct {
	Key    string `yaml:"key"`
	Secret string `yaml:"secret"`
}

// AppSettings are what an app may have set whichever app it is; their keys stand beside its id.
type AppSettings struct {
	// ReplayClientEvents replays client events to returning clients too. Default false.
	ReplayClientEvents Switch `yaml:"replay_client_events" default:"false"`

	// SubscriptionCount tells a channel's subscribers how many they are. Default false.
	SubscriptionCount Switch `yaml:"subscription_count" default:"false"`

	// Watchlist tells users who sign in with a watchlist who of it is online. Default true.
	Watchlist Switch `yaml:"watchlist" default:"true"`

	// AllowedOrigins are the web pages that may connect: "https://example.com", "example.com" with
	// any scheme and port, "*.example.com" for all hosts below it. Default: all.
	AllowedOrigins List `yaml:"allowed_origins"`

	// AuthorizedConnections is how long a connection may stay without signing in and without
	// subscribing to a channel that needs a signature. Default none: for ever.
	AuthorizedConnections Duration `yaml:"authorized_connections" default:"none" none:"yes"`

	// CacheTTL is how long a cache channel's last event is given to new subscribers. Default 30m.
	CacheTTL Duration `yaml:"cache_ttl" default:"30m"`

	// Retention bounds what the app's stream remembers.
	Retention RetentionConfig `yaml:"retention"`

	// Webhooks are where the app's backend is told what happened. Default: nowhere.
	Webhooks []WebhookConfig `yaml:"webhooks"`

	// Limits bound what the app's clients and backends may send.
	Limits LimitsConfig `yaml:"limits"`
}

// WebhookConfig is one place where an app's backend is told what happened.
type WebhookConfig struct {
	// Name is what waiting events are kept under, so that the URL may change: at most 64 letters,
	// digits, _ and -. Default: made from the URL.
	Name string `yaml:"name"`

	// URL is posted to. Required.
	URL string `yaml:"url"`

	// Headers are sent along. Default: none.
	Headers map[string]string `yaml:"headers"`

	// Events are what is told: events (member_added) or groups of them (channel_existence,
	// presence, client_events, cache_channels, subscription_count). Default: everything.
	Events List `yaml:"events"`

	// ChannelPrefix and ChannelSuffix leave out channels that don't begin and end so. Default: none
	// is left out.
	ChannelPrefix string `yaml:"channel_prefix"`
	ChannelSuffix string `yaml:"channel_suffix"`

	// Batch puts several events into one request. Default false.
	Batch Switch `yaml:"batch" default:"false"`
}

// RetentionConfig bounds what an app's stream remembers, where that is to differ from [StreamsConfig].
// A change takes effect at once, and positions stay good.
type RetentionConfig struct {
	// MaxAge is how long an event is remembered. Default: as the streams; none for ever.
	MaxAge Duration `yaml:"max_age" none:"yes"`
	// MaxBytes bounds the stream on disk. Default: as the streams.
	MaxBytes Size `yaml:"max_bytes" none:"yes"`
	// MaxEvents bounds its events. Default: as the streams.
	MaxEvents Count `yaml:"max_events" none:"yes"`
}

// LimitsConfig bounds an app; the defaults are Pusher's.
type LimitsConfig struct {
	// DataBytes bounds the data of one event. Default 10KiB.
	DataBytes Size `yaml:"data_bytes" default:"10KiB"`
	// ChannelNameChars bounds a channel's name. Default and most: 200.
	ChannelNameChars Count `yaml:"channel_name_chars" default:"200"`
	// EventNameChars bounds an event's name. Default 200.
	EventNameChars Count `yaml:"event_name_chars" default:"200"`
	// ChannelsPerPublish bounds the channels of one publish. Default 100.
	ChannelsPerPublish Count `yaml:"channels_per_publish" default:"100"`
	// EventsPerBatch bounds the events of one batch. Default 10.
	EventsPerBatch Count `yaml:"events_per_batch" default:"10"`
	// PresenceMembers bounds the users in a presence channel. Default 100.
	PresenceMembers Count `yaml:"presence_members" default:"100"`
	// PresenceUserIDChars bounds a user's id. Default 128.
	PresenceUserIDChars Count `yaml:"presence_user_id_chars" default:"128"`
	// PresenceUserInfoBytes bounds a user's info. Default 1KiB.
	PresenceUserInfoBytes Size `yaml:"presence_user_info_bytes" default:"1KiB"`
	// ClientEventsPerSecond bounds the client events of one connection. Default 10.
	ClientEventsPerSecond Count `yaml:"client_events_per_second" default:"10"`
	// Connections bounds the app's connections on this node. Default none.
	Connections Count `yaml:"connections" default:"none" none:"yes"`
	// SubscriptionsPerConnection bounds the channels of one connection. Default none.
	SubscriptionsPerConnection Count `yaml:"subscriptions_per_connection" default:"none" none:"yes"`
	// BackendEventsPerSecond bounds the events published over HTTP on this node; an event to
	// several channels is several. Over it requests are answered 429. Default none.
	BackendEventsPerSecond Count `yaml:"backend_events_per_second" default:"none" none:"yes"`
	// ReadRequestsPerSecond bounds the questions over HTTP on this node. Over it requests are
	// answered 429. Default none.
	ReadRequestsPerSecond Count `yaml:"read_requests_per_second" default:"none" none:"yes"`
}

// LogValue keeps the secret out of logs.
func (c DefaultAppConfig) LogValue() slog.Value { return slog.StringValue(c.ID) }

// LogValue keeps the secrets out of logs.
func (c AppConfig) LogValue() slog.Value { return slog.StringValue(c.ID) }

// LogValue keeps the secret out of logs.
func (c CredentialConfig) LogValue() slog.Value { return slog.StringValue(c.Key) }

// LogValue keeps headers, and what may stand in the URL, out of logs.
func (c WebhookConfig) LogValue() slog.Value { return c.endpoint().LogValue() }
