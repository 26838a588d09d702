package broker_test

import (
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
)

func TestAppCached(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	for name, tt := range map[string]struct {
		ttl, age, want time.Duration
		none           bool
	}{
		"none":                  {none: true},
		"default":               {want: 30 * time.Minute},
		"default, half over":    {age: 10 * time.Minute, want: 20 * time.Minute},
		"default, over":         {age: 30 * time.Minute},
		"configured":            {ttl: time.Minute, age: 20 * time.Second, want: 40 * time.Second},
		"configured, long over": {ttl: time.Minute, age: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &broker.App{CacheTTL: tt.ttl}
			e := &broker.Event{Time: now.Add(-tt.age)}
			if tt.none {
				e = nil
			}
			if got := a.Cached(e, now); got != tt.want {
				t.Errorf("cached for %v, want %v", got, tt.want)
			}
		})
	}
}
