package boot

import (
	"io"
	"log/slog"
)

// Config is everything a node can be told. The struct is the one table of its keys: the yaml tag
// is the key in the file, env the variable that overrides it, default what an absent key or a
// zero field means, oneof the words it may hold; none marks what "none" (or 0) switches off.
// [Load] fills a Config from file, environment and flags; [New] takes one.
//
// An app's settings can't come from the environment, but for the default app's.
type Config struct {
	// Host is the address to listen on for WebSockets and HTTP. Default "0.0.0.0", all.
	Host string `yaml:"host" env:"HOST" default:"0.0.0.0"`

	// Port is the port for both. Default 6001; 0 in the text picks a free one.
	Port Port `yaml:"port" env:"PORT" default:"6001"`

	// DataDir is the folder that holds the streams. It is made when it isn't there and
	// belongs to one process at a time. Deleting it forgets every event, and clients that
	// return are told reset. Default "./data".
	DataDir string `yaml:"data_dir" env:"DATA_DIR" default:"./data"`

	// Node is the node's name in its cluster; no two running nodes may share one. A node
	// that keeps its name over a restart finds what it left. Default: the host's name.
	Node string `yaml:"node" env:"INSTANCE_PROCESS_ID"`

	Metrics   MetricsConfig   `yaml:"metrics"`
	Log       LogConfig       `yaml:"log"`
	Adapter   AdapterConfig   `yaml:"adapter"`
	NATS      NATSConfig      `yaml:"nats"`
	Sync      SyncConfig      `yaml:"sync"`
	Streams   StreamsConfig   `yaml:"streams"`
	Replay    ReplayConfig    `yaml:"replay"`
	Feed      FeedConfig      `yaml:"feed"`
	WebSocket WebSocketConfig `yaml:"websocket"`
	HTTP      HTTPConfig      `yaml:"http"`
	Shutdown  ShutdownConfig  `yaml:"shutdown"`

	// DefaultApp is the only app as long as Apps is empty.
	DefaultApp DefaultAppConfig `yaml:"default_app"`

	// Apps are the tenants. Default: the default app.
	Apps []AppConfig `yaml:"apps"`

	// Output takes the start message, for people. Default: nowhere. [LogConfig].Format json
	// leaves it out.
	Output io.Writer `yaml:"-"`

	// Logger takes the log. Default: discard. [NewLogger] makes the one the config names.
	Logger *slog.Logger `yaml:"-"`
}

// MetricsConfig is about the second listener, for Prometheus (/metrics) and probes (/up).
type MetricsConfig struct {
	// Enabled opens the listener. Default true.
	Enabled Switch `yaml:"enabled" env:"METRICS_ENABLED" default:"true"`

	// Host is its address. Default "0.0.0.0". Nothing there is signed: keep it off the
	// public network.
	Host string `yaml:"host" env:"METRICS_HOST" default:"0.0.0.0"`

	// Port is its port. Default 9601; 0 in the text picks a free one.
	Port Port `yaml:"port" env:"METRICS_PORT" default:"9601"`
}

// LogConfig is about the log on standard error.
type LogConfig struct {
	// Level is the least that is logged. Default "info".
	Level string `yaml:"level" env:"LOG_LEVEL" default:"info" oneof:"debug info warn error"`

	// Format is text for people or json for machines. Default "text".
	Format string `yaml:"format" env:"LOG_FORMAT" default:"text" oneof:"text json"`
}

// AdapterConfig names the medium.
type AdapterConfig struct {
	// Driver is the medium that carries events. Default and only one: "nats", which runs
	// inside the process.
	Driver string `yaml:"driver" env:"ADAPTER_DRIVER" default:"nats" oneof:"nats"`
}

// NATSConfig is about names inside NATS.
type NATSConfig struct {
	// Prefix begins the name of every stream and subject. Default "playhead".
	Prefix string `yaml:"prefix" env:"NATS_PREFIX" default:"playhead"`
}

// SyncConfig says what an acknowledged publish has survived by then.
type SyncConfig struct {
	// Mode is always: an acknowledged event survives a power cut, and concurrent publishes
	// share a write to disk; or interval: it survives the end of the process at once, and a
	// power cut once Interval has passed. Default "always".
	Mode string `yaml:"mode" env:"SYNC_MODE" default:"always" oneof:"always interval"`

	// Interval is how often mode interval writes to disk. Default 1s.
	Interval Duration `yaml:"interval" env:"SYNC_INTERVAL" default:"1s"`
}

