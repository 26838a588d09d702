package streams_test

import (
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
	"github.com/prometheus/client_golang/prometheus"
)

// sample returns what a scrape shows of a counter or gauge, of an app where it has one; −1 for nothing.
func sample(t testing.TB, reg *prometheus.Registry, name string, app broker.AppID) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if labels := m.GetLabel(); app != "" && (len(labels) != 1 || labels[0].GetValue() != string(app)) {
				continue
			}
			if m.GetCounter() != nil {
				return m.GetCounter().GetValue()
			}
			return m.GetGauge().GetValue()
		}
	}
	return -1
}

// What the metrics show is of now, though this node asks for nothing and another one appends; ages
// grow by themselves.
func TestSizes(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	reg := prometheus.NewRegistry()
	s := r.streams(interval, func(c *streams.Config) { c.Registerer, c.Survey = reg, 10*time.Millisecond })
	other := r.streams(interval)
	events := func(app broker.AppID) float64 { return sample(t, reg, "playhead_stream_events", app) }
	age := func() float64 { return sample(t, reg, "playhead_stream_oldest_age_seconds", "app") }
	follow(t, s, "app")
	// A look that began before the stream was there may end after it.
	eventually(t, "an empty stream shows", func() bool { return events("app") == 0 && age() == 0 })
	appendAll(t, other, event("app", "a"), event("app", "a"), event("app", "a"), event("foreign", "a"))
	eventually(t, "what another node appended shows", func() bool { return events("app") == 3 })
	if n := sample(t, reg, "playhead_stream_bytes", "app"); n < 300 || n > 3000 {
		t.Errorf("%v bytes", n)
	}
	if n := events("foreign"); n != -1 {
		t.Errorf("an app that isn't used here has %v events", n)
	}
	if first, second := age(), age(); first <= 0 || second <= first || second > 30 {
		t.Errorf("the oldest event is %v s old, and then %v s", first, second)
	}

	s.Forget("app")
	s.Forget("never")
	if n := events("app"); n != -1 {
		t.Errorf("a forgotten app has %v events", n)
	}
	if err := s.Adapt(soon(t), "app", "foreign"); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, event("used", "a"))
	eventually(t, "a round has passed", func() bool { return events("used") == 1 })
	if n, m := events("app"), events("foreign"); n != -1 || m != -1 {
		t.Errorf("forgotten and foreign apps have %v and %v events", n, m)
	}
	appendAll(t, s, event("app", "a"))
	eventually(t, "an app that is used again shows", func() bool { return events("app") == 4 })

	if err := r.jetStream().DeleteStream(soon(t), "playhead_app"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a stream that is gone shows no more", func() bool { return events("app") == -1 })
}

// A scrape shows what was last seen while the server is away, and the rounds go on when it is back.
func TestSizesOverARestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	reg := prometheus.NewRegistry()
	s := r.streams(interval, func(c *streams.Config) { c.Registerer, c.Survey = reg, 10*time.Millisecond })
	appendAll(t, s, event("app", "a"))
	events := func() float64 { return sample(t, reg, "playhead_stream_events", "app") }
	eventually(t, "it shows", func() bool { return events() == 1 })
	r.stop()
	started := time.Now()
	if n, took := events(), time.Since(started); n != 1 || took > time.Second {
		t.Errorf("%v events while the server is away, after %v", n, took)
	}
	r.start()
	appendAll(t, r.streams(interval), event("app", "a"))
	eventually(t, "it shows what came since", func() bool { return events() == 2 })
}

func TestNoSurvey(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	reg := prometheus.NewRegistry()
	s := r.streams(interval, func(c *streams.Config) { c.Registerer, c.Survey = reg, -1 })
	appendAll(t, s, event("app", "a")) // the stream is looked at before
	if n := sample(t, reg, "playhead_stream_events", "app"); n != 0 {
		t.Errorf("%v events, want what the stream had when it was made", n)
	}
	if _, _, err := s.Bounds(soon(t), "app"); err != nil {
		t.Fatal(err)
	}
	if n := sample(t, reg, "playhead_stream_events", "app"); n != 1 {
		t.Errorf("%v events, want what the stream had when it was asked for", n)
	}
}
