package integration

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stalled is a subscriber that stops reading once it is subscribed, until it is told to read on.
type stalled struct {
	conn net.Conn
	in   *bufio.Reader
}

// newStalled connects one, whose kernel takes next to nothing for it, and subscribes it.
func newStalled(tb testing.TB, n *node, channels ...string) *stalled {
	tb.Helper()
	dialer := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) // with more it only takes longer
		})
	}}
	conn, err := dialer.Dial("tcp", n.addr())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	s := &stalled{conn, bufio.NewReaderSize(conn, 512)}
	request := []byte(handshake)
	for _, channel := range channels {
		request = append(request, clientFrame(0x1, fmt.Appendf(nil, `{"event":"pusher:subscribe","data":{"channel":%q}}`, channel))...)
	}
	_ = conn.SetDeadline(time.Now().Add(patience)) // an error shows in what follows
	if _, err := conn.Write(request); err != nil {
		tb.Fatal(err)
	}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		tb.Fatalf("no upgrade: %v, %v", resp, err)
	}
	for range 1 + len(channels) {
		if _, payload, err := s.next(); err != nil || !bytes.Contains(payload, []byte(`"event":"pusher`)) {
			tb.Fatalf("subscribe: %s, %v", payload, err)
		}
	}
	return s
}

// next reads a frame.
func (s *stalled) next() (opcode byte, payload []byte, err error) {
	var head []byte
	length, whole := int64(0), false
	for !whole {
		b, err := s.in.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		head = append(head, b)
		length, whole = frameLength(head)
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(s.in, payload)
	return head[0] & 0x0f, payload, err
}

// readOn reads what there still is: numbered events, and why the connection was closed.
func (s *stalled) readOn() (events []int, said string, code uint16, err error) {
	_ = s.conn.SetDeadline(time.Now().Add(patience)) // an error shows in what follows
	for {
		opcode, payload, err := s.next()
		switch {
		case err != nil:
			return events, said, code, err
		case opcode == 0x8 && len(payload) >= 2:
			code = binary.BigEndian.Uint16(payload)
		case opcode == 0x1 && bytes.Contains(payload, []byte(`"pusher:error"`)):
			said = string(payload)
		case opcode == 0x1:
			number, err := numberIn(payload)
			if err != nil {
				return events, said, code, err
			}
			events = append(events, number)
		}
	}
}

// numbered is the data of an event, with its number in front, of so many bytes.
func numbered(number, size int) string {
	return fmt.Sprintf("#%08d%s", number, strings.Repeat("x", max(0, size-9)))
}

// numberIn finds it in a frame.
func numberIn(frame []byte) (int, error) {
	_, after, ok := bytes.Cut(frame, []byte("#"))
	if !ok || len(after) < 8 {
		return 0, fmt.Errorf("frame without a number: %.200s", frame)
	}
	return strconv.Atoi(string(after[:8]))
}

// subscribers returns how many subscriptions a channel has.
func subscribers(tb testing.TB, p *publisher, channel string) int {
	tb.Helper()
	path := "/apps/" + p.app + "/channels/" + channel
	query := fmt.Sprintf("auth_key=%s&auth_timestamp=%d&auth_version=1.0&info=subscription_count", p.key, time.Now().Unix())
	resp, err := p.client.Get(p.url + path + "?" + query + "&auth_signature=" + signature(p.secret, "GET\n"+path+"\n"+query))
	if err != nil {
		tb.Fatalf("ask for subscriptions of %s: %v", channel, err)
	}
	defer resp.Body.Close()
	var count struct {
		Subscriptions *int `json:"subscription_count"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&count); err != nil || count.Subscriptions == nil {
		tb.Fatalf("subscriptions of %s: %s, %v", channel, resp.Status, err)
	}
	return *count.Subscriptions
}

// inOrder is what each member of a swarm is to get next. It belongs to the swarm's loop.
type inOrder struct {
	next  []int
	fault atomic.Pointer[string]
}

// take notes an event, and reports its number.
func (o *inOrder) take(m *member, frame []byte) (number int, ok bool) {
	if bytes.Contains(frame, []byte(`"pusher_internal:`)) {
		return 0, false
	}
	number, err := numberIn(frame)
	if err != nil || number != o.next[m.number] {
		text := fmt.Sprintf("member %d is to get event %d: %.200s (%v)", m.number, o.next[m.number], frame, err)
		o.fault.CompareAndSwap(nil, &text)
	}
	o.next[m.number]++
	return number, true
}

func (o *inOrder) check(tb testing.TB) {
	tb.Helper()
	if fault := o.fault.Load(); fault != nil {
		tb.Fatal(*fault)
	}
}

// TestStalledReaders has some of a channel's subscribers stop reading. All others get every event once,
// in order; what waits for the stalled is bounded; and they are closed, and find the reason behind
// what they had been sent when they read on.
func TestStalledReaders(t *testing.T) {
	t.Parallel()
	const (
		healthy, stalling = 450, 50
		queue             = 64 << 10 // WEBSOCKET_QUEUE_BYTES
		size              = 8_000    // of an event
		after             = 10       // events published when all stalled ones are closed
	)
	n := startNode(t, nodeConfig{Env: []string{"WEBSOCKET_QUEUE_BYTES=64KiB", "SHUTDOWN_DRAIN=none"}})
	order := &inOrder{next: make([]int, healthy)}
	s := newSwarmOf(t, n, healthy, func(int) string { return `{"channel":"news"}` },
		func(m *member, frame []byte) { order.take(m, frame) })
	var slow []*stalled
	for range stalling {
		slow = append(slow, newStalled(t, n, "news"))
	}
	p := n.publisher()
	count, most := 0, 0.0
	publish := func() {
		p.mustPublish(t, "news", "n", numbered(count, size))
		count++
		await(t, fmt.Sprintf("all healthy ones have event %d", count), func() bool {
			s.check(t)
			order.check(t)
			return s.events.Load() == int64(count*healthy)
		})
		most = max(most, n.metric(t, "playhead_queue_bytes"))
	}
	for subscribers(t, p, "news") > healthy {
		if count > 1_000 {
			t.Fatalf("%d subscriptions after %d events", subscribers(t, p, "news"), count)
		}
		publish()
	}
	published := count

	var reading sync.WaitGroup
	for i, slow := range slow {
		reading.Go(func() {
			events, said, code, err := slow.readOn()
			_ = slow.conn.Close() // as clients do then
			if code != 4100 || !strings.Contains(said, `"code":4100`) || !errors.Is(err, io.EOF) {
				t.Errorf("stalled %d: closed with %d after %q, then %v; want 4100 and the end", i, code, said, err)
			}
			if len(events) == 0 || len(events) >= published {
				t.Errorf("stalled %d: got %d events of %d", i, len(events), published)
			}
			for want, got := range events {
				if got != want {
					t.Errorf("stalled %d: event %d in the place of %d", i, got, want)
					break
				}
			}
		})
	}
	reading.Wait()
	for range after {
		publish()
	}
	if most > stalling*queue {
		t.Errorf("%v bytes waited in all queues, of which %d may hold %d each", most, stalling, queue)
	}
	await(t, "all stalled ones are gone", func() bool {
		return n.metric(t, `playhead_connections{app="app-id"}`) == healthy
	})
	if got := n.metric(t, `playhead_closes_total{reason="slow_reader"}`); got != stalling {
		t.Errorf("%v closed as too slow, want %d", got, stalling)
	}
	if left := n.metric(t, "playhead_queue_bytes"); left != 0 {
		t.Errorf("%v bytes still wait", left)
	}
	t.Logf("%d events; at most %.0f KiB waited for %d stalled", count, most/1024, stalling)
}

// stall is a row: what readers that don't read do to those who do.
type stall struct {
	healthy, stalled int
	without, with    []time.Duration // of every delivery to a healthy one, sorted
	before, peak     int64           // bytes of the node, without and with stalled ones
	queued           float64         // most that waited in all queues
	bound            int             // what may
}

// BenchmarkStalled measures how long events take to healthy readers, with and without stalled ones
// beside them: while these fill up, are closed, and have gone.
func BenchmarkStalled(b *testing.B) {
	r := report{stalls: []stall{benchStalled(b, 9_000, 1_000)}}
	fmt.Print(r.String())
}

func benchStalled(b *testing.B, healthy, stalling int) stall {
	const (
		perSecond = 10
		quiet     = 6 * perSecond  // events without stalled ones, before and after; the first second warms up
		loaded    = 12 * perSecond // with them
		size      = 256
		queue     = 64 << 10 // WEBSOCKET_QUEUE_BYTES
	)
	n := benchNode(b, "SYNC_MODE=interval", "WEBSOCKET_QUEUE_BYTES=64KiB")
	row := stall{healthy: healthy, stalled: stalling, bound: stalling * queue}
	order := &inOrder{next: make([]int, healthy)}
	var began [3]atomic.Int64 // when a phase began, Unix ns
	firsts := [3]int{0, quiet, quiet + loaded}
	last := quiet + loaded + quiet
	phase := func(number int) int {
		at, found := slices.BinarySearch(firsts[:], number)
		if found {
			return at
		}
		return at - 1
	}
	due := func(number int) time.Time {
		p := phase(number)
		return time.Unix(0, began[p].Load()).Add(time.Duration(number-firsts[p]) * time.Second / perSecond)
	}
	var took [3][]time.Duration // by phase; the loop's until the swarm is stopped
	s := newSwarmOf(b, n, healthy, func(int) string { return `{"channel":"news"}` }, func(m *member, frame []byte) {
		number, ok := order.take(m, frame)
		if ok && number-firsts[phase(number)] >= perSecond {
			p := phase(number)
			took[p] = append(took[p], time.Since(due(number)))
		}
	})
	p := n.publisher()
	requests := make([][]byte, last)
	for i := range requests {
		requests[i] = p.request("events", fmt.Sprintf(`{"name":"n","channel":"news","data":%q}`, numbered(i, size)))
	}
	w := newWire(b, n)
	defer w.conn.Close()
	watch := func() {
		row.peak = max(row.peak, n.resident(b))
		row.queued = max(row.queued, n.metric(b, "playhead_queue_bytes"))
	}
	// play publishes a phase's events, each at its time whatever became of those before.
	play := func(p, until int) {
		began[p].Store(time.Now().Add(50 * time.Millisecond).UnixNano())
		for number := firsts[p]; number < until; number++ {
			time.Sleep(time.Until(due(number)))
			if err := w.do(requests[number]); err != nil {
				b.Fatal(err)
			}
			if number%perSecond == 0 { // to look costs the node something, so it is done in all phases
				watch()
			}
		}
		await(b, "the phase's events are delivered", func() bool {
			s.check(b)
			order.check(b)
			return s.events.Load() == int64(until*healthy)
		})
	}
	play(0, firsts[1])
	row.before = n.resident(b)

	for range stalling {
		newStalled(b, n, "news", "ballast")
	}
	// Their kernels are filled beforehand, and half of their queues, so that all that is to be seen is seen
	// within the phase: queues that grow, and a thousand goodbyes.
	ballast := p.request("events", fmt.Sprintf(`{"name":"n","channel":"ballast","data":%q}`, strings.Repeat("x", 8_000)))
	fill := func() {
		if err := w.do(ballast); err != nil {
			b.Fatal(err)
		}
	}
	await(b, "all stalled sockets are full", func() bool {
		full := n.metric(b, "playhead_sockets_blocked") == float64(stalling)
		if !full {
			fill()
		}
		return full
	})
	for n.metric(b, "playhead_queue_bytes") < float64(row.bound)/2 {
		fill()
		time.Sleep(20 * time.Millisecond)
	}
	play(1, firsts[2])
	if left := subscribers(b, p, "news") - healthy; left != 0 {
		b.Errorf("%d of the stalled are still subscribed", left)
	}
	play(2, last)

	s.stop()
	row.without = slices.Sorted(slices.Values(slices.Concat(took[0], took[2])))
	row.with = slices.Sorted(slices.Values(took[1]))
	b.ReportMetric(quantile(row.with, 0.99).Seconds()/quantile(row.without, 0.99).Seconds(), "p99-ratio")
	b.ReportMetric(0, "ns/op")
	return row
}