// StreamsConfig bounds what each app's stream remembers; it forgets at its head only.
type StreamsConfig struct {
	// MaxAge is how long an event is remembered, and what clients are told they can return
	// within. Default 24h; none keeps events until another bound is met.
	MaxAge Duration `yaml:"max_age" env:"STREAMS_MAX_AGE" default:"24h" none:"yes"`

	// MaxBytes bounds an app's stream on disk. Default 1GiB; none leaves it to the disk.
	MaxBytes Size `yaml:"max_bytes" env:"STREAMS_MAX_BYTES" default:"1GiB" none:"yes"`

	// MaxEvents bounds the events of an app's stream. Default none.
	MaxEvents Count `yaml:"max_events" env:"STREAMS_MAX_EVENTS" default:"none" none:"yes"`

	// DuplicateWindow is how long the id of an event is remembered, so that publishing it
	// again stores nothing. At most MaxAge. Default 2m.
	DuplicateWindow Duration `yaml:"duplicate_window" env:"STREAMS_DUPLICATE_WINDOW" default:"2m"`

	// AppendTimeout is how long storing an event is tried before it is an error. Shorter than
	// DuplicateWindow. Default 10s.
	AppendTimeout Duration `yaml:"append_timeout" env:"STREAMS_APPEND_TIMEOUT" default:"10s"`
}

// ReplayConfig bounds what a returning client is sent per channel.
type ReplayConfig struct {
	// MaxEvents is the most events of one replay; beyond it the client is told too_far and
	// refetches its state. Default 1,000.
	MaxEvents Count `yaml:"max_events" env:"REPLAY_MAX_EVENTS" default:"1000"`

	// MaxBytes is the most data of one replay. Default 1MiB.
	MaxBytes Size `yaml:"max_bytes" env:"REPLAY_MAX_BYTES" default:"1MiB"`
}

// FeedConfig is about an app in use on the node.
type FeedConfig struct {
	// Linger is how long the node goes on following an app's stream after its last session
	// left. Default 30s; none stops at once.
	Linger Duration `yaml:"linger" env:"FEED_LINGER" default:"30s" none:"yes"`

	// GateBytes bounds what one subscription holds back while its replay is under way; over
	// it the session is closed and comes back. Default 1MiB.
	GateBytes Size `yaml:"gate_bytes" env:"FEED_GATE_BYTES" default:"1MiB"`
}

// WebSocketConfig is about the clients' connections.
type WebSocketConfig struct {
	// ActivityTimeout is what clients are told: how long they wait in silence before they
	// ping. Whole seconds. Default 2m.
	ActivityTimeout Duration `yaml:"activity_timeout" env:"WEBSOCKET_ACTIVITY_TIMEOUT" default:"2m"`

	// PingAfter is the silence after which the node pings. Default 45s.
	PingAfter Duration `yaml:"ping_after" env:"WEBSOCKET_PING_AFTER" default:"45s"`

	// PongTimeout is how long it waits after that before it closes (4201). Default 30s.
	PongTimeout Duration `yaml:"pong_timeout" env:"WEBSOCKET_PONG_TIMEOUT" default:"30s"`

	// QueueBytes bounds what waits for one connection; a reader that is slower is closed
	// (4100) and comes back. Default 1MiB, at least 64KiB.
	QueueBytes Size `yaml:"queue_bytes" env:"WEBSOCKET_QUEUE_BYTES" default:"1MiB"`

	// MaxMessageBytes bounds one message from a client. Default 64KiB.
	MaxMessageBytes Size `yaml:"max_message_bytes" env:"WEBSOCKET_MAX_MESSAGE_BYTES" default:"64KiB"`

	// MaxConnections bounds the connections of this node; further ones are asked to try
	// later (4100). Default none: the descriptor limit bounds them.
	MaxConnections Count `yaml:"max_connections" env:"WEBSOCKET_MAX_CONNECTIONS" default:"none" none:"yes"`

	// FlushInterval is the least time between two writes under load; what gathers meanwhile
	// goes out in one. An idle node writes at once. Default 5ms.
	FlushInterval Duration `yaml:"flush_interval" env:"WEBSOCKET_FLUSH_INTERVAL" default:"5ms"`
}

