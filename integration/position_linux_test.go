package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// positionCost is a row: what it costs to be told where an event stands.
type positionCost struct {
	mode         string
	plain, asked time.Duration // median of a publish
	ratio        float64       // of the node's CPU, asked to plain
}

// BenchmarkPosition compares publishes with and without info=position on one node, in turns of a
// thousand, so that whatever else the machine does falls on both alike.
func BenchmarkPosition(b *testing.B) {
	var r report
	for _, mode := range []string{"always", "interval"} {
		b.Run(mode, func(b *testing.B) { r.positions = append(r.positions, benchPosition(b, mode)) })
	}
	fmt.Print(r.String())
}

func benchPosition(b *testing.B, mode string) positionCost {
	const turns, turn = 20, 1_000
	n := benchNode(b, "SYNC_MODE="+mode)
	w := newWire(b, n)
	defer w.conn.Close()
	data := strings.Repeat("x", 256)
	requests := [2][]byte{
		n.publisher().request("events", fmt.Sprintf(`{"name":"n","channel":"news","data":%q}`, data)),
		n.publisher().request("events", fmt.Sprintf(`{"name":"n","channel":"news","data":%q,"info":"position"}`, data)),
	}
	var took [2][]time.Duration
	var cpu [2]time.Duration
	for t := range turns {
		for i := range requests {
			i = (i + t) % 2 // neither is always first
			before := n.cpu()
			for range turn {
				began := time.Now()
				if err := w.do(requests[i]); err != nil {
					b.Fatal(err)
				}
				took[i] = append(took[i], time.Since(began))
			}
			cpu[i] += n.cpu() - before
		}
	}
	row := positionCost{mode: mode, ratio: cpu[1].Seconds() / cpu[0].Seconds()}
	slices.Sort(took[0])
	slices.Sort(took[1])
	row.plain, row.asked = quantile(took[0], 0.5), quantile(took[1], 0.5)
	b.ReportMetric(float64(row.asked)/float64(row.plain), "asked/plain")
	b.ReportMetric(0, "ns/op")
	return row
}
