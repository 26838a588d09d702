package integration

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// span is how long each figure is measured for, after a warm-up.
const (
	span   = 5 * time.Second
	warmUp = time.Second
)

// BenchmarkNode measures the real binary from outside, over loopback, and prints its figures as
// tables. Node and clients share the machine's cores: the figures are what a node does next to
// its load, not what it could do alone. Each sub-benchmark takes its own time, whatever
// -benchtime says.
func BenchmarkNode(b *testing.B) {
	var report report
	for _, mode := range []string{"always", "interval"} {
		for _, publishers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("Append/%s/%d", mode, publishers), func(b *testing.B) {
				report.appends = append(report.appends, benchAppend(b, mode, publishers, 1))
			})
		}
		b.Run("Append/"+mode+"/16x10", func(b *testing.B) {
			report.appends = append(report.appends, benchAppend(b, mode, 16, 10))
		})
	}
	for _, l := range []struct{ rate, batch int }{{1_000, 1}, {10_000, 10}} {
		for _, mode := range []string{"always", "interval"} {
			b.Run(fmt.Sprintf("Latency/%s/%d", mode, l.rate), func(b *testing.B) {
				report.latencies = append(report.latencies, benchLatency(b, mode, l.rate, l.batch))
			})
		}
	}
	for _, f := range []fanOut{
		{channels: 1, subscribers: 1_000, window: 1_000, per: 10},
		{channels: 1, subscribers: 10_000, window: 1_000, per: 10},
		{channels: 1_000, subscribers: 10, window: 20_000, per: 100},
		{channels: 1_000, subscribers: 10, window: 20_000, per: 1},
	} {
		b.Run(fmt.Sprintf("FanOut/%dx%d/%d", f.channels, f.subscribers, f.per), func(b *testing.B) {
			saturated := benchFanOut(b, f)
			report.fanOuts = append(report.fanOuts, saturated)
			if f.per <= 10 {
				report.halves = append(report.halves, benchHalf(b, saturated))
			}
		})
	}
	for _, connections := range []int{10_000, 19_000} {
		b.Run(fmt.Sprintf("Idle/%d", connections), func(b *testing.B) {
			report.idles = append(report.idles, benchIdle(b, connections))
		})
	}
	b.Run("More", func(b *testing.B) { report.mores = append(report.mores, benchMore(b)...) })
	fmt.Print(report.String())
}

// benchNode starts a node to measure.
func benchNode(b *testing.B, env ...string) *node {
	b.Helper()
	return startNode(b, nodeConfig{
		Binary: benchBinary(b),
		Env:    append([]string{"LOG_LEVEL=warn", "SHUTDOWN_DRAIN=none"}, env...),
	})
}

// appends is a row: how many events are acknowledged.
type appends struct {
	mode       string
	publishers int
	batch      int     // events in a request
	perSecond  float64 // events
	p50, p99   time.Duration
	cpu        time.Duration // of the node, per event
}

func benchAppend(b *testing.B, mode string, publishers, batch int) appends {
	n := benchNode(b, "SYNC_MODE="+mode)
	one := fmt.Sprintf(`{"name":"n","channel":"news","data":%q}`, strings.Repeat("x", 256))
	request := n.publisher().request("events", one)
	if batch > 1 {
		request = n.publisher().request("batch_events", `{"batch":[`+strings.Repeat(one+",", batch-1)+one+`]}`)
	}
	var counting, over atomic.Bool
	took := make([][]time.Duration, publishers)
	var group sync.WaitGroup
	for i := range publishers {
		w := newWire(b, n)
		group.Go(func() {
			defer w.conn.Close()
			for !over.Load() {
				began := time.Now()
				if err := w.do(request); err != nil {
					b.Error(err)
					return
				}
				if counting.Load() {
					took[i] = append(took[i], time.Since(began))
				}
			}
		})
	}
	time.Sleep(warmUp)
	before, began := n.cpu(), time.Now()
	counting.Store(true)
	time.Sleep(span)
	counting.Store(false)
	elapsed, cpu := time.Since(began), n.cpu()-before
	over.Store(true)
	group.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	if len(all) == 0 {
		b.Fatal("nothing was acknowledged")
	}
	row := appends{
		mode: mode, publishers: publishers, batch: batch,
		perSecond: float64(len(all)*batch) / elapsed.Seconds(),
		p50:       quantile(all, 0.5), p99: quantile(all, 0.99),
		cpu: cpu / time.Duration(len(all)*batch),
	}
	b.ReportMetric(row.perSecond, "events/s")
	b.ReportMetric(0, "ns/op")
	return row
}

// latencies is a row: from the moment an event should be sent to its arrival at a subscriber.
type latencies struct {
	mode          string
	rate, batch   int
	p50, p99, max time.Duration
	cpu           float64 // cores of the node
}

