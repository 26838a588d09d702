package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	comebackChannels = 500
	comebackMissed   = 20 // events per channel
)

// comeback is a row: how long it takes until all are whole again.
type comeback struct {
	clients  int
	took     time.Duration // from the first connect to the last playhead:replayed
	connect  time.Duration // of it, until the last connection was accepted and its subscribe sent
	cpu      time.Duration // of the node
	resident int64         // bytes of the node when all were whole
}

// BenchmarkComeback measures the storm after a restart: a node is killed and started again, and all its
// clients come back as fast as they can, each with a place behind which twenty events were missed. It
// fails unless each is given exactly those, in order, and then what is published next.
func BenchmarkComeback(b *testing.B) {
	r := report{comebacks: []comeback{benchComeback(b, 10_000)}}
	fmt.Print(r.String())
}

func benchComeback(b *testing.B, clients int) comeback {
	n := benchNode(b)
	channel := func(i int) string { return fmt.Sprintf("comeback-%d", i%comebackChannels) }
	place := mustDial(b, n, true).mustSubscribe(b, channel(0), nil).Position

	p := n.publisher()
	var names []string
	for i := range comebackChannels {
		names = append(names, channel(i))
	}
	publish := func(number int) {
		for first := 0; first < len(names); first += 100 {
			body, err := json.Marshal(map[string]any{
				"name": "n", "channels": names[first : first+100],
				"data": fmt.Sprintf("#%02d%s", number, strings.Repeat("x", 197)),
			})
			if err != nil {
				b.Fatal(err)
			}
			if err := newWire(b, n).do(p.request("events", string(body))); err != nil {
				b.Fatal(err)
			}
		}
	}
	for number := range comebackMissed {
		publish(number)
	}
	n.kill()
	n.start()

	next := make([]int, clients) // what each member is to get next; owned by the swarm's loop
	var whole, live atomic.Int64
	var fault atomic.Pointer[string]
	wrong := func(m *member, frame []byte) {
		text := fmt.Sprintf("client %d, after %d events: %.300s", m.number, next[m.number], frame)
		fault.CompareAndSwap(nil, &text)
	}
	answer := fmt.Appendf(nil, `"resume":{"recovered":true,"count":%d}`, comebackMissed)
	each := func(m *member, frame []byte) {
		at := next[m.number]
		switch {
		case m.frames == 2:
			if !bytes.Contains(frame, answer) {
				wrong(m, frame)
			}
		case bytes.Contains(frame, []byte(`"playhead:replayed"`)):
			if at != comebackMissed {
				wrong(m, frame)
			}
			whole.Add(1)
		case !bytes.Contains(frame, fmt.Appendf(nil, `"#%02d`, at)):
			wrong(m, frame)
		default:
			next[m.number]++
			if at == comebackMissed {
				live.Add(1)
			}
		}
	}
	check := func() {
		if text := fault.Load(); text != nil {
			b.Fatal(*text)
		}
	}
	cpu, began := n.cpu(), time.Now()
	s := newSwarmOf(b, n, clients, func(i int) string {
		return fmt.Sprintf(`{"channel":%q,"resume":{"position":%q}}`, channel(i), place)
	}, each)
	connected := time.Since(began)
	await(b, "all whole again", func() bool {
		check()
		s.check(b)
		return whole.Load() == int64(clients)
	})
	row := comeback{
		clients: clients, took: time.Since(began), connect: connected,
		cpu: n.cpu() - cpu, resident: n.resident(b),
	}
	publish(comebackMissed)
	await(b, "all live", func() bool {
		check()
		s.check(b)
		return live.Load() == int64(clients)
	})
	s.stop()
	check()
	b.ReportMetric(row.took.Seconds(), "s")
	b.ReportMetric(0, "ns/op")
	return row
}
