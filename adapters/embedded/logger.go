package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// logger hands what the NATS server says to slog. What would end a server of its own (Fatalf) is
// kept for Start to return.
type logger struct {
	to *slog.Logger

	mu   sync.Mutex
	why  error           // guarded by mu; the first fatal line
	last string          // guarded by mu; the last error
	same map[string]bool // guarded by mu; names of other servers that are this one's or another's, too
}

func (l *logger) Noticef(format string, v ...any) { l.to.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.to.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.to.Debug("nats: " + fmt.Sprintf(format, v...)) }

// routine are warnings that nobody can act on: of the password that keeps others out of this process,
// and of what a clustered server does whenever it ends.
var routine = []string{"Plaintext passwords detected", "Metalayer blocking snapshot"}

func (l *logger) Warnf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	level := slog.LevelWarn
	if slices.ContainsFunc(routine, func(begin string) bool { return strings.HasPrefix(text, begin) }) {
		level = slog.LevelDebug
	}
	l.to.Log(context.Background(), level, "nats: "+text)
}

// duplicateName begins, behind who says it, what a server says that finds its own name elsewhere.
const duplicateName = "Remote server has a duplicate name: "

func (l *logger) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.mu.Lock()
	l.last = text
	if _, name, ok := strings.Cut(text, duplicateName); ok {
		if l.same == nil {
			l.same = map[string]bool{}
		}
		l.same[strings.Trim(name, `"`)] = true
	}
	l.mu.Unlock()
	if strings.Contains(text, "Error trying to connect to route") {
		l.to.Warn("nats: " + text) // the other server isn't there; it is tried again
		return
	}
	l.to.Error("nats: " + text)
}

// duplicate reports whether another server was met that has the name.
func (l *logger) duplicate(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.same[name]
}

// lastError returns the last error, "" for none.
func (l *logger) lastError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		l.why = fmt.Errorf(format, v...)
	}
}

// fatal returns the first thing that would have ended the server, or nil.
func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}
