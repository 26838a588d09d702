package redis

import (
	"context"
	"strconv"
	"testing"

	"github.com/playhead/playhead/broker"
)

// Forget lets the log forget everything up to a serial.
func (l *PresenceLog) Forget(t *testing.T, app broker.AppID, upto uint64) {
	t.Helper()
	stream, _ := l.keys(app)
	if err := l.cfg.Client.rdb.XTrimMinID(context.Background(), stream, strconv.FormatUint(upto+1, 10)).Err(); err != nil {
		t.Fatal(err)
	}
}

// StreamKey and HeadKey are where an app's log is.
func (l *PresenceLog) StreamKey(app broker.AppID) string { s, _ := l.keys(app); return s }
func (l *PresenceLog) HeadKey(app broker.AppID) string   { _, h := l.keys(app); return h }

// Channel is where an app's events are published.
func (m *Medium) Channel(app broker.AppID) string { return m.channel(app) }
