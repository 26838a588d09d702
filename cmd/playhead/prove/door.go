package prove

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// door is the load balancer: it brings each connection to the next node that is up, and knows nothing
// of what is said over it.
type door struct {
	*link
	nodes []string // host:port

	mu   sync.Mutex
	up   []bool // guarded by mu
	next int    // guarded by mu
}

const (
	probeEvery   = 200 * time.Millisecond
	probeTimeout = time.Second
)

func newDoor(addr string, nodes []string) (*door, error) {
	d := &door{nodes: nodes, up: make([]bool, len(nodes))}
	var err error
	if d.link, err = newLink(addr, d.choose); err != nil {
		return nil, err
	}
	return d, nil
}

// run carries connections, and probes the nodes, until ctx ends.
func (d *door) run(ctx context.Context) {
	var probing sync.WaitGroup
	for i := range d.nodes {
		probing.Go(func() { d.probe(ctx, i) })
	}
	d.link.run(ctx)
	probing.Wait()
}

// choose lists the nodes that are up, each time beginning with another one.
func (d *door) choose() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	var up []string
	for i := range d.nodes {
		n := (d.next + i) % len(d.nodes)
		if d.up[n] {
			up = append(up, d.nodes[n])
		}
	}
	return up
}

// allUp reports whether all nodes are.
func (d *door) allUp() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, up := range d.up {
		if !up {
			return false
		}
	}
	return true
}

// probe asks a node whether it is up, as load balancers do.
func (d *door) probe(ctx context.Context, node int) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	asker := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: probeTimeout}
	for {
		up := isUp(ctx, asker, d.nodes[node])
		d.mu.Lock()
		d.up[node] = up
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func isUp(ctx context.Context, asker *http.Client, node string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+node+"/up", nil)
	if err != nil {
		return false
	}
	res, err := asker.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}
