package webhook

import (
	"sync/atomic"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the webhooks'; labels come from closed sets (the app ids, the events, the results).
type metrics struct {
	queued   *prometheus.CounterVec
	events   *prometheus.CounterVec
	attempts *prometheus.CounterVec
	seconds  prometheus.Histogram
	age      prometheus.Histogram
	dropped  *prometheus.CounterVec
	backlog  *prometheus.GaugeVec
	workers  prometheus.Gauge

	unlogged atomic.Int64 // dropped since that was logged last
}

// What became of an event.
const (
	delivered  = "delivered"
	suppressed = "suppressed" // taken back within the delay, or in the queue only to take back
	buried     = "dead"
)

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		queued: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_webhook_queued_total",
			Help: "Events handed to the queue, once for each endpoint, by app and event.",
		}, []string{"app", "event"}),
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_webhook_events_total",
			Help: "Events that left the queue, by app, event and result (delivered, suppressed, dead).",
		}, []string{"app", "event", "result"}),
		attempts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_webhook_attempts_total",
			Help: "Requests to endpoints, by app and result (delivered, refused, redirected, timeout, unreachable).",
		}, []string{"app", "result"}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_webhook_attempt_seconds",
			Help:    "Time of one request.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 10),
		}),
		age: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_webhook_age_seconds",
			Help:    "Age of an event when it was delivered.",
			Buckets: prometheus.ExponentialBuckets(0.01, 3, 12),
		}),
		dropped: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_webhook_dropped_total",
			Help: "What never came into the queue, by app and reason (buffer_full, queue_full, shutdown).",
		}, []string{"app", "reason"}),
		backlog: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "playhead_webhook_backlog",
			Help: "Events in the queue when it was last looked at, by app.",
		}, []string{"app"}),
		workers: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_webhook_workers",
			Help: "Endpoints that this node delivers to, or waits to.",
		}),
	}
}

func (m *metrics) drop(app broker.AppID, reason string, n int) {
	m.dropped.WithLabelValues(string(app), reason).Add(float64(n))
	m.unlogged.Add(int64(n))
}

// takeDropped returns how many were dropped since it was called last.
func (m *metrics) takeDropped() int64 { return m.unlogged.Swap(0) }

func (m *metrics) waiting(backlog []broker.Backlog) {
	m.backlog.Reset()
	for _, b := range backlog {
		m.backlog.WithLabelValues(string(b.App)).Add(float64(b.Letters))
	}
}

// settled takes note of what became of entries.
func (m *metrics) settled(app broker.AppID, entries []*entry, result string) {
	for _, e := range entries {
		m.events.WithLabelValues(string(app), e.name, result).Inc()
		if result == delivered {
			m.age.Observe(max(0, time.Since(e.letter.Time).Seconds()))
		}
	}
}