// HTTPConfig is about HTTP requests; a WebSocket has none of these timeouts once it is open.
type HTTPConfig struct {
	// ReadHeaderTimeout bounds reading a request's header. Default 10s.
	ReadHeaderTimeout Duration `yaml:"read_header_timeout" env:"HTTP_READ_HEADER_TIMEOUT" default:"10s"`

	// ReadTimeout bounds reading a whole request. Default 30s.
	ReadTimeout Duration `yaml:"read_timeout" env:"HTTP_READ_TIMEOUT" default:"30s"`

	// WriteTimeout bounds a request from its header to the end of its answer. It must leave
	// room for PublishTimeout. Default 30s.
	WriteTimeout Duration `yaml:"write_timeout" env:"HTTP_WRITE_TIMEOUT" default:"30s"`

	// IdleTimeout is how long an idle keep-alive connection stays open. Default 2m.
	IdleTimeout Duration `yaml:"idle_timeout" env:"HTTP_IDLE_TIMEOUT" default:"2m"`

	// PublishTimeout is how long a publish may wait to be stored; then it is answered 503.
	// Default 15s.
	PublishTimeout Duration `yaml:"publish_timeout" env:"HTTP_PUBLISH_TIMEOUT" default:"15s"`

	// MaxBodyBytes bounds a request's body. Default 1MiB.
	MaxBodyBytes Size `yaml:"max_body_bytes" env:"HTTP_MAX_BODY_BYTES" default:"1MiB"`
}

// ShutdownConfig is about the end.
type ShutdownConfig struct {
	// Timeout bounds the whole teardown; what is left then is cut. Default 30s.
	Timeout Duration `yaml:"timeout" env:"SHUTDOWN_TIMEOUT" default:"30s"`

	// Drain is the time over which connections are closed, so that they don't all come back
	// at one instant. Shorter than Timeout. Default 5s; none closes them at once.
	Drain Duration `yaml:"drain" env:"SHUTDOWN_DRAIN" default:"5s" none:"yes"`
}

// DefaultAppConfig is the app of a node that was told of none. It allows client events. Its
// default credentials are public knowledge: for development only.
type DefaultAppConfig struct {
	// ID is its id. Default "app-id".
	ID string `yaml:"id" env:"PLAYHEAD_DEFAULT_APP_ID" default:"app-id"`
	// Key is its key. Default "app-key".
	Key string `yaml:"key" env:"PLAYHEAD_DEFAULT_APP_KEY" default:"app-key"`
	// Secret is its secret. Default "app-secret".
	Secret string `yaml:"secret" env:"PLAYHEAD_DEFAULT_APP_SECRET" default:"app-secret"`
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

	// ClientEvents lets clients send client-* events. Default false.
	ClientEvents Switch `yaml:"client_events" default:"false"`

	// ReplayClientEvents replays client events to returning clients too. Default false.
	ReplayClientEvents Switch `yaml:"replay_client_events" default:"false"`

	// Disabled refuses the app's connections and requests. Default false.
	Disabled Switch `yaml:"disabled" default:"false"`

	// Limits bound what the app's clients and backends may send.
	Limits LimitsConfig `yaml:"limits"`
}

// CredentialConfig is one key/secret pair.
type CredentialConfig struct {
	Key    string `yaml:"key"`
	Secret string `yaml:"secret"`
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
}

// LogValue keeps secrets out of logs.
func (c Config) LogValue() slog.Value {
	ids := make([]string, 0, len(c.Apps))
	for _, a := range c.Apps {
		ids = append(ids, a.ID)
	}
	return slog.GroupValue(slog.String("node", c.Node), slog.String("data_dir", c.DataDir), slog.Any("apps", ids))
}

// LogValue keeps the secret out of logs.
func (c DefaultAppConfig) LogValue() slog.Value { return slog.StringValue(c.ID) }

// LogValue keeps the secrets out of logs.
func (c AppConfig) LogValue() slog.Value { return slog.StringValue(c.ID) }

// LogValue keeps the secret out of logs.
func (c CredentialConfig) LogValue() slog.Value { return slog.StringValue(c.Key) }
