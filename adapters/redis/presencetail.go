package redis

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis has no other digest in scripts, and nobody forges entries
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

const (
	// presencePage is how many events are read at a time.
	presencePage = 50
	// presenceBlock is how long a read waits for the next event, and so how late a tail may end, and
	// notice that nothing comes because the log isn't what it was.
	presenceBlock = 500 * time.Millisecond
)

// readEntry returns the event in an entry of the stream, and the digest there.
func readEntry(app broker.AppID, epoch broker.Epoch, entry goredis.XMessage) (e *broker.Event, link string, err error) {
	serial, err := strconv.ParseUint(strings.TrimSuffix(entry.ID, "-0"), 10, 64)
	if err != nil {
		return nil, "", fmt.Errorf("%w: entry %q", errNotEvents, entry.ID)
	}
	stored, _ := entry.Values["e"].(string)
	link, _ = entry.Values["l"].(string)
	events, err := readEvents(app, stored)
	if err != nil {
		return nil, "", fmt.Errorf("entry %s: %w", entry.ID, err)
	}
	if len(events) != 1 {
		return nil, "", fmt.Errorf("entry %s: %w: %d in one", entry.ID, errNotEvents, len(events))
	}
	e = events[0]
	e.Position = broker.Position{Epoch: epoch, Serial: serial, Time: e.Time.UnixMilli()}
	return e, link, nil
}

