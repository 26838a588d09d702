package streams

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/playhead/playhead/broker"
)

// clockSlack is by how much the clocks of two machines may differ, nodes or servers, without
// [Streams.Since] leaving an event out.
const clockSlack = 5 * time.Second

// Bounds returns the ends of the app's stream: its epoch with the serial of the oldest event it still
// holds, of an empty stream its last serial + 1; and with the last serial it gave out, held or not, 0
// when there was none. Both Times are 0. The stream's leader answers. An app that has no stream gets
// one. Errors: [broker.ErrUnavailable], the context's.
func (s *Streams) Bounds(ctx context.Context, app broker.AppID) (oldest, newest broker.Position, err error) {
	oldest, newest, err = s.bounds(ctx, app)
	if err != nil {
		return broker.Position{}, broker.Position{}, fmt.Errorf("read the bounds of app %s: %w", app, failed(ctx, err))
	}
	return oldest, newest, nil
}

func (s *Streams) bounds(ctx context.Context, app broker.AppID) (oldest, newest broker.Position, err error) {
	if err := ctx.Err(); err != nil {
		return oldest, newest, err
	}
	st, err := s.stream(app)
	if err != nil {
		return oldest, newest, err
	}
	info, err := st.find(ctx, s.read)
	if err != nil {
		return oldest, newest, err
	}
	epoch, err := epochOf(info)
	if err != nil {
		return oldest, newest, err
	}
	serial := info.State.FirstSeq
	if info.State.Msgs == 0 {
		serial = info.State.LastSeq + 1
	}
	return broker.Position{Epoch: epoch, Serial: serial}, broker.Position{Epoch: epoch, Serial: info.State.LastSeq}, nil
}

// At returns the event, of any channel, at a serial; nil when nothing stands there. The stream's
// leader answers. Errors: [broker.ErrUnavailable], the context's.
func (s *Streams) At(ctx context.Context, app broker.AppID, serial uint64) (*broker.Event, error) {
	fail := func(err error) (*broker.Event, error) {
		return nil, fmt.Errorf("read serial %d of app %s: %w", serial, app, failed(ctx, err))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if serial == 0 {
		return nil, nil
	}
	st, epoch, err := s.opened(ctx, app)
	if err != nil {
		return fail(err)
	}
	m, err := st.at(ctx, serial)
	if err != nil {
		return fail(err)
	}
	return st.event(m, epoch), nil
}

// Since returns a serial that is before every event taken at or after t: each event whose Time is not
// before t has a greater one. The stream knows when it stored an event, by its servers' clocks, and
// Time is of a node's clock. So the serial is that before the first event stored 5 s before t, and
// right as long as no two clocks differ by more than that; older events than t may follow it. The
// stream's leader answers. Errors: [broker.ErrUnavailable], the context's.
func (s *Streams) Since(ctx context.Context, app broker.AppID, t time.Time) (uint64, error) {
	serial, err := s.since(ctx, app, t.Add(-clockSlack))
	if err != nil {
		return 0, fmt.Errorf("find the events of app %s since %v: %w", app, t, failed(ctx, err))
	}
	return serial, nil
}

// since returns the serial before the first message stored at or after a time, or the last serial.
func (s *Streams) since(ctx context.Context, app broker.AppID, stored time.Time) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	st, _, err := s.opened(ctx, app)
	if err != nil {
		return 0, err
	}
	// The server counts in nanoseconds since 1970, which end in 2262.
	if stored.Before(time.Unix(0, 0)) {
		return 0, nil
	}
	if last := time.Unix(0, math.MaxInt64); stored.After(last) {
		stored = last
	}
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	for tries := 0; ; tries++ {
		if tries > 1 && !pause(ctx, tryPause) {
			return 0, ctx.Err()
		}
		m, err := st.ask(ctx, leaderRequest{StoredFrom: &stored, NextFor: st.subjects + ">"})
		switch {
		case err != nil:
			return 0, err
		case m != nil:
			return m.Serial - 1, nil
		}
		// Nothing is that young, and so everything up to the end is older; but the end that is asked
		// for now may be younger than that answer.
		info, err := st.find(ctx, s.read)
		if err != nil {
			return 0, err
		}
		end := info.State.LastSeq
		if info.State.Msgs == 0 {
			return end, nil
		}
		last, err := st.at(ctx, end)
		switch {
		case err != nil:
			return 0, err
		case last != nil && last.Time.Before(stored):
			return end, nil
		}
	}
}

// Last returns the channel's newest event that a backend published, or nil when the stream holds
// none. The stream's leader answers. Errors: [broker.ErrUnavailable], the context's.
func (s *Streams) Last(ctx context.Context, app broker.AppID, ch broker.Channel) (*broker.Event, error) {
	fail := func(err error) (*broker.Event, error) {
		return nil, fmt.Errorf("read the last event of %s of app %s: %w", ch, app, failed(ctx, err))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	st, epoch, err := s.opened(ctx, app)
	if err != nil {
		return fail(err)
	}
	m, err := st.ask(ctx, leaderRequest{LastFor: channelSubject(st.subjects, ch, byBackend)})
	if err != nil {
		return fail(err)
	}
	return st.event(m, epoch), nil
}

func (s *Streams) opened(ctx context.Context, app broker.AppID) (*stream, broker.Epoch, error) {
	st, err := s.stream(app)
	if err != nil {
		return nil, "", err
	}
	epoch, err := st.open(ctx, s.read)
	return st, epoch, err
}
