package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/playhead/playhead/adapters/redis"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/brokertest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	for name, config := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, other := newMedium(t, config(t)), newMedium(t, config(t))
			open := func(*testing.T) brokertest.Medium {
				return brokertest.Medium{Log: one, Other: other, Cache: one}
			}
			t.Run("Log", func(t *testing.T) { brokertest.TestLog(t, open) })
			t.Run("Cache", func(t *testing.T) { brokertest.TestCache(t, open) })
		})
	}
}

// history is a presence log with what a history has beside that; nodes don't need it.
type history struct{ *redis.PresenceLog }

func (h history) At(ctx context.Context, app broker.AppID, serial uint64) (*broker.Event, error) {
	_, newest, err := h.Bounds(ctx, app)
	if err != nil || serial == 0 || serial > newest.Serial {
		return nil, err
	}
	for e, err := range h.Range(ctx, app, "", serial-1, serial) {
		return e, err
	}
	return nil, nil
}

func (h history) Since(ctx context.Context, app broker.AppID, since time.Time) (uint64, error) {
	_, newest, err := h.Bounds(ctx, app)
	if err != nil {
		return 0, err
	}
	for e, err := range h.Range(ctx, app, "", 0, newest.Serial) {
		if err != nil {
			return 0, err
		}
		if !e.Time.Before(since) {
			return e.Position.Serial - 1, nil
		}
	}
	return newest.Serial, nil
}

func TestPresenceLogContract(t *testing.T) {
	t.Parallel()
	for name, config := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, other := newPresenceLog(t, config(t)), newPresenceLog(t, config(t))
			open := func(*testing.T) brokertest.Medium {
				return brokertest.Medium{Log: one, Other: other, Cache: one, History: history{one}, Forget: one.Forget}
			}
			t.Run("Log", func(t *testing.T) { brokertest.TestLog(t, open) })
			t.Run("Cache", func(t *testing.T) { brokertest.TestCache(t, open) })
			t.Run("History", func(t *testing.T) { brokertest.TestHistory(t, open) })
		})
	}
}

func newPresenceLog(t testing.TB, client redis.ClientConfig, edit ...func(*redis.PresenceLogConfig)) *redis.PresenceLog {
	t.Helper()
	cfg := redis.PresenceLogConfig{Client: newClient(t, client)}
	for _, e := range edit {
		e(&cfg)
	}
	l, err := redis.NewPresenceLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
