package ws

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/playhead/playhead/broker"
)

// sumStep is in which steps a queue counts in with the sum, bytes. So a queue that holds less, as
// nearly all do, leaves alone what all queues share.
const sumStep = 4 << 10

// sum is what waits in all queues together, in whole steps of each.
type sum struct {
	most  int64         // bytes over which the fullest queues are closed; 0: any
	bytes atomic.Int64  // that wait
	over  chan struct{} // there may be more than most
}

// add counts bytes in, or out. It never blocks.
func (s *sum) add(n int) {
	if s.bytes.Add(int64(n)) > s.most && s.most > 0 && n > 0 {
		poke(s.over)
	}
}

// tight reports whether more than half of what may wait does.
func (s *sum) tight() bool { return s.most > 0 && 2*s.bytes.Load() > s.most }

// shed closes the connections for which most waits until an eighth of what may wait is free. Whoever
// reads has next to nothing in its queue, so it is the slow readers that go, the slowest first.
func (srv *Server) shed() {
	over := srv.sum.bytes.Load() - srv.sum.most
	if over <= 0 {
		return
	}
	type load struct {
		session *session
		bytes   int
	}
	var loads []load
	for _, s := range srv.heartbeat.sessions() {
		if n := s.conn.queue.size(); n >= sumStep && !s.conn.queue.closed() {
			loads = append(loads, load{s, n})
		}
	}
	slices.SortFunc(loads, func(a, b load) int { return cmp.Compare(b.bytes, a.bytes) })
	free := over + srv.sum.most/8
	closed := 0
	for _, l := range loads {
		if free <= 0 {
			break
		}
		l.session.Close(QueuesFull)
		free -= int64(l.bytes)
		closed++
	}
	if closed > 0 {
		srv.cfg.Logger.Warn("too much waits for slow connections, the slowest are closed", "connections", closed, "bytes", srv.sum.most+over)
	}
}

// closesEmpty reports whether what still waits for a connection goes when it is closed for a reason.
// What a client that reads too slowly has not read yet it will not read in time; dropping it frees the
// memory now and lets the code through.
func closesEmpty(why broker.Reason) bool {
	return why == SlowReader || why == QueuesFull || why == broker.GateOverflow
}
