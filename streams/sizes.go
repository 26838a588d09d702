package streams

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
	"github.com/prometheus/client_golang/prometheus"
)

// size is what a stream held when it was last looked at.
type size struct {
	events, bytes uint64
	oldest        time.Time // when the oldest event was stored; zero when there is none
	leader        string    // the server that leads the stream; empty where there is only one
}

// sizes are the metrics of what the apps' streams hold. A scrape shows what was last seen and asks
// nobody, so it can't be held up; ages are those of the moment of the scrape.
type sizes struct {
	events, bytes, age *prometheus.Desc

	mu   sync.Mutex
	last map[broker.AppID]size // guarded by mu
}

func newSizes(r prometheus.Registerer) *sizes {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"app"}, nil)
	}
	s := &sizes{
		events: desc("playhead_stream_events", "Events the app's stream holds."),
		bytes:  desc("playhead_stream_bytes", "Bytes the app's stream holds."),
		age:    desc("playhead_stream_oldest_age_seconds", "Age of the oldest event the app's stream holds; 0 when it holds none."),
		last:   map[broker.AppID]size{},
	}
	r.MustRegister(s)
	return s
}

func (s *sizes) set(app broker.AppID, z size) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[app] = z
}

func (s *sizes) drop(app broker.AppID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, app)
}

// Describe implements [prometheus.Collector].
func (s *sizes) Describe(descs chan<- *prometheus.Desc) {
	descs <- s.events
	descs <- s.bytes
	descs <- s.age
}

// Collect implements [prometheus.Collector].
func (s *sizes) Collect(metrics chan<- prometheus.Metric) {
	for app, z := range s.snapshot() {
		age := 0.0
		if !z.oldest.IsZero() {
			age = max(0, time.Since(z.oldest).Seconds())
		}
		gauge := func(desc *prometheus.Desc, value float64) {
			// The only error is of an id that is no text, which the scrape does without.
			if m, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, value, string(app)); err == nil {
				metrics <- m
			}
		}
		gauge(s.events, float64(z.events))
		gauge(s.bytes, float64(z.bytes))
		gauge(s.age, age)
	}
}

// snapshot copies what is known: metrics must not be handed over with the lock held.
func (s *sizes) snapshot() map[broker.AppID]size {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.last)
}

// Leader is which server leads the stream of an app.
type Leader struct {
	App    broker.AppID
	Server string
}

// Leaders returns, in the order of the apps, who leads the streams of those that are in use here, as of the
// last look at each. Streams of a server that is alone have no leader and are left out.
func (s *Streams) Leaders() []Leader {
	var all []Leader
	for app, z := range s.metrics.sizes.snapshot() {
		if z.leader != "" {
			all = append(all, Leader{app, z.leader})
		}
	}
	slices.SortFunc(all, func(a, b Leader) int { return strings.Compare(string(a.App), string(b.App)) })
	return all
}

// surveyPace lies between two streams that are looked at, so that thousands cost a few percent of a
// core.
const surveyPace = 5 * time.Millisecond

// survey looks at the streams of the apps used here, one after the other, until ctx ends.
func (s *Streams) survey(ctx context.Context) {
	if s.cfg.Survey < 0 {
		return
	}
	for pause(ctx, s.cfg.Survey) {
		for _, st := range s.used() {
			if !s.cfg.Read.IsConnected() {
				break
			}
			info, err := st.info(ctx, s.read)
			if err == nil {
				_, err = st.replicate(ctx, s.read, info) // servers may have come
			}
			switch {
			case errors.Is(err, jetstream.ErrStreamNotFound):
				s.metrics.sizes.drop(st.app)
			case err != nil && ctx.Err() == nil:
				s.cfg.Logger.Debug("no look at a stream", "app", st.app, "err", err)
			}
			if !pause(ctx, surveyPace) {
				return
			}
		}
	}
}

// used returns the streams of the apps that are in use here.
func (s *Streams) used() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*stream, 0, len(s.apps))
	for _, st := range s.apps {
		if !st.forgotten {
			all = append(all, st)
		}
	}
	return all
}

// weigh takes note of what a stream holds, if its app is in use here.
func (s *Streams) weigh(st *stream, info *jetstream.StreamInfo) {
	state := &info.State
	z := size{events: state.Msgs, bytes: state.Bytes}
	if info.Cluster != nil {
		z.leader = info.Cluster.Leader
	}
	if state.Msgs > 0 {
		z.oldest = state.FirstTime
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.apps[st.app] == st && !st.forgotten {
		s.metrics.sizes.set(st.app, z)
	}
}

// Forget leaves an app out of the metrics of what streams hold, until it is used again. Nothing else
// is forgotten: an app that is gone may come back.
func (s *Streams) Forget(app broker.AppID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.apps[app]; st != nil {
		st.forgotten = true
		s.metrics.sizes.drop(app)
	}
}
