package streams_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
)

// relay stands between streams and the server as a JetStream domain of its own. It passes on what
// is asked and lets a replica answer pages as it sees fit.
// It counts how often the leader is asked for a message.
func relay(t *testing.T, r *rig, domain string, replica func(page []*nats.Msg) []*nats.Msg) (asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	nc := r.connect()
	prefix := "$JS." + domain + ".API."
	_, err := nc.Subscribe(prefix+">", func(m *nats.Msg) {
		subject := "$JS.API." + strings.TrimPrefix(m.Subject, prefix)
		if strings.Contains(subject, "STREAM.MSG.GET") {
			asked.Add(1)
		}
		if !strings.Contains(subject, "DIRECT.GET") {
			answer, err := nc.Request(subject, m.Data, 5*time.Second)
			if err == nil {
				err = m.Respond(answer.Data)
			}
			if err != nil {
				t.Errorf("%s: %v", subject, err)
			}
			return
		}
		sub, err := nc.SubscribeSync(nc.NewInbox())
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = sub.Unsubscribe() }()
		if err := nc.PublishRequest(subject, sub.Subject, m.Data); err != nil {
			t.Error(err)
			return
		}
		var page []*nats.Msg
		for len(page) == 0 || page[len(page)-1].Header.Get("Status") == "" {
			part, err := sub.NextMsg(5 * time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			page = append(page, part)
		}
		for _, part := range replica(page) {
			if err := nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: part.Header, Data: part.Data}); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return asked
}

// A range is complete whatever state the replica is in that answers its pages; only how long it
// takes differs.
func TestRangeFromOddReplicas(t *testing.T) {
	t.Parallel()
	nothing := func() []*nats.Msg {
		return []*nats.Msg{{Header: nats.Header{"Status": {"404"}, "Description": {"Message Not Found"}}}}
	}
	// part returns some messages of a page, with an end that says so.
	part := func(page []*nats.Msg, from, upto int) []*nats.Msg {
		upto = min(upto, len(page)-1)
		if from >= upto {
			return nothing()
		}
		end := &nats.Msg{Header: nats.Header{
			"Status": {"204"}, "Description": {"EOB"}, "Nats-Num-Pending": {"0"},
			"Nats-Last-Sequence": {page[upto-1].Header.Get("Nats-Sequence")},
		}}
		return append(append([]*nats.Msg(nil), page[from:upto]...), end)
	}
	for name, replica := range map[string]func(n int64, page []*nats.Msg) []*nats.Msg{
		"good":             func(_ int64, page []*nats.Msg) []*nats.Msg { return page },
		"lags":             func(_ int64, page []*nats.Msg) []*nats.Msg { return part(page, 0, len(page)-8) },
		"lags much":        func(_ int64, page []*nats.Msg) []*nats.Msg { return part(page, 0, 2) },
		"at its beginning": func(int64, []*nats.Msg) []*nats.Msg { return nothing() },
		"forgot more":      func(_ int64, page []*nats.Msg) []*nats.Msg { return part(page, 3, len(page)) },
		"loses one": func(n int64, page []*nats.Msg) []*nats.Msg {
			if n%3 == 1 {
				return page[:max(1, len(page)-2)] // neither the last nor the end comes
			}
			return page
		},
		"changes": func(n int64, page []*nats.Msg) []*nats.Msg { return part(page, int(n)%2, 1+int(n*7)%20) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, time.Second)
			var pages atomic.Int64
			relay(t, r, "odd", func(page []*nats.Msg) []*nats.Msg { return replica(pages.Add(1), page) })
			s := r.streams(interval, func(c *streams.Config) { c.Domain = "odd" })
			var want, others []*broker.Event
			for range 250 {
				want = append(want, event("app", "a"))
			}
			for range 10 {
				others = append(others, event("app", "b"))
			}
			if err := s.Append(soon(t), want[:125]...); err != nil {
				t.Fatal(err)
			}
			appendAll(t, s, others...)
			if err := s.Append(soon(t), want[125:]...); err != nil {
				t.Fatal(err)
			}
			end := want[249].Position.Serial
			same(t, "all", want, stored(t, s, "app", "a", end))
			same(t, "up to before the end", want[:230], stored(t, s, "app", "a", want[230].Position.Serial-1))
			every := slices.Concat(want[:125], others, want[125:])
			same(t, "all of all channels", every, stored(t, s, "app", "", end))
			same(t, "up to before the end of all channels", every[:230], stored(t, s, "app", "", 230))
		})
	}
}

// A page of all channels proves itself, so nobody else is asked, and a gap in it shows.
func TestRangeOfAllChannelsByPages(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		replica func(page []*nats.Msg) []*nats.Msg
		asked   int64 // the leader, how often
	}{
		"good": {func(page []*nats.Msg) []*nats.Msg { return page }, 0},
		"forgets while it reads": {func(page []*nats.Msg) []*nats.Msg {
			return slices.Delete(slices.Clone(page), 5, min(9, len(page)-1))
		}, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, time.Second)
			asked := relay(t, r, "odd", tt.replica)
			s := r.streams(interval, func(c *streams.Config) { c.Domain = "odd" })
			var want []*broker.Event
			for i := range 700 {
				want = append(want, event("app", broker.Channel([]string{"a", "b", "c"}[i%3])))
			}
			if err := s.Append(soon(t), want...); err != nil {
				t.Fatal(err)
			}
			before := asked.Load()
			same(t, "all", want, stored(t, s, "app", "", 700))
			if n := asked.Load() - before; n > tt.asked {
				t.Errorf("the leader was asked %d times", n)
			}
		})
	}
}

