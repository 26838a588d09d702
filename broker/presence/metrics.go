package presence

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	channels prometheus.Gauge
	members  prometheus.Gauge
	online   prometheus.Gauge
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
	}
}
