package presence

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	channels prometheus.Gauge
	members  prometheus.Gauge
	online   prometheus.Gauge

	nodes    prometheus.Gauge
	restarts prometheus.Counter
	buried   prometheus.Counter
	entries  *prometheus.CounterVec
	waiting  prometheus.Gauge
	lag      prometheus.Gauge
	state    prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		channels: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_channels_occupied",
			Help: "Channels with at least one subscription.",
		}),
		members: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_presence_members",
			Help: "Users in presence channels, counted once per channel.",
		}),
		online: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_users_online",
			Help: "Users with at least one signed-in connection.",
		}),
		nodes: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_cluster_nodes",
			Help: "Nodes that live, this one included, as far as is known here; 0 while this one isn't among them or is alone.",
		}),
		restarts: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_cluster_restarts_total",
			Help: "How often this node was taken for dead, or lost the log of who is where, and started over.",
		}),
		buried: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_cluster_buried_total",
			Help: "Dead nodes whose connections this node has taken away.",
		}),
		entries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_cluster_entries_total",
			Help: "Appends to the log of who is where, by result.",
		}, []string{"result"}),
		waiting: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_cluster_changes_waiting",
			Help: "Changes of who is where that wait to be appended.",
		}),
		lag: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_cluster_lag_seconds",
			Help: "Time between the last entry of the log of who is where, by its node's clock, and its folding here.",
		}),
		state: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_cluster_state_bytes",
			Help: "Size of the last state of all nodes that was written here.",
		}),
	}
}
