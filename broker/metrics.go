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
	windowEvents  *prometheus.GaugeVec
	windowBytes   *prometheus.GaugeVec
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
		windowEvents: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "playhead_window_events",
			Help: "Newest events kept in memory for returning clients, by app.",
		}, []string{"app"}),
		windowBytes: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "playhead_window_bytes",
			Help: "Memory that they take, by app.",
		}, []string{"app"}),
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

func (m *metrics) tailed(app AppID, e *Event) {
	m.tailEvents.WithLabelValues(string(app)).Inc()
	m.tailLag.Observe(max(0, time.Since(e.Time).Seconds()))
}