// Where the head has been forgotten a range of all channels begins with what is left.
func TestRangeOfAllChannelsAfterTheHead(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	asked := relay(t, r, "odd", func(page []*nats.Msg) []*nats.Msg { return page })
	s := r.streams(interval, func(c *streams.Config) { c.Domain, c.MaxMsgs = "odd", 450 })
	var all []*broker.Event
	for range 1000 {
		all = append(all, event("app", "a"))
	}
	if err := s.Append(soon(t), all...); err != nil {
		t.Fatal(err)
	}
	for _, after := range []uint64{0, 549, 550, 551, 999} {
		before := asked.Load()
		have := 0
		for e, err := range s.Range(soon(t), "app", "", after, 1000) {
			if err != nil {
				t.Fatal(err)
			}
			if want := max(after, 550) + uint64(have) + 1; e.Position.Serial != want {
				t.Fatalf("after %d: serial %d, want %d", after, e.Position.Serial, want)
			}
			have++
		}
		if want := 1000 - int(max(after, 550)); have != want {
			t.Errorf("after %d: %d events, want %d", after, have, want)
		}
		if n := asked.Load() - before; n > 1 || n > 0 && after >= 550 {
			t.Errorf("after %d: the leader was asked %d times", after, n)
		}
	}
	for range s.Range(soon(t), "app", "", 0, 500) {
		t.Fatal("forgotten, and yet there")
	}
}

// A leader that ends before the range does can't call it complete.
func TestRangeBeyondTheEnd(t *testing.T) {
	t.Parallel()
	s := newRig(t, time.Second).streams(interval)
	appendAll(t, s, event("app", "a"), event("app", "a"))
	for _, ch := range []broker.Channel{"a", ""} {
		n := 0
		var last error
		for _, err := range s.Range(soon(t), "app", ch, 0, 3) {
			if last = err; err == nil {
				n++
			}
		}
		if n != 2 || last == nil || !strings.Contains(last.Error(), "ends at 2") {
			t.Errorf("channel %q: %d events, then %v", ch, n, last)
		}
	}
}

// clockSlack is what clocks may differ by, as [streams.Streams.Since] says.
const clockSlack = 5 * time.Second

// The serial is that before the first event stored by then, less what clocks may differ; in a stream
// of many blocks, and where its head is forgotten.
func TestSince(t *testing.T) {
	t.Parallel()
	r := newRig(t, time.Second)
	var own retentions
	s := r.streams(interval, own.put)
	const events = 400
	for range events {
		e := event("app", "a")
		e.Data = make([]byte, 100_000)
		appendAll(t, s, e)
	}
	handle, err := r.jetStream().Stream(soon(t), "playhead_app")
	if err != nil {
		t.Fatal(err)
	}
	storedAt := func(serial uint64) time.Time {
		t.Helper()
		m, err := handle.GetMsg(soon(t), serial)
		if err != nil {
			t.Fatal(err)
		}
		return m.Time
	}
	want := func(at time.Time, serial uint64) {
		t.Helper()
		have, err := s.Since(soon(t), "app", at.Add(clockSlack))
		if err != nil || have != serial {
			t.Errorf("since %v: %d, %v, want %d", at, have, err, serial)
		}
	}
	for serial := uint64(1); serial <= events; serial += 29 {
		at := storedAt(serial)
		want(at, serial-1)
		want(at.Add(1), serial) // no two are stored in one nanosecond
	}
	want(storedAt(1).Add(-time.Hour), 0)
	want(storedAt(events), events-1)
	for _, far := range []time.Time{
		storedAt(events).Add(time.Hour),
		time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		want(far, events)
	}
	for _, long := range []time.Time{{}, time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, 0).Add(-clockSlack)} {
		want(long, 0)
	}
	first := storedAt(1)
	own.set("app", broker.Retention{Events: 100})
	if err := s.Adapt(soon(t), "app"); err != nil {
		t.Fatal(err)
	}
	want(first, events-100)
	want(storedAt(events-50), events-51)
}

// The clock of the node that took an event may differ from the server's.
func TestSinceWithOtherClocks(t *testing.T) {
	t.Parallel()
	s := newRig(t, time.Second).streams(interval)
	for _, ahead := range []time.Duration{-time.Hour, -4 * time.Second, 0, 4 * time.Second} {
		e := event("app", "a")
		e.Time = e.Time.Add(ahead)
		appendAll(t, s, e)
		if serial, err := s.Since(soon(t), "app", e.Time); err != nil || serial >= e.Position.Serial {
			t.Errorf("a clock %v ahead: %d, %v, want less than %d", ahead, serial, err, e.Position.Serial)
		}
	}
}

// While it is asked when the stream was last silent, events come.
func TestSinceAmidAppends(t *testing.T) {
	t.Parallel()
	s := newRig(t, time.Second).streams(interval)
	appendAll(t, s, event("app", "a"))
	for range 300 {
		e := event("app", "a")
		before := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Append(soon(t), e) }()
		serial, err := s.Since(soon(t), "app", before.Add(clockSlack))
		if err := errors.Join(err, <-done); err != nil {
			t.Fatal(err)
		}
		if serial >= e.Position.Serial {
			t.Fatalf("serial %d is not before the event at %d", serial, e.Position.Serial)
		}
	}
}
