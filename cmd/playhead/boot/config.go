package boot

import (
	"io"
	"log/slog"
	"os"
)

// Config is everything a node can be told. The struct is the one table of its keys: the yaml tag
// is the key in the file, env the variable that overrides it, default what an absent key or a
// zero field means, oneof the words it may hold; none marks what "none" (or 0) switches off.
// [Load] fills a Config from file, environment and flags; [New] takes one.
//
// An app's settings can't come from the environment, but for the default app's: the variable of each
// is PLAYHEAD_ and its key, PLAYHEAD_DEFAULT_APP_LIMITS_DATA_BYTES.
type Config struct {
	// Host is the address to listen on for WebSockets and HTTP. Default "0.0.0.0", all.
	Host string `yaml:"host" env:"HOST" default:"0.0.0.0"`

	// Port is the port for both. Default 6001; 0 in the text picks a free one.
	Port Port `yaml:"port" env:"PORT" default:"6001"`

	// Environment is development, which serves the test page at /client/, or production, which
	// doesn't, and refuses credentials that everybody knows. Default "development".
	Environment string `yaml:"environment" env:"ENVIRONMENT" default:"development" oneof:"development production"`

	// DataDir is the folder that holds the streams. It is made when it isn't there and
	// belongs to one process at a time. Deleting it forgets every event, and clients that
	// return are told reset. Default "./data".
	DataDir string `yaml:"data_dir" env:"DATA_DIR" default:"./data"`

	// Node is the node's name in its cluster; no two running nodes may share one. A node
	// that keeps its name over a restart finds what it left. Default: the host's name; with
	// [ClusterConfig].Routes it is required.
	Node string `yaml:"node" env:"INSTANCE_PROCESS_ID"`

	// StartupTimeout is how long the node waits for servers of NATS or Redis that it can't reach, and for the
	// cluster to have a leader; then its start has been in vain. Default 1m.
	StartupTimeout Duration `yaml:"startup_timeout" env:"STARTUP_TIMEOUT" default:"1m"`

	Metrics   MetricsConfig   `yaml:"metrics"`
	Log       LogConfig       `yaml:"log"`
	Adapter   AdapterConfig   `yaml:"adapter"`
	NATS      NATSConfig      `yaml:"nats"`
	Cluster   ClusterConfig   `yaml:"cluster"`
	Redis     RedisConfig     `yaml:"redis"`
	Cache     CacheConfig     `yaml:"cache"`
	Queue     QueueConfig     `yaml:"queue"`
	Cleanup   CleanupConfig   `yaml:"cleanup"`
	Sync      SyncConfig      `yaml:"sync"`
	Streams   StreamsConfig   `yaml:"streams"`
	Replay    ReplayConfig    `yaml:"replay"`
	Feed      FeedConfig      `yaml:"feed"`
	WebSocket WebSocketConfig `yaml:"websocket"`
	HTTP      HTTPConfig      `yaml:"http"`
	RateLimit RateLimitConfig `yaml:"rate_limit"`
	Webhooks  WebhooksConfig  `yaml:"webhooks"`
	Shutdown  ShutdownConfig  `yaml:"shutdown"`

	Database   DatabaseConfig   `yaml:"database"`
	AppManager AppManagerConfig `yaml:"app_manager"`

	// DefaultApp is the only app as long as Apps is empty, and [AppManagerConfig].Driver is file.
	DefaultApp DefaultAppConfig `yaml:"default_app"`

	// Apps are the tenants. Default: the default app.
	Apps []AppConfig `yaml:"apps"`

	// Source is read again when Hangup says so and when its file has changed, for the apps that
	// are in it. Default: the apps stay as they are.
	Source *Source `yaml:"-"`

	// Hangup asks for the Source to be read again; main sends SIGHUP here. Default: nobody asks.
	Hangup <-chan os.Signal `yaml:"-"`

	// Output takes the start message, for people. Default: nowhere. [LogConfig].Format json
	// leaves it out.
	Output io.Writer `yaml:"-"`

	// Logger takes the log. Default: discard. [NewLogger] makes the one the config names.
	Logger *slog.Logger `yaml:"-"`
}

// MetricsConfig is about the second listener, for Prometheus (/metrics), probes (/up) and dead webhooks.
type MetricsConfig struct {
	// Enabled opens the listener. Default true.
	Enabled Switch `yaml:"enabled" env:"METRICS_ENABLED" default:"true"`

	// Host is its address. Default "0.0.0.0". Nothing there is signed: keep it off the
	// public network.
	Host string `yaml:"host" env:"METRICS_HOST" default:"0.0.0.0"`

	// Port is its port. Default 9601; 0 in the text picks a free one.
	Port Port `yaml:"port" env:"METRICS_PORT" default:"9601"`

	// Profiling serves Go's profiles below /debug/pprof/ of that listener. Default false: a profile
	// costs CPU while it is taken, and shows what runs here.
	Profiling Switch `yaml:"profiling" env:"METRICS_PROFILING" default:"false"`
}

