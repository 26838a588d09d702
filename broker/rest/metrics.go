package rest

import (
	"net/http"
	"strconv"
	"sync"
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

// endpointMetrics are those of one endpoint, each looked up when it is first needed and kept.
type endpointMetrics struct {
	requests *prometheus.CounterVec    // with the status left
	ok       func() prometheus.Counter // the requests answered 200
	seconds  func() prometheus.Observer
}

func (m *metrics) of(endpoint string) *endpointMetrics {
	requests := m.requests.MustCurryWith(prometheus.Labels{"endpoint": endpoint})
	return &endpointMetrics{
		requests: requests,
		ok:       sync.OnceValue(func() prometheus.Counter { return requests.WithLabelValues(strconv.Itoa(http.StatusOK)) }),
		seconds:  sync.OnceValue(func() prometheus.Observer { return m.seconds.WithLabelValues(endpoint) }),
	}
}

func (m *endpointMetrics) served(status int, took time.Duration) {
	if status == http.StatusOK {
		m.ok().Inc()
	} else {
		m.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	}
	m.seconds().Observe(took.Seconds())
}
