package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

// last is the newest backend event of a cache channel, as it is kept.
type last struct {
	key     string
	message []byte
}

// keepAndPublish keeps KEYS[2] and those after it, and publishes to KEYS[1]. A script is one step: who
// hears of an event finds it, or a newer one.
//
// In a cluster it is used with nothing to keep, too: a replica takes a bare SPUBLISH and passes it on to
// its master in its own time, so that a later event may come first. A script it sends to the master.
const keepAndPublish = `for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[2]) end return redis.call('%s', KEYS[1], ARGV[1])`

var (
	keepAndPUBLISH  = fmt.Sprintf(keepAndPublish, "PUBLISH")
	keepAndSPUBLISH = fmt.Sprintf(keepAndPublish, "SPUBLISH")
)

// kept returns what is to be kept of events.
func (m *Medium) kept(events []*broker.Event) []last {
	var all []last
	for _, e := range events {
		if !e.Client && m.cfg.Cached(e.Channel) {
			all = append(all, last{
				key:     m.cfg.Client.key(e.App, "last", string(e.Channel)),
				message: appendEvent([]byte{version}, e),
			})
		}
	}
	return all
}

// publish adds to a pipeline what publishes a parcel.
func (m *Medium) publish(ctx context.Context, pipe goredis.Pipeliner, p *parcel) goredis.Cmder {
	channel := m.channel(p.app)
	if len(p.last) == 0 && !m.cfg.Client.cfg.Cluster {
		return pipe.Publish(ctx, channel, p.message)
	}
	// Each key once, with the newest: as many as there are channels, not events.
	newest := map[string]int{}
	keys := []string{channel}
	args := []any{p.message, m.cfg.CacheTTL.Milliseconds()}
	for _, l := range p.last {
		if i, ok := newest[l.key]; ok {
			args[i] = l.message
			continue
		}
		newest[l.key] = len(args)
		keys = append(keys, l.key)
		args = append(args, l.message)
	}
	return pipe.Eval(ctx, m.script(), keys, args...)
}

func (m *Medium) script() string {
	if m.cfg.Client.cfg.Cluster {
		return keepAndSPUBLISH
	}
	return keepAndPUBLISH
}

// Last returns the newest event that a backend published on a cache channel, or nil when none is kept.
// Errors: [broker.ErrUnavailable], the context's.
func (m *Medium) Last(ctx context.Context, app broker.AppID, ch broker.Channel) (*broker.Event, error) {
	fail := func(err error) (*broker.Event, error) {
		return nil, fmt.Errorf("read the last event of %s of app %s: %w", ch, app, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if !m.cfg.Cached(ch) {
		return nil, nil
	}
	message, err := m.cfg.Client.rdb.Get(ctx, m.cfg.Client.key(app, "last", string(ch))).Result()
	if errors.Is(err, goredis.Nil) {
		return nil, nil
	}
	if err != nil {
		m.unwell(ctx)
		return fail(failed(ctx, err))
	}
	events, err := readEvents(app, message)
	if err != nil {
		return fail(err)
	}
	return events[0], nil
}
