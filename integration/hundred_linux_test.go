package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The environment of a process of clients.
const (
	crowdPort    = "PLAYHEAD_CROWD_PORT"
	crowdMembers = "PLAYHEAD_CROWD_MEMBERS"
	crowdEvents  = "PLAYHEAD_CROWD_EVENTS"
)

// crowdReport is what a process of clients says in the end: what all its members were given.
type crowdReport struct {
	Events                   int64 // deliveries
	Lost, Doubled, Reordered int64
	Times                    *hdrhistogram.Snapshot // of deliveries, in microseconds
	CPU                      time.Duration
}

func newTimes() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3)
}

// TestHundredThousand holds PLAYHEAD_SOAK_CONNECTIONS connections at each of six nodes of one cluster,
// as many client processes, publishes to all of them, and counts at each. `task soak:100k` has 19,000
// each, about what a process with 20,000 descriptors can hold; by itself it is a short form.
func TestHundredThousand(t *testing.T) {
	const nodes = 6
	members := setting("PLAYHEAD_SOAK_CONNECTIONS", 100)
	events := setting("PLAYHEAD_SOAK_EVENTS", 20)
	each := time.Duration(setting("PLAYHEAD_SOAK_MS", 50)) * time.Millisecond // between events

	all := startNodes(t, nodes, nodeConfig{Binary: benchBinary(t), Env: []string{"LOG_LEVEL=warn", "SHUTDOWN_DRAIN=none"}})
	var before []int64
	for _, n := range all {
		before = append(before, n.resident(t))
	}
	began := time.Now()
	var crowds []*crowd
	for _, n := range all {
		crowds = append(crowds, startCrowd(t, n, members, events))
	}
	for _, c := range crowds {
		c.expect("subscribed")
	}
	opening := time.Since(began)
	for i, n := range all {
		now := n.resident(t)
		t.Logf("node %d: %d MiB resident with %d connections (%d MiB before), %.2f s of CPU, %.2f ms per connection",
			i+1, now>>20, members, before[i]>>20, n.cpu().Seconds(), n.cpu().Seconds()*1e3/float64(members))
	}
	t.Logf("%d connections open and subscribed in %.1f s", nodes*members, opening.Seconds())

	publishers := make([]*publisher, nodes)
	for i, n := range all {
		publishers[i] = n.publisher()
	}
	sending := time.Now()
	for k := range events {
		if wait := time.Until(sending.Add(time.Duration(k) * each)); wait > 0 {
			time.Sleep(wait)
		}
		data := fmt.Sprintf("soak %d %d .", k, time.Now().UnixNano())
		answer, err := publishers[k%nodes].publish(t.Context(), "all", "soak", data)
		if err != nil || answer.status != 200 {
			t.Fatalf("event %d: %v %+v", k, err, answer)
		}
	}

	times := newTimes()
	var sum crowdReport
	for _, c := range crowds {
		r := c.report()
		sum.Events += r.Events
		sum.Lost += r.Lost
		sum.Doubled += r.Doubled
		sum.Reordered += r.Reordered
		sum.CPU += r.CPU
		times.Merge(hdrhistogram.Import(r.Times))
	}
	ms := func(q float64) float64 { return float64(times.ValueAtQuantile(q)) / 1e3 }
	t.Logf("%d events to %d clients, one per %v: %d deliveries, p50 %.1f ms, p99 %.1f ms, max %.1f ms; the clients used %.1f s of CPU",
		events, nodes*members, each, sum.Events, ms(50), ms(99), float64(times.Max())/1e3, sum.CPU.Seconds())
	t.Logf("%d lost, %d doubled, %d reordered", sum.Lost, sum.Doubled, sum.Reordered)
	if want := int64(events * nodes * members); sum.Lost+sum.Doubled+sum.Reordered > 0 || sum.Events != want {
		t.Errorf("%d deliveries, want %d; %d lost, %d doubled, %d reordered", sum.Events, want, sum.Lost, sum.Doubled, sum.Reordered)
	}
	for i, n := range all {
		t.Logf("node %d: %d MiB resident in the end, %.1f s of CPU in all", i+1, n.resident(t)>>20, n.cpu().Seconds())
	}
	for _, c := range crowds {
		c.end()
	}
}

