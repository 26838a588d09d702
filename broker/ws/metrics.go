package ws

import (
	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the server's; labels come from closed sets (the app ids, the results, the reasons,
// the kinds).
type metrics struct {
	connections  *prometheus.GaugeVec
	connects     *prometheus.CounterVec
	closes       *prometheus.CounterVec
	received     *prometheus.CounterVec
	clientEvents *prometheus.CounterVec
	recalls      *prometheus.CounterVec
	histories    *prometheus.CounterVec
	pings        prometheus.Counter
	writes       prometheus.Counter
	frames       prometheus.Counter
	bytes        prometheus.Counter
	dropped      prometheus.Counter
	blocked      prometheus.Gauge
}

// newMetrics registers the metrics; queued is asked for the bytes that wait whenever they are read.
func newMetrics(r prometheus.Registerer, queued func() float64) *metrics {
	f := promauto.With(r)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "playhead_queue_bytes",
		Help: "Bytes that wait in the outbound queues of all connections.",
	}, queued)
	return &metrics{
		connections: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "playhead_connections",
			Help: "Established WebSocket connections, by app.",
		}, []string{"app"}),
		connects: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_connects_total",
			Help: "Requests for a WebSocket connection, by result (established, not_websocket, or why it was refused).",
		}, []string{"result"}),
		closes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_closes_total",
			Help: "WebSocket connections that ended, by reason.",
		}, []string{"reason"}),
		received: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_frames_received_total",
			Help: "Messages from clients, by kind (ping, pong, subscribe, unsubscribe, signin, history, client_event, unsupported, malformed).",
		}, []string{"kind"}),
		clientEvents: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_client_events_total",
			Help: "Client events, by app and result (stored, rejected, rate_limited, unavailable).",
		}, []string{"app", "result"}),
		recalls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_cache_subscriptions_total",
			Help: "Subscriptions to cache channels, by app and what they were given (event, miss, or unavailable: a miss because the log could not be read).",
		}, []string{"app", "result"}),
		histories: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_websocket_histories_total",
			Help: "Questions for history over WebSocket, by app and result (page, not_subscribed, rate_limited, or replay's reason why there is none).",
		}, []string{"app", "result"}),
		pings: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_heartbeat_pings_total",
			Help: "Pings sent to silent clients.",
		}),
		writes: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_socket_writes_total",
			Help: "Writes on sockets; frames per write is what merging achieves.",
		}),
		frames: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_frames_sent_total",
			Help: "WebSocket frames written.",
		}),
		bytes: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_sent_bytes_total",
			Help: "Bytes of WebSocket frames written.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_frames_dropped_total",
			Help: "Frames that waited for a connection when it ended and were not sent.",
		}),
		blocked: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_sockets_blocked",
			Help: "Sockets that are full, each with a goroutine that waits until it can write.",
		}),
	}
}

func (m *metrics) connected(result broker.Reason) { m.connects.WithLabelValues(string(result)).Inc() }

func (m *metrics) closed(why broker.Reason) { m.closes.WithLabelValues(string(why)).Inc() }

func (m *metrics) clientEvent(app broker.AppID, result string) {
	m.clientEvents.WithLabelValues(string(app), result).Inc()
}

func (m *metrics) cached(app broker.AppID, result string) {
	m.recalls.WithLabelValues(string(app), result).Inc()
}

func (m *metrics) history(app broker.AppID, result string) {
	m.histories.WithLabelValues(string(app), result).Inc()
}