// follows is the digest behind another one.
func follows(link, id string) string {
	sum := sha1.Sum([]byte(link + " " + id)) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

// Bounds implements replay.History; a master answers.
func (l *PresenceLog) Bounds(ctx context.Context, app broker.AppID) (oldest, newest broker.Position, err error) {
	err = ctx.Err()
	var end place
	var first uint64
	if err == nil {
		end, first, err = l.look(ctx, app)
	}
	if err != nil {
		return broker.Position{}, broker.Position{}, fmt.Errorf("read the bounds of app %s: %w", app, failed(ctx, err))
	}
	return broker.Position{Epoch: end.epoch, Serial: first}, end.position(), nil
}

// Range implements replay.History. Serials have no holes, so a range shows whether it is complete.
func (l *PresenceLog) Range(ctx context.Context, app broker.AppID, ch broker.Channel, after, upto uint64) iter.Seq2[*broker.Event, error] {
	return func(yield func(*broker.Event, error) bool) {
		r := &ranging{log: l, app: app, after: after, upto: upto}
		for r.after < upto {
			events, err := r.page(ctx)
			if err != nil {
				yield(nil, fmt.Errorf("read (%d, %d] of app %s: %w", after, upto, app, failed(ctx, err)))
				return
			}
			for _, e := range events {
				if (ch == "" || e.Channel == ch) && !yield(e, nil) {
					return
				}
			}
		}
	}
}

// ranging is a range that is being read.
type ranging struct {
	log         *PresenceLog
	app         broker.AppID
	epoch       broker.Epoch // of the first page
	after, upto uint64       // what is left
}

// page returns the next events. What is missing before them must have been forgotten.
func (r *ranging) page(ctx context.Context) ([]*broker.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stream, head := r.log.keys(r.app)
	var epoch *goredis.StringCmd
	var read *goredis.XMessageSliceCmd
	// A transaction, so that the epoch is that of the entries.
	_, err := r.log.cfg.Client.rdb.TxPipelined(ctx, func(pipe goredis.Pipeliner) error {
		epoch = pipe.HGet(ctx, head, "epoch")
		read = pipe.XRangeN(ctx, stream, strconv.FormatUint(r.after+1, 10), strconv.FormatUint(r.upto, 10), presencePage)
		return nil
	})
	if err != nil && !errors.Is(err, goredis.Nil) {
		return nil, err
	}
	if r.epoch == "" {
		r.epoch = broker.Epoch(epoch.Val())
	}
	if string(r.epoch) != epoch.Val() {
		return nil, fmt.Errorf("%w: the log has begun anew", errLost)
	}
	var events []*broker.Event
	next := r.after + 1
	for i, entry := range read.Val() {
		e, _, err := readEntry(r.app, r.epoch, entry)
		switch {
		case err != nil:
			return nil, err
		case i > 0 && e.Position.Serial != next:
			return nil, fmt.Errorf("%w: after serial %d comes %d", errLost, next-1, e.Position.Serial)
		}
		next = e.Position.Serial + 1
		events = append(events, e)
	}
	first := r.upto + 1
	if len(events) > 0 {
		first = events[0].Position.Serial
	}
	if first > r.after+1 {
		if err := r.forgotten(ctx, first); err != nil {
			return nil, err
		}
	}
	if r.after = r.upto; len(events) == presencePage {
		r.after = next - 1
	} else if len(events) > 0 && next <= r.upto {
		// The entries end before the range does.
		if err := r.forgotten(ctx, r.upto+1); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// forgotten checks that what is missing before a serial is older than all that the log has.
func (r *ranging) forgotten(ctx context.Context, serial uint64) error {
	end, oldest, err := r.log.look(ctx, r.app)
	switch {
	case err != nil:
		return err
	case end.serial < r.upto || oldest < serial:
		return fmt.Errorf("%w: the log has serials %d to %d", errLost, oldest, end.serial)
	}
	return nil
}

// Tail implements broker.Log. An app may have any number of tails. A tail outlives the loss of its
// connection: it goes on where it was, as long as the log is still the one it has read.
func (l *PresenceLog) Tail(ctx context.Context, app broker.AppID) (broker.Position, iter.Seq2[*broker.Event, error], error) {
	err := ctx.Err()
	var end place
	if err == nil {
		end, _, err = l.look(ctx, app)
	}
	if err != nil {
		return broker.Position{}, nil, fmt.Errorf("tail app %s: %w", app, failed(ctx, err))
	}
	lost := l.begins(app)
	stop := context.AfterFunc(ctx, func() { l.ends(app, lost) }) // should nobody range over it
	t := &presenceTail{log: l, app: app, at: end, lost: lost}
	return end.position(), func(yield func(*broker.Event, error) bool) {
		defer stop()
		defer l.ends(app, lost)
		if t.ranged {
			yield(nil, fmt.Errorf("tail app %s: ranged over a second time", app))
			return
		}
		t.ranged = true
		if err := t.run(ctx, yield); err != nil {
			yield(nil, fmt.Errorf("tail app %s: %w", app, err))
		}
	}, nil
}

// tailMark is a tail's in the chain of its app, while it is under way.
type tailMark struct {
	lost chan struct{} // closed when what was appended here is gone
	over bool          // guarded by the log's mu
}

// begins says that a tail is under way. The first one forgets what was appended before.
func (l *PresenceLog) begins(app broker.AppID) *tailMark {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.chain(app)
	select {
	case <-c.lost:
		c.lost = make(chan struct{})
	default:
	}
	c.tails++
	return &tailMark{lost: c.lost}
}

// ends says that a tail isn't any more.
func (l *PresenceLog) ends(app broker.AppID, t *tailMark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.over {
		t.over = true
		l.chain(app).tails--
	}
}

// presenceTail is a tail on its way.
type presenceTail struct {
	log    *PresenceLog
	app    broker.AppID
	at     place // of the last event given
	lost   *tailMark
	ranged bool
}

// run yields what comes until ctx or the loop ends; an error when the log isn't what was read.
func (t *presenceTail) run(ctx context.Context, yield func(*broker.Event, error) bool) error {
	wait, warned := retryMin, false
	for {
		entries, err := t.read(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // that is how a tail is ended
		}
		select {
		case <-t.lost.lost:
			err = errLost
		default:
		}
		switch {
		case errors.Is(err, errLost):
			return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
		case err == nil:
			wait, warned = retryMin, false
			more, err := t.give(ctx, entries, yield)
			if !more {
				return err
			}
			continue
		}
		t.log.cfg.Client.mistrust(ctx)
		if !warned {
			warned = true
			t.log.cfg.Logger.Warn("the log can't be read; trying on", "app", t.app, "serial", t.at.serial, "err", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, retryMost)
	}
}

// give yields entries, and reports whether to go on.
func (t *presenceTail) give(ctx context.Context, entries []goredis.XMessage, yield func(*broker.Event, error) bool) (more bool, err error) {
	for _, entry := range entries {
		e, err := t.next(entry)
		if err != nil {
			return false, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
		}
		if ctx.Err() != nil || !yield(e, nil) {
			return false, nil //nolint:nilerr // that is how a tail is ended
		}
	}
	return true, nil
}

// next takes an entry, which must be the one behind the last.
func (t *presenceTail) next(entry goredis.XMessage) (*broker.Event, error) {
	e, link, err := readEntry(t.app, t.at.epoch, entry)
	switch {
	case err != nil:
		return nil, err
	case e.Position.Serial != t.at.serial+1:
		return nil, fmt.Errorf("%w: after serial %d comes %d", errLost, t.at.serial, e.Position.Serial)
	case link != follows(t.at.link, e.ID):
		return nil, fmt.Errorf("%w: serial %d is another event than was read", errLost, t.at.serial)
	}
	t.at.serial, t.at.link = e.Position.Serial, link
	return e, nil
}

// read waits for the entries behind the last one. When none come it looks whether the last one is there.
func (t *presenceTail) read(ctx context.Context) ([]goredis.XMessage, error) {
	bounded, cancel := context.WithTimeout(ctx, presenceBlock+t.log.cfg.Client.cfg.Timeout)
	defer cancel()
	stream, head := t.log.keys(t.app)
	rdb := t.log.cfg.Client.rdb
	streams, err := rdb.XRead(bounded, &goredis.XReadArgs{
		Streams: []string{stream, strconv.FormatUint(t.at.serial, 10)}, Count: presencePage, Block: presenceBlock,
	}).Result()
	if err == nil && len(streams) == 1 {
		return streams[0].Messages, nil
	}
	if err != nil && !errors.Is(err, goredis.Nil) {
		return nil, err
	}
	known, err := rdb.HMGet(bounded, head, "epoch", "serial", "link").Result()
	if err != nil {
		return nil, err
	}
	var text [3]string
	for i := range text {
		text[i], _ = known[i].(string)
	}
	serial, _ := strconv.ParseUint(text[1], 10, 64) // of a log that isn't there 0
	switch {
	case text[0] != string(t.at.epoch):
		return nil, fmt.Errorf("%w: the log has begun anew", errLost)
	case serial < t.at.serial, serial == t.at.serial && text[2] != t.at.link:
		return nil, fmt.Errorf("%w: the log ends with serial %d, and %d was read", errLost, serial, t.at.serial)
	}
	return nil, nil
}
