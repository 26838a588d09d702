package embedded

import (
	"fmt"
	"log/slog"
	"sync"
)

// logger hands what the NATS server says to slog. What would end a server of its own (Fatalf) is
// kept for Start to return.
type logger struct {
	to *slog.Logger

	mu  sync.Mutex
	why error // guarded by mu; the first fatal line
}

func (l *logger) Noticef(format string, v ...any) { l.to.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.to.Warn("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any)  { l.to.Error("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.to.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.to.Debug("nats: " + fmt.Sprintf(format, v...)) }

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
