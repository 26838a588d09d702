package streams

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the streams'; labels come from closed sets (the app ids, the kinds).
type metrics struct {
	commitEvents prometheus.Histogram
	resends      prometheus.Counter
	created      prometheus.Counter
	tailResumes  prometheus.Counter
	foreign      prometheus.Counter
	reads        prometheus.Gauge
	readsWaiting prometheus.Gauge
	readSeconds  prometheus.Histogram
	sizes        *sizes
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		commitEvents: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_stream_commit_events",
			Help:    "Events stored by one acknowledgement of the stream.",
			Buckets: []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000},
		}),
		resends: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_stream_resends_total",
			Help: "Events sent to their stream again because an acknowledgement did not come.",
		}),
		created: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_streams_created_total",
			Help: "Streams this node made.",
		}),
		tailResumes: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_stream_tail_resumes_total",
			Help: "Times a tail went on after its last event: a hole, a silence, a lost connection, another leader.",
		}),
		foreign: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_stream_foreign_messages_total",
			Help: "Messages read from streams that are not events, and were passed over.",
		}),
		reads: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_stream_reads",
			Help: "Reads in flight.",
		}),
		readsWaiting: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_stream_reads_waiting",
			Help: "Reads that wait for their turn.",
		}),
		readSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_stream_read_seconds",
			Help:    "Time of one read of one page or one event, waiting for a turn included.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 3, 11),
		}),
		sizes: newSizes(r),
	}
}
