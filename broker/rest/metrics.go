package rest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the API's; labels come from closed sets (the endpoints, the statuses of refusal).
type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	inFlight  prometheus.Gauge
	bodyBytes prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "playhead_http_requests_total",
			Help: "Requests to the HTTP API, by endpoint and status (499: the caller left before the answer).",
		}, []string{"endpoint", "status"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "playhead_http_request_seconds",
			Help:    "Time from a request's headers until its answer, by endpoint.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 14),
		}, []string{"endpoint"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "playhead_http_requests_in_flight",
			Help: "Requests to the HTTP API that have no answer yet.",
		}),
		bodyBytes: f.NewCounter(prometheus.CounterOpts{
			Name: "playhead_http_body_bytes_total",
			Help: "Bytes of request bodies read by the HTTP API.",
		}),
	}
}

func (m *metrics) served(endpoint string, status int, took time.Duration) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(endpoint).Observe(took.Seconds())
}
