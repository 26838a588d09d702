package replay

import (
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the replayer's; labels come from closed sets (the app ids, the results).
type metrics struct {
	replays     *prometheus.CounterVec
	events      *prometheus.CounterVec
	seconds     prometheus.Histogram
	pages       *prometheus.CounterVec
	lookups     *prometheus.CounterVec
	extensions  *prometheus.CounterVec
	waiting     *prometheus.GaugeVec
	reading     prometheus.Gauge
	waitSeconds prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		replays: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_replays_total",
			Help: "Clients that returned, or joined with a past, by app and result (recovered, canceled, or the reason why not).",
		}, []string{"app", "result"}),
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_replayed_events_total",
			Help: "Events found for them, by app.",
		}, []string{"app"}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_replay_seconds",
			Help:    "Time from a client's question for what it missed until the answer, waiting for a turn included.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 3, 14),
		}),
		pages: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_pages_total",
			Help: "Pages of history, by app and result (read, canceled, or the reason why not).",
		}, []string{"app", "result"}),
		lookups: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_window_lookups_total",
			Help: "Questions for events, by app, that were answered from the window in memory (hit), or not (miss).",
		}, []string{"app", "result"}),
		extensions: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_window_extensions_total",
			Help: "Reads that put older events into an app's window because many asked for them.",
		}, []string{"app"}),
		waiting: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "playhead_replay_waiting",
			Help: "Questions that wait for their turn to read the log, by app.",
		}, []string{"app"}),
		reading: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_replay_reading",
			Help: "Questions that have their turn.",
		}),
		waitSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_replay_wait_seconds",
			Help:    "Time from asking for a turn to read the log until having it, or giving up.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 3, 14),
		}),
	}
}

func (m *metrics) answered(app broker.AppID, outcome string, events int, took time.Duration) {
	m.replays.WithLabelValues(string(app), outcome).Inc()
	m.events.WithLabelValues(string(app)).Add(float64(events))
	m.seconds.Observe(took.Seconds())
}

// looked counts a question by where its answer came from, if there is a memory.
func (m *metrics) looked(app broker.AppID, recent Recent, hit bool) {
	if recent == nil {
		return
	}
	result := "miss"
	if hit {
		result = "hit"
	}
	m.lookups.WithLabelValues(string(app), result).Inc()
}
