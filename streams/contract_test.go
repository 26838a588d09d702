package streams_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
	"github.com/playhead/playhead/streams"
)

func TestContract(t *testing.T) {
	t.Parallel()
	for name, sync := range map[string]struct {
		interval time.Duration
		change   func(*streams.Config)
	}{
		"always":   {0, func(*streams.Config) {}},
		"interval": {time.Second, interval},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sync.interval)
			one, other := r.streams(sync.change), r.streams(sync.change)
			js := r.jetStream()
			open := func(*testing.T) brokertest.Medium {
				return brokertest.Medium{
					Log: one, Other: other, Cache: one, History: one,
					Forget: func(t *testing.T, app broker.AppID, upto uint64) { forget(t, js, app, upto) },
				}
			}
			brokertest.TestLog(t, open)
			brokertest.TestCache(t, open)
			brokertest.TestHistory(t, open)
		})
	}
}

// forget lets a stream trim its head, as it does when it is over a limit, by lowering one.
func forget(t *testing.T, js jetstream.JetStream, app broker.AppID, upto uint64) {
	t.Helper()
	handle, err := js.Stream(soon(t), "playhead_"+string(app))
	if err != nil {
		t.Fatal(err)
	}
	before, low := handle.CachedInfo().Config, handle.CachedInfo().Config
	if end := handle.CachedInfo().State.LastSeq; upto < end {
		low.MaxMsgs = int64(end - upto)
	} else {
		low.MaxAge, low.Duplicates = 100*time.Millisecond, 100*time.Millisecond
	}
	if _, err := js.UpdateStream(soon(t), low); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream forgets", func() bool {
		info, err := handle.Info(soon(t))
		return err == nil && info.State.FirstSeq == upto+1
	})
	if _, err := js.UpdateStream(soon(t), before); err != nil {
		t.Fatal(err)
	}
}