// crowd is a process of clients: this test's own program, told to be TestCrowd.
type crowd struct {
	t     *testing.T
	in    io.WriteCloser
	lines *bufio.Scanner
	wait  func() error
	errs  *output
}

func startCrowd(t *testing.T, n *node, members, events int) *crowd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrowd$", "-test.timeout=30m")
	cmd.Env = append(os.Environ(),
		fmt.Sprint(crowdPort, "=", n.cfg.Port), fmt.Sprint(crowdMembers, "=", members), fmt.Sprint(crowdEvents, "=", events),
		"GORACE=atexit_sleep_ms=0")
	dieWithTest(cmd)
	c := &crowd{t: t, errs: &output{}}
	cmd.Stderr = c.errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(out)
	c.lines.Buffer(nil, 64<<20)
	c.wait = sync.OnceValue(func() error {
		for c.lines.Scan() { // or it would wait for us to read
		}
		return cmd.Wait()
	})
	t.Cleanup(func() {
		c.in.Close()
		_ = c.wait() // the test has failed already, or knows
	})
	return c
}

// line returns what the crowd says behind a word; the testing package prints too.
func (c *crowd) line(word string) []byte {
	c.t.Helper()
	var said []byte
	for c.lines.Scan() {
		if rest, ok := bytes.CutPrefix(c.lines.Bytes(), []byte("crowd "+word)); ok {
			return rest
		}
		said = append(append(said, c.lines.Bytes()...), '\n')
	}
	c.t.Fatalf("a process of clients ended before it was %s: %s%s", word, said, c.errs)
	return nil
}

func (c *crowd) expect(word string) {
	c.t.Helper()
	c.line(word)
}

// report has the crowd wait for everything, and count.
func (c *crowd) report() (r crowdReport) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, "report\n"); err != nil {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal(c.line("report"), &r); err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *crowd) end() {
	c.t.Helper()
	c.in.Close()
	if err := c.wait(); err != nil {
		c.t.Errorf("a process of clients: %v: %s", err, c.errs)
	}
}

// TestCrowd is not a test but the process that [startCrowd] starts.
func TestCrowd(t *testing.T) {
	port, err := strconv.Atoi(os.Getenv(crowdPort))
	if err != nil {
		t.Skip("it is a part of TestHundredThousand")
	}
	members, events := setting(crowdMembers, 1), setting(crowdEvents, 1)
	var r crowdReport
	times := newTimes()
	seen := make([][]bool, members) // by member and number
	last := make([]int, members)
	for i := range seen {
		seen[i], last[i] = make([]bool, events), -1
	}
	// All is the loop's until it has stopped.
	take := func(m *member, frame []byte) {
		_, rest, ok := bytes.Cut(frame, []byte("soak "))
		if !ok {
			return // the answer to the subscription
		}
		fields := bytes.Fields(rest)
		if len(fields) < 3 {
			return // it counts as lost
		}
		k, err := strconv.Atoi(string(fields[0]))
		sent, err2 := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil || err2 != nil || k < 0 || k >= events {
			return // it counts as lost
		}
		switch {
		case seen[m.number][k]:
			r.Doubled++
		case k < last[m.number]:
			r.Reordered++
		default:
			last[m.number] = k
		}
		seen[m.number][k] = true
		r.Events++
		if err := times.RecordValue(max(1, (time.Now().UnixNano()-sent)/1_000)); err != nil {
			t.Error(err)
		}
	}
	n := &node{tb: t, cfg: nodeConfig{Port: port}}
	s := newSwarmOf(t, n, members, func(int) string { return `{"channel":"all"}` }, take)
	fmt.Println("crowd subscribed")
	in := bufio.NewScanner(os.Stdin)
	if !in.Scan() {
		return // the test is over
	}
	// What isn't here after a while without news is lost.
	want, quiet := int64(members*events), time.Now()
	for before := int64(-1); s.events.Load() < want && time.Since(quiet) < patience; time.Sleep(10 * time.Millisecond) {
		if now := s.events.Load(); now != before {
			before, quiet = now, time.Now()
		}
	}
	time.Sleep(500 * time.Millisecond) // for what is one too many
	s.check(t)
	s.halt()
	for _, one := range seen {
		for _, k := range one {
			if !k {
				r.Lost++
			}
		}
	}
	r.Times, r.CPU = times.Export(), cpuOf(t, os.Getpid())
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("crowd report%s\n", text)
	in.Scan() // until the test lets go
}
