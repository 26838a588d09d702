package replay

import (
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the replayer's; labels come from closed sets (the app ids, the results).
type metrics struct {
	replays *prometheus.CounterVec
	events  *prometheus.CounterVec
	seconds prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		replays: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_replays_total",
			Help: "Returning clients answered, by app and result (recovered, canceled, or the reason why not).",
		}, []string{"app", "result"}),
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_replayed_events_total",
			Help: "Events read for returning clients, by app.",
		}, []string{"app"}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_replay_seconds",
			Help:    "Time from a client's question for what it missed until the answer, waiting for a turn included.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 3, 13),
		}),
	}
}

func (m *metrics) answered(app broker.AppID, outcome string, events int, took time.Duration) {
	m.replays.WithLabelValues(string(app), outcome).Inc()
	m.events.WithLabelValues(string(app)).Add(float64(events))
	m.seconds.Observe(took.Seconds())
}