// benchLatency publishes at a rate whatever the node does (open loop): an event that waits because
// former ones are late counts from when it should have been sent.
func benchLatency(b *testing.B, mode string, rate, batch int) latencies {
	n := benchNode(b, "SYNC_MODE="+mode)
	total := int((warmUp + span).Seconds() * float64(rate))
	began := time.Now().Add(200 * time.Millisecond)
	due := func(event int) time.Time {
		return began.Add(time.Duration(event/batch*batch) * time.Second / time.Duration(rate))
	}
	took := make([]time.Duration, total)
	var arrived atomic.Int64
	stop := listen(b, n, "news", func(frame []byte) {
		i := bytes.Index(frame, []byte("#"))
		event, err := strconv.Atoi(string(frame[i+1 : i+9]))
		if err != nil {
			b.Errorf("frame %s", frame)
			return
		}
		if took[event] != 0 {
			b.Errorf("event %d arrived twice", event)
		}
		took[event] = time.Since(due(event))
		arrived.Add(1)
	})
	defer stop()

	// The requests are made beforehand: their signing is not what is measured.
	requests := make([][]byte, total/batch)
	p := n.publisher()
	pad := strings.Repeat("x", 247)
	for r := range requests {
		var events []publication
		for i := range batch {
			events = append(events, publication{"news", "n", fmt.Sprintf("#%08d%s", r*batch+i, pad)})
		}
		body, err := json.Marshal(map[string]any{"batch": events})
		if err != nil {
			b.Fatal(err)
		}
		requests[r] = p.request("batch_events", string(body))
	}
	began = time.Now().Add(100 * time.Millisecond)

	var next atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		w := newWire(b, n)
		group.Go(func() {
			defer w.conn.Close()
			for {
				r := int(next.Add(1)) - 1
				if r >= len(requests) {
					return
				}
				time.Sleep(time.Until(due(r * batch)))
				if err := w.do(requests[r]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(time.Until(began.Add(warmUp)))
	before := n.cpu()
	time.Sleep(time.Until(began.Add(warmUp + span)))
	cpu := n.cpu() - before
	group.Wait()
	await(b, "every event arrived", func() bool {
		return b.Failed() || arrived.Load() == int64(total)
	})
	if b.Failed() {
		b.FailNow()
	}
	measured := slices.Sorted(slices.Values(took[int(warmUp.Seconds()*float64(rate)):]))
	row := latencies{
		mode: mode, rate: rate, batch: batch,
		p50: quantile(measured, 0.5), p99: quantile(measured, 0.99), max: measured[len(measured)-1],
		cpu: cpu.Seconds() / span.Seconds(),
	}
	b.ReportMetric(float64(row.p50.Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(row.p99.Microseconds())/1e3, "p99-ms")
	b.ReportMetric(0, "ns/op")
	return row
}

// fanOut says who listens to what, and its outcome is a row.
type fanOut struct {
	channels    int
	subscribers int // of each channel
	window      int // events on their way at most; the clients must keep up
	per         int // events in a request

	perSecond float64       // deliveries
	cpu       time.Duration // of the node, per delivery; publishing and storing included
	cores     float64       // of the node
	clients   float64       // cores of the publishers and subscribers
}

// benchFanOut publishes as fast as all subscribers can be served, and proves that none missed an
// event.
func benchFanOut(b *testing.B, f fanOut) fanOut {
	n := benchNode(b, "SYNC_MODE=interval") // it is not the disk that is measured
	count := f.channels * f.subscribers
	s := newSwarm(b, n, count, func(i int) string { return fmt.Sprintf("channel-%d", i%f.channels) })
	p := n.publisher()
	data := strings.Repeat("x", 128)

	// A request is several events to the one channel, or one event to each of several channels.
	var requests [][]byte
	per, publishers := f.per, 4
	if per == 1 {
		publishers = 16
	}
	if f.channels == 1 {
		one := fmt.Sprintf(`{"name":"n","channel":"channel-0","data":%q}`, data)
		requests = [][]byte{p.request("batch_events", `{"batch":[`+strings.Repeat(one+",", per-1)+one+`]}`)}
	} else {
		for first := 0; first < f.channels; first += per {
			var names []string
			for i := range per {
				names = append(names, fmt.Sprintf(`"channel-%d"`, first+i))
			}
			requests = append(requests, p.request("events", fmt.Sprintf(`{"name":"n","channels":[%s],"data":%q}`, strings.Join(names, ","), data)))
		}
	}

	var published atomic.Int64 // events whose request was begun
	sent := make([]atomic.Int64, len(requests))
	var over atomic.Bool
	var group sync.WaitGroup
	for i := range publishers {
		w := newWire(b, n)
		group.Go(func() {
			defer w.conn.Close()
			for turn := i; !over.Load(); turn++ {
				behind := func() bool {
					return published.Load()-s.events.Load()/int64(f.subscribers) > int64(f.window)
				}
				for behind() {
					if s.firstFault.Load() != nil {
						return
					}
					time.Sleep(100 * time.Microsecond)
				}
				published.Add(int64(per))
				if err := w.do(requests[turn%len(requests)]); err != nil {
					b.Error(err)
					return
				}
				sent[turn%len(requests)].Add(int64(max(1, per/f.channels)))
			}
		})
	}
	time.Sleep(warmUp)
	before, own, events, began := n.cpu(), cpuOf(b, os.Getpid()), s.events.Load(), time.Now()
	time.Sleep(span)
	cpu, delivered, elapsed := n.cpu()-before, s.events.Load()-events, time.Since(began)
	own = cpuOf(b, os.Getpid()) - own
	over.Store(true)
	group.Wait()
	s.check(b)
	total := published.Load() * int64(f.subscribers)
	await(b, "everything delivered", func() bool {
		s.check(b)
		return b.Failed() || s.events.Load() >= total
	})
	// Counters of the members are read after the loop has handed over through the total.
	s.stop()
	if got := s.events.Load(); got != total {
		b.Errorf("%d deliveries, want %d", got, total)
	}
	for i, m := range s.members {
		if want := sent[i%f.channels/per].Load(); m.frames-2 != want {
			b.Fatalf("subscriber %d got %d of %d events", i, m.frames-2, want)
		}
	}
	f.perSecond = float64(delivered) / elapsed.Seconds()
	f.cpu = cpu / time.Duration(max(1, delivered))
	f.cores = cpu.Seconds() / elapsed.Seconds()
	f.clients = own.Seconds() / elapsed.Seconds()
	b.ReportMetric(f.perSecond, "deliveries/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(delivered)/1e3, "cpu-µs/delivery")
	b.ReportMetric(0, "ns/op")
	return f
}

// half is a row: what deliveries cost, and how long they take, at half the rate that is possible.
type half struct {
	fanOut
	p50, p99 time.Duration // from when an event should have been sent to its arrival
}

// benchHalf publishes at half the rate that a saturated node came to, one event a request, whatever
// the node does: an event that waits because former ones are late counts from when it should have
// been sent. Ten thousand subscribers at a time are too many to look at each of their events.
func benchHalf(b *testing.B, f fanOut) half {
	n := benchNode(b, "SYNC_MODE=interval")
	rate := f.perSecond / float64(f.subscribers) / 2
	total := int((warmUp + span).Seconds() * rate)
	p := n.publisher()
	pad := strings.Repeat("x", 119)
	requests := make([][]byte, total)
	for i := range requests {
		requests[i] = p.request("events", fmt.Sprintf(`{"name":"n","channel":"channel-%d","data":"#%08d%s"}`, i%f.channels, i, pad))
	}
	var began time.Time // set before anything is published
	due := func(event int) time.Time {
		return began.Add(time.Duration(float64(event) / rate * float64(time.Second)))
	}
	count := f.channels * f.subscribers
	every := 1
	if f.channels == 1 {
		every = count / 50
	}
	skip := int(warmUp.Seconds() * rate)
	took := make([]time.Duration, 0, total*f.subscribers/every) // of the swarm's loop
	s := newSwarmSampled(b, n, count, func(i int) string { return fmt.Sprintf(`{"channel":"channel-%d"}`, i%f.channels) }, every,
		func(_ *member, frame []byte) {
			i := bytes.IndexByte(frame, '#')
			if i < 0 {
				return
			}
			event, err := strconv.Atoi(string(frame[i+1 : i+9]))
			if err != nil {
				b.Errorf("frame %s", frame)
				return
			}
			if event >= skip {
				took = append(took, time.Since(due(event)))
			}
		})
	began = time.Now().Add(100 * time.Millisecond)
	var next atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		w := newWire(b, n)
		group.Go(func() {
			defer w.conn.Close()
			for {
				i := int(next.Add(1)) - 1
				if i >= total {
					return
				}
				time.Sleep(time.Until(due(i)))
				if err := w.do(requests[i]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(time.Until(began.Add(warmUp)))
	before, own, events, since := n.cpu(), cpuOf(b, os.Getpid()), s.events.Load(), time.Now()
	time.Sleep(time.Until(began.Add(warmUp + span)))
	cpu, delivered, elapsed := n.cpu()-before, s.events.Load()-events, time.Since(since)
	own = cpuOf(b, os.Getpid()) - own
	group.Wait()
	want := int64(total) * int64(f.subscribers)
	await(b, "everything delivered", func() bool {
		s.check(b)
		return b.Failed() || s.events.Load() >= want
	})
	s.stop() // took is read after the loop
	if got := s.events.Load(); got != want {
		b.Errorf("%d deliveries, want %d", got, want)
	}
	slices.Sort(took)
	h := half{fanOut: f, p50: quantile(took, 0.5), p99: quantile(took, 0.99)}
	h.perSecond = float64(delivered) / elapsed.Seconds()
	h.cpu = cpu / time.Duration(max(1, delivered))
	h.cores, h.clients = cpu.Seconds()/elapsed.Seconds(), own.Seconds()/elapsed.Seconds()
	return h
}

// idle is a row: what connections cost that only listen.
type idle struct {
	connections int
	bytes       float64       // resident, per connection
	inUse       float64       // of it heap and stacks in use after a collection
	goroutines  float64       // per connection, after it was pinged
	base        int64         // resident bytes without them
	connect     time.Duration // CPU of the node, per connection
}

func benchIdle(b *testing.B, connections int) idle {
	// It pings while it is measured: those who are idle are pinged, and that must leave nothing behind.
	n := benchNode(b, "WEBSOCKET_PING_AFTER=15s")
	// One subscriber first: what the app needs once is not a connection's cost.
	newSwarm(b, n, 1, func(int) string { return "idle" })
	empty, emptyUse := n.settle(b)
	cpu := n.cpu()
	goroutines := n.metric(b, "go_goroutines")
	newSwarm(b, n, connections, func(i int) string { return fmt.Sprintf("idle-%d", i%100) })
	cpu = n.cpu() - cpu
	row := idle{connections: connections, base: empty, connect: cpu / time.Duration(connections)}
	await(b, "everybody was pinged", func() bool {
		return n.metric(b, "playhead_heartbeat_pings_total") >= float64(connections)
	})
	full, fullUse := n.settle(b)
	row.goroutines = (n.metric(b, "go_goroutines") - goroutines) / float64(connections)
	row.bytes = float64(full-empty) / float64(connections)
	row.inUse = (fullUse - emptyUse) / float64(connections)
	b.ReportMetric(row.bytes, "B/connection")
	b.ReportMetric(0, "ns/op")
	return row
}

// more is a row: what connections cost that have more than one public subscription.
type more struct {
	what  string
	bytes float64 // resident, each
}

// benchMore measures what ten more subscriptions each and being a member of a presence channel take.
func benchMore(b *testing.B) []more {
	const connections, channels = 10_000, 10
	var rows []more
	for _, m := range []struct {
		what    string
		each    int
		message func(n *node, m *member, i int) string
	}{
		{"additional subscription", channels, func(_ *node, m *member, i int) string {
			return fmt.Sprintf(`{"event":"pusher:subscribe","data":{"channel":"more-%d-%d"}}`, i, m.number%100)
		}},
		{"presence member", 1, func(n *node, m *member, _ int) string {
			ch, data := fmt.Sprintf("presence-%d", m.number%200), fmt.Sprintf(`{"user_id":"user-%d","user_info":{"name":"n"}}`, m.number)
			return fmt.Sprintf(`{"event":"pusher:subscribe","data":{"channel":%q,"auth":%q,"channel_data":%q}}`,
				ch, n.publisher().auth(m.socket, ch, data), data)
		}},
	} {
		n := benchNode(b)
		var answered atomic.Int64
		s := newSwarmOf(b, n, connections, func(i int) string { return fmt.Sprintf(`{"channel":"idle-%d"}`, i%100) },
			func(_ *member, frame []byte) {
				if bytes.Contains(frame, []byte("subscription_succeeded")) {
					answered.Add(1)
				}
			})
		without, _ := n.settle(b)
		for i := range m.each {
			s.send(b, func(member *member) string { return m.message(n, member, i) })
			await(b, m.what+": answered", func() bool {
				s.check(b)
				return answered.Load() >= connections*int64(i+2)
			})
		}
		with, _ := n.settle(b)
		s.stop() // its files are wanted for the next
		rows = append(rows, more{m.what, float64(with-without) / connections / float64(m.each)})
	}
	return rows
}

// auth signs a subscription to a presence channel.
func (p *publisher) auth(socket, channel, data string) string {
	mac := hmac.New(sha256.New, []byte(p.secret))
	fmt.Fprintf(mac, "%s:%s:%s", socket, channel, data)
	return p.key + ":" + hex.EncodeToString(mac.Sum(nil))
}

// request returns the bytes of a signed request; it may be sent again for ten minutes.
func (p *publisher) request(what, body string) []byte {
	path := "/apps/" + p.app + "/" + what
	return fmt.Appendf(nil, "POST %s?%s HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, p.sign(http.MethodPost, path, []byte(body)), len(body), body)
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))]
}