// LogConfig is about the log on standard error.
type LogConfig struct {
	// Level is the least that is logged. Default "info".
	Level string `yaml:"level" env:"LOG_LEVEL" default:"info" oneof:"debug info warn error"`

	// Format is text for people or json for machines. Default "text".
	Format string `yaml:"format" env:"LOG_FORMAT" default:"text" oneof:"text json"`
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

// ReplayConfig is about returning clients: what one is sent per channel, and how many at a time.
type ReplayConfig struct {
	// MaxEvents is the most events of one replay; beyond it the client is told too_far and
	// refetches its state. Default 1,000.
	MaxEvents Count `yaml:"max_events" env:"REPLAY_MAX_EVENTS" default:"1000"`

	// MaxBytes is the most data of one replay. Default 1MiB.
	MaxBytes Size `yaml:"max_bytes" env:"REPLAY_MAX_BYTES" default:"1MiB"`

	// Concurrency is how many replays read the log at a time. More don't make a storm of returning
	// clients shorter, they only slow down publishing. Default 2.
	Concurrency Count `yaml:"concurrency" env:"REPLAY_CONCURRENCY" default:"2"`

	// WaitTimeout is how long a returning client may wait for its turn before it is told
	// unavailable. Default 1m.
	WaitTimeout Duration `yaml:"wait_timeout" env:"REPLAY_WAIT_TIMEOUT" default:"1m"`
}

// FeedConfig is about an app in use on the node.
type FeedConfig struct {
	// Linger is how long the node goes on following an app's stream after its last session
	// left. Default 30s; none stops at once.
	Linger Duration `yaml:"linger" env:"FEED_LINGER" default:"30s" none:"yes"`

	// GateBytes bounds what one subscription holds back while its replay is under way; over
	// it the session is closed and comes back. Default 1MiB.
	GateBytes Size `yaml:"gate_bytes" env:"FEED_GATE_BYTES" default:"1MiB"`

	// WindowBytes and WindowEvents bound the newest events that are kept in memory per app in use,
	// so that most clients are back without a look at the log. Default 16MiB and 100,000; either of
	// them none keeps nothing.
	WindowBytes  Size  `yaml:"window_bytes" env:"FEED_WINDOW_BYTES" default:"16MiB" none:"yes"`
	WindowEvents Count `yaml:"window_events" env:"FEED_WINDOW_EVENTS" default:"100000" none:"yes"`
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

	// TotalQueueBytes bounds what waits for all connections together, less up to 4KiB for each; over
	// it those are closed (4100) for which most waits. Default: a quarter of the memory there is, of
	// the machine or of the container; none leaves it to QueueBytes alone.
	TotalQueueBytes Size `yaml:"total_queue_bytes" env:"WEBSOCKET_TOTAL_QUEUE_BYTES" none:"yes"`

	// MaxMessageBytes bounds one message from a client. Default 64KiB.
	MaxMessageBytes Size `yaml:"max_message_bytes" env:"WEBSOCKET_MAX_MESSAGE_BYTES" default:"64KiB"`

	// MaxConnections bounds the connections of this node; further ones are asked to try
	// later (4100). Default none: the descriptor limit bounds them.
	MaxConnections Count `yaml:"max_connections" env:"WEBSOCKET_MAX_CONNECTIONS" default:"none" none:"yes"`

	// TerminationCode closes the connections of a user whom a backend terminates, 4000 to 4299.
	// Default 4009: pusher-js stays away. With 4200 it comes straight back.
	TerminationCode Count `yaml:"termination_code" env:"WEBSOCKET_TERMINATION_CODE" default:"4009"`

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

	// TrustedProxies are the proxies in front of this node, as addresses or networks
	// (10.0.0.0/8). What they say of a client's address, in X-Forwarded-For or else X-Real-IP, is
	// believed; from anybody else it is not. Default: none.
	TrustedProxies List `yaml:"trusted_proxies" env:"HTTP_TRUSTED_PROXIES"`

	// TrustedHops is how many proxies each request has passed, where their addresses aren't
	// known. Nobody may reach this node around them: who does can claim any address. Instead of
	// TrustedProxies. Default none.
	TrustedHops Count `yaml:"trusted_hops" env:"HTTP_TRUSTED_HOPS" default:"none" none:"yes"`
}

// RateLimitConfig bounds what one client address may do, an IPv6 network of 64 bits being one
// address. Over it requests are answered 429, WebSocket handshakes too. Behind proxies set
// [HTTPConfig].TrustedProxies, or all clients share one address.
type RateLimitConfig struct {
	// Driver is where it is counted: memory, each node by itself; or redis or redis-cluster, all nodes
	// together, the apps' own limits of requests and events over HTTP, too. While Redis is away each node
	// counts by itself. Default: as [AdapterConfig].Driver, and memory with nats.
	Driver string `yaml:"driver" env:"RATE_LIMITER_DRIVER" oneof:"memory redis redis-cluster"`

	// APIPerSecond bounds the requests to the HTTP API. Default none.
	APIPerSecond Count `yaml:"api_per_second" env:"RATE_LIMIT_API_PER_SECOND" default:"none" none:"yes"`

	// APIBurst is how many may come at once after a quiet while. Default none: as many as in one
	// second.
	APIBurst Count `yaml:"api_burst" env:"RATE_LIMIT_API_BURST" default:"none" none:"yes"`

	// ConnectsPerSecond bounds new WebSockets. Default none: a whole office may come from one
	// address, and all at once after a restart.
	ConnectsPerSecond Count `yaml:"connects_per_second" env:"RATE_LIMIT_CONNECTS_PER_SECOND" default:"none" none:"yes"`

	// ConnectsBurst is how many may come at once after a quiet while. Default none: as many as in
	// one second.
	ConnectsBurst Count `yaml:"connects_burst" env:"RATE_LIMIT_CONNECTS_BURST" default:"none" none:"yes"`
}

// WebhooksConfig is about telling apps' backends what happened; where to is a matter of each app.
type WebhooksConfig struct {
	// Delay is how long channel_vacated and member_removed are held back, so that who comes right
	// back was never gone. Default 3s; none tells at once.
	Delay Duration `yaml:"delay" env:"WEBHOOKS_DELAY" default:"3s" none:"yes"`

	// BatchEvents and BatchInterval bound a batch, for endpoints that want batches. Default 20
	// events, 250ms.
	BatchEvents   Count    `yaml:"batch_events" env:"WEBHOOKS_BATCH_EVENTS" default:"20"`
	BatchInterval Duration `yaml:"batch_interval" env:"WEBHOOKS_BATCH_INTERVAL" default:"250ms"`

	// Timeout is how long an endpoint may take to answer. Default 4s.
	Timeout Duration `yaml:"timeout" env:"WEBHOOKS_TIMEOUT" default:"4s"`

	// MaxAge is how long delivery is tried before the event is put aside as dead. Default 5m:
	// older ones are refused by Pusher's libraries.
	MaxAge Duration `yaml:"max_age" env:"WEBHOOKS_MAX_AGE" default:"5m"`

	// InFlight bounds the requests under way to one endpoint. Default 4.
	InFlight Count `yaml:"in_flight" env:"WEBHOOKS_IN_FLIGHT" default:"4"`

	// QueueEvents bounds what waits for one endpoint, QueueBytes what waits for all; what comes on
	// top is dropped and counted. Default 100,000 and 256MiB.
	QueueEvents Count `yaml:"queue_events" env:"WEBHOOKS_QUEUE_EVENTS" default:"100000"`
	QueueBytes  Size  `yaml:"queue_bytes" env:"WEBHOOKS_QUEUE_BYTES" default:"256MiB"`

	// DeadAge and DeadBytes bound what is kept of what couldn't be delivered. Default 168h, 64MiB.
	DeadAge   Duration `yaml:"dead_age" env:"WEBHOOKS_DEAD_AGE" default:"168h"`
	DeadBytes Size     `yaml:"dead_bytes" env:"WEBHOOKS_DEAD_BYTES" default:"64MiB"`
}

// ShutdownConfig is about the end.
type ShutdownConfig struct {
	// Grace is how long a node that is told to end goes on as if it weren't, but for /up and /ready,
	// which say 503: a load balancer that asks them takes it out of rotation meanwhile, and nobody is
	// sent to a closed port. At least two of the balancer's intervals. A node that is alone doesn't
	// wait. Shorter than Timeout. Default 3s; none goes at once.
	Grace Duration `yaml:"grace" env:"SHUTDOWN_GRACE" default:"3s" none:"yes"`

	// Timeout bounds the whole teardown; what is left then is cut. Default 30s.
	Timeout Duration `yaml:"timeout" env:"SHUTDOWN_TIMEOUT" default:"30s"`

	// Drain is the time over which connections are closed, so that they don't all come back
	// at one instant. With the grace shorter than Timeout. Default 5s; none closes them at once.
	Drain Duration `yaml:"drain" env:"SHUTDOWN_DRAIN" default:"5s" none:"yes"`
}

// LogValue keeps secrets out of logs.
func (c Config) LogValue() slog.Value {
	ids := make([]string, 0, len(c.Apps))
	for _, a := range c.Apps {
		ids = append(ids, a.ID)
	}
	return slog.GroupValue(slog.String("node", c.Node), slog.String("data_dir", c.DataDir), slog.Any("apps", ids))
}
