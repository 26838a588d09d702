package redis

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the medium's; the only labels are app ids.
type metrics struct {
	gaps     *prometheus.CounterVec
	lines    prometheus.Gauge
	failures prometheus.Counter
	up       prometheus.Gauge
	outages  prometheus.Histogram
	events   prometheus.Histogram
	foreign  prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		gaps: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_redis_tail_gaps_total",
			Help: "How often events of an app in use may have been missed: the connection that listens was lost, or Redis moved the app elsewhere, or its reader was too slow.",
		}, []string{"app"}),
		lines: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_redis_listening_connections",
			Help: "Connections that listen: one, in a cluster one to each master that has an app in use.",
		}),
		failures: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_redis_listening_failures_total",
			Help: "Connections that listen which were lost, or couldn't be made.",
		}),
		up: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_redis_up",
			Help: "1 while Redis answers, in a cluster all of its masters.",
		}),
		outages: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_redis_outage_seconds",
			Help:    "How long Redis did not answer, or a cluster not as a whole, until it did again: what a failover takes.",
			Buckets: []float64{.1, .25, .5, 1, 2, 3, 5, 7.5, 10, 15, 30, 60, 300},
		}),
		events: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_redis_message_events",
			Help:    "Events published as one message.",
			Buckets: []float64{1, 2, 5, 10, 25, 50, 100, 250, 500},
		}),
		foreign: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_redis_foreign_total",
			Help: "Messages that were passed over because no node of this version wrote them.",
		}),
	}
}
