package streams_test

import (
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
func relay(t *testing.T, r *rig, domain string, replica func(page []*nats.Msg) []*nats.Msg) {
	t.Helper()
	nc := r.connect()
	prefix := "$JS." + domain + ".API."
	_, err := nc.Subscribe(prefix+">", func(m *nats.Msg) {
		subject := "$JS.API." + strings.TrimPrefix(m.Subject, prefix)
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
		})
	}
}

// A leader that ends before the range does can't call it complete.
func TestRangeBeyondTheEnd(t *testing.T) {
	t.Parallel()
	s := newRig(t, time.Second).streams(interval)
	appendAll(t, s, event("app", "a"), event("app", "a"))
	n := 0
	var last error
	for e, err := range s.Range(soon(t), "app", "a", 0, 3) {
		if last = err; err == nil {
			n++
			_ = e
		}
	}
	if n != 2 || last == nil || !strings.Contains(last.Error(), "ends at 2") {
		t.Errorf("%d events, then %v", n, last)
	}
}
