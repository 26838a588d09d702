package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

// outageTick is how often it is looked whether an outage is over.
const outageTick = 100 * time.Millisecond

// Health returns nil while Redis answers, in a cluster each master; else why not, and for how long.
func (m *Medium) Health() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.downSince.IsZero() {
		return nil
	}
	return fmt.Errorf("%w: Redis is not well since %v: %w", broker.ErrUnavailable, time.Since(m.downSince).Round(time.Millisecond), m.down)
}

// Outage returns for how long Redis hasn't been well, 0 while it is.
func (m *Medium) Outage() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.downSince.IsZero() {
		return 0
	}
	return max(time.Since(m.downSince), 1)
}

// watch looks at Redis until ctx ends.
func (m *Medium) watch(ctx context.Context) {
	m.metrics.up.Set(1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-m.look:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
		err := m.cfg.Client.answers(bounded)
		cancel()
		if ctx.Err() != nil {
			return
		}
		next := m.cfg.Heartbeat
		if m.note(began, err) {
			next = outageTick
		}
		timer.Reset(next)
	}
}

// note keeps what a look has found, and reports whether Redis is down.
func (m *Medium) note(began time.Time, err error) bool {
	m.mu.Lock()
	was := m.downSince
	m.down = err
	switch {
	case err != nil && was.IsZero():
		m.downSince = began
	case err == nil:
		m.downSince = time.Time{}
	}
	m.mu.Unlock()
	switch {
	case err != nil && was.IsZero():
		m.metrics.up.Set(0)
		m.cfg.Logger.Warn("Redis doesn't answer as it should; publishing and subscribing wait for it", "err", err)
	case err == nil && !was.IsZero():
		outage := time.Since(was)
		m.metrics.up.Set(1)
		m.metrics.outages.Observe(outage.Seconds())
		m.cfg.Logger.Info("Redis answers again", "dur", outage)
	}
	return err != nil
}

// answers checks that Redis does; of a cluster that all slots have a master and each master answers.
func (c *Client) answers(ctx context.Context) error {
	cluster := c.cluster()
	if cluster == nil {
		return c.rdb.Ping(ctx).Err()
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, node *goredis.Client) error {
		info, err := node.ClusterInfo(ctx).Result()
		if err != nil {
			return err
		}
		if !strings.Contains(info, "cluster_state:ok") {
			return errors.New("the cluster is down: " + field(info, "cluster_state") + ", " + field(info, "cluster_slots_ok") + " of 16384 slots are well")
		}
		return nil
	})
}

// field returns a value of what INFO and CLUSTER INFO answer.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
