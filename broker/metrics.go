package broker

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the node's; labels come from closed sets (the app ids, the results).
type metrics struct {
	publishes     *prometheus.CounterVec
	appendSeconds prometheus.Histogram
	feeds         prometheus.Gauge
	tailEvents    *prometheus.CounterVec
	tailLag       prometheus.Histogram
	tailBreaks    *prometheus.CounterVec
	subscriptions prometheus.Gauge
	deliveries    prometheus.Counter
	paced         prometheus.Counter
}

// windows tells how large the feeds' windows are when somebody asks. To set gauges for every event
// made fan-out a quarter dearer.
type windows struct {
	node          *Node
	events, bytes *prometheus.Desc
}

func newWindows(n *Node) *windows {
	label := []string{"app"}
	return &windows{
		node:   n,
		events: prometheus.NewDesc("playhead_window_events", "Newest events kept in memory for returning clients, by app.", label, nil),
		bytes:  prometheus.NewDesc("playhead_window_bytes", "Memory that they take, by app.", label, nil),
	}
}

// Describe implements [prometheus.Collector].
func (w *windows) Describe(to chan<- *prometheus.Desc) { to <- w.events; to <- w.bytes }

// Collect implements [prometheus.Collector].
func (w *windows) Collect(to chan<- prometheus.Metric) {
	for _, f := range w.node.standing() {
		events, bytes := f.windowSize()
		to <- prometheus.MustNewConstMetric(w.events, prometheus.GaugeValue, float64(events), string(f.app))
		to <- prometheus.MustNewConstMetric(w.bytes, prometheus.GaugeValue, float64(bytes), string(f.app))
	}
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		publishes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_publishes_total",
			Help: "Events handed to the log, by app and result (stored, unavailable, canceled, error).",
		}, []string{"app", "result"}),
		appendSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_append_seconds",
			Help:    "Time from handing events to the log until it had stored them.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 14),
		}),
		feeds: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_feeds",
			Help: "Apps whose log this node tails.",
		}),
		tailEvents: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_tail_events_total",
			Help: "Events read from the logs' tails, by app.",
		}, []string{"app"}),
		tailLag: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_tail_lag_seconds",
			Help:    "Age of an event when it is fanned out, by the clocks of the node that took it and of this one.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 14),
		}),
		tailBreaks: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_tail_breaks_total",
			Help: "Tails that ended with an error, sending the app's sessions home, by app.",
		}, []string{"app"}),
		subscriptions: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_subscriptions",
			Help: "Subscriptions of this node's connections.",
		}),
		deliveries: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_deliveries_total",
			Help: "Events and notices handed to subscriptions.",
		}),
		paced: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_fanout_waits_total",
			Help: "Times that fan-out waited because the writing on sockets was behind.",
		}),
	}
}

func (m *metrics) published(app AppID, events int, took time.Duration, err error) {
	result := "stored"
	switch {
	case err == nil:
		m.appendSeconds.Observe(took.Seconds())
	case errors.Is(err, ErrUnavailable):
		result = "unavailable"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		result = "canceled"
	default:
		result = "error"
	}
	m.publishes.WithLabelValues(string(app), result).Add(float64(events))
}
