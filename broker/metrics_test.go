package broker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/prometheus/client_golang/prometheus"
)

// values returns the counters and gauges of a registry, and the counts of its histograms, by name
// and labels.
func values(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			switch {
			case m.GetCounter() != nil:
				all[name] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				all[name] = m.GetGauge().GetValue()
			default:
				all[name] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		memory := &brokertest.Memory{}
		log := &brokertest.Faulty{Log: memory}
		n, _ := run(t, broker.Config{Log: log, Registerer: reg})
		f, _ := feed(t, n, app)
		_, one := subscribe(t, f, ch, "1.1")
		_, two := subscribe(t, f, ch, "1.2")
		subscribe(t, f, "other", "1.1")
		publish(t, n, ch, "1", "2")
		synctest.Wait()
		one.Close()
		one.Close()
		log.FailAppends(1, brokertest.NotStored)
		if err := n.Publish(t.Context(), &broker.Event{App: app, Channel: ch}); err == nil {
			t.Error("no error")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := n.Publish(ended, &broker.Event{App: app, Channel: ch}); err == nil {
			t.Error("no error")
		}
		want := map[string]float64{
			"playhead_append_seconds":                 2,
			"playhead_deliveries_total":               4,
			"playhead_fanout_waits_total":             0,
			"playhead_feeds":                          1,
			"playhead_publishes_total 42 stored":      2,
			"playhead_publishes_total 42 unavailable": 1,
			"playhead_publishes_total 42 canceled":    1,
			"playhead_subscriptions":                  2,
			"playhead_tail_events_total 42":           2,
			"playhead_tail_lag_seconds":               2,
			"playhead_window_events 42":               2,
			"playhead_window_bytes 42":                654,
		}
		if diff := cmp.Diff(want, values(t, reg)); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
		memory.Break(app, errors.New("cut"))
		synctest.Wait()
		two.Close() // its feed is gone, it is counted out all the same
		have := values(t, reg)
		if have["playhead_tail_breaks_total 42"] != 1 || have["playhead_feeds"] != 0 || have["playhead_subscriptions"] != 1 {
			t.Errorf("after a tail broke: %v", have)
		}
		if n, there := have["playhead_window_bytes 42"]; there {
			t.Errorf("after a tail broke its window has %v bytes", n)
		}
	})
}
