package boot

import (
	"log/slog"
	"math"
)

// descriptors is how the files that this process may have open are shared out. A socket is one of
// them: without shares a crowd of clients would take those that the streams are written to.
type descriptors struct {
	doors    int // connections that the clients' port may have at once; 0: any number
	sessions int // how many of them may be WebSockets; 0: any number
}

// What is set aside. A stream in use has a file or two open, of a cluster's servers twice as many; the
// rest is for the medium, webhooks, metrics, and what nobody has thought of. Requests, and clients that
// are told to come back later, hold a connection only briefly.
const (
	filesAtLeast  = 64
	filesAtMost   = 512
	filesOfAnApp  = 3
	briefAtLeast  = 4
	briefAtMost   = 256
	noDescriptors = math.MaxInt32 // more than a kernel gives a process
)

// share shares out a limit among the doors and the files of so many apps; 0 is no limit.
func share(limit uint64, apps int) descriptors {
	if limit == 0 || limit > noDescriptors {
		return descriptors{}
	}
	all := int(limit)
	files := max(filesAtLeast, min(all/4, filesAtMost+filesOfAnApp*apps))
	doors := max(all-files, 2*briefAtLeast)
	return descriptors{doors: doors, sessions: doors - max(briefAtLeast, min(doors/8, briefAtMost))}
}

// claimDescriptors raises the limit of open files as far as it goes and shares it out. wanted is the
// number of WebSockets that is configured; 0 is any.
func claimDescriptors(wanted, apps int, logger *slog.Logger) descriptors {
	limit, err := raiseDescriptors()
	d := share(limit, apps)
	switch {
	case err != nil:
		logger.Warn("descriptor limit can't be raised", "limit", limit, "connections", d.sessions, "err", err)
	case d.sessions > 0 && wanted > d.sessions:
		logger.Warn("descriptor limit allows fewer connections than websocket.max_connections: raise it (ulimit -n, LimitNOFILE)",
			"limit", limit, "connections", d.sessions, "wanted", wanted)
	case d.sessions > 0:
		logger.Info("descriptor limit, which bounds the connections", "limit", limit, "connections", d.sessions)
	}
	if wanted > 0 && (d.sessions == 0 || wanted < d.sessions) {
		d.sessions = wanted
	}
	return d
}
