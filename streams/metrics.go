package streams

import (
	"time"

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
	reading      prometheus.Gauge
	readSeconds  prometheus.Histogram
	events       *prometheus.GaugeVec
	bytes        *prometheus.GaugeVec
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
		reading: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_stream_reads",
			Help: "Reads in flight.",
		}),
		readSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "playhead_stream_read_seconds",
			Help:    "Time of one read of one page or one event, waiting for a turn included.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 3, 11),
		}),
		events: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "playhead_stream_events",
			Help: "Events the app's stream held when it was last looked at.",
		}, []string{"app"}),
		bytes: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "playhead_stream_bytes",
			Help: "Bytes the app's stream held when it was last looked at.",
		}, []string{"app"}),
	}
}

func (m *metrics) read(started time.Time) {
	m.reading.Dec()
	m.readSeconds.Observe(time.Since(started).Seconds())
}
