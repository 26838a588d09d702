package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

// PresenceLogConfig configures a [PresenceLog].
type PresenceLogConfig struct {
	// Client is the way to Redis. Required.
	Client *Client

	// MaxAge is how long an event is remembered. Default 1 h.
	MaxAge time.Duration

	// MaxBytes bounds what is remembered of an app, with 100 bytes added for each event. Default 256 MiB.
	MaxBytes int64

	// Duplicates is how long an ID is remembered. Default 2 min.
	Duplicates time.Duration

	// Logger takes lifecycle and faults. Default: discard.
	Logger *slog.Logger
}

// PresenceLog is a log with memory: a Redis Stream per app. It is made for the one in which nodes tell
// each other who is where, and has what presence.Log asks for. All methods are safe for concurrent use.
//
// Redis may lose its newest events when a master is replaced, though it has confirmed them. Events are
// chained: each carries a digest of all before it. So a tail notices that what it gave before isn't what
// the log has, and an Append that what was appended before is gone; both end the tail, whose reader
// starts over.
type PresenceLog struct {
	cfg PresenceLogConfig

	mu   sync.Mutex
	apps map[broker.AppID]*chain // guarded by mu
}

// chain is what this process knows to be in an app's log.
type chain struct {
	tails int           // that are under way
	lost  chan struct{} // closed when something that was appended here is gone
	acked place         // the newest end that Append was told of
}

// place is an end of the log.
type place struct {
	epoch  broker.Epoch
	serial uint64
	link   string // the digest there
	time   int64
}

func (p place) position() broker.Position {
	return broker.Position{Epoch: p.epoch, Serial: p.serial, Time: p.time}
}

var _ interface {
	broker.Log
	broker.Cache
} = (*PresenceLog)(nil)

// errLost is what a log shows that has lost events it had confirmed.
var errLost = errors.New("Redis has lost events that it had confirmed")

// NewPresenceLog checks cfg and returns a log.
func NewPresenceLog(cfg PresenceLogConfig) (*PresenceLog, error) {
	orDefault(&cfg.MaxAge, time.Hour)
	orDefault(&cfg.MaxBytes, 256<<20)
	orDefault(&cfg.Duplicates, 2*time.Minute)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	problem := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	problem(cfg.Client == nil, "client: required")
	problem(cfg.MaxAge < time.Millisecond, "max age: %v is less than a millisecond", cfg.MaxAge)
	problem(cfg.MaxBytes < 0, "max bytes: %d is negative", cfg.MaxBytes)
	problem(cfg.Duplicates < time.Millisecond, "duplicates: %v is less than a millisecond", cfg.Duplicates)
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("redis: presence log: %w", err)
	}
	return &PresenceLog{cfg: cfg, apps: map[broker.AppID]*chain{}}, nil
}

// keys are those of an app's log: the stream, and a hash of what belongs to it.
func (l *PresenceLog) keys(app broker.AppID) (stream, head string) {
	return l.cfg.Client.key(app, "log", "stream"), l.cfg.Client.key(app, "log", "head")
}

// begin of both scripts: the life of the log, a new one where there is none. A stream without its head,
// or the other way round, is half of something that was deleted or evicted.
// KEYS: stream, head. ARGV[1]: the epoch of a new life.
const begin = `
local head = redis.call('HMGET', KEYS[2], 'epoch', 'serial', 'link', 'time', 'bytes')
if not head[1] or (head[2] ~= '0' and redis.call('EXISTS', KEYS[1]) == 0) then
  redis.call('DEL', KEYS[1], KEYS[2])
  head = {ARGV[1], '0', '', '0', '0'}
  redis.call('HSET', KEYS[2], 'epoch', head[1], 'serial', '0', 'link', '', 'time', '0', 'bytes', '0')
end
`

// lookScript answers the log's end, and the serial of the oldest event that is left.
var lookScript = goredis.NewScript(begin + `
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local oldest = first and string.match(first[1], '^%d+') or string.format('%.0f', head[2] + 1)
return {head[1], head[2], head[3], head[4], oldest}
`)

// appendScript stores events at the next serials, all or none, but those whose ID is known. Nothing is
// stored when the end that the caller was told of isn't there any more.
//
// KEYS[3] and on: one for each event, where its ID is remembered. ARGV[2]: for how long, ms. ARGV[3],
// ARGV[4]: age, ms, and bytes that are remembered. ARGV[5] to ARGV[7]: epoch, serial and link of that end.
// Then for each event ID, channel, time, 1 for a client's, and the event as it is stored.
var appendScript = goredis.NewScript(begin + `
local epoch, serial, link, time, bytes = head[1], tonumber(head[2]), head[3], head[4], tonumber(head[5])
local seen = tonumber(ARGV[6])
if ARGV[5] ~= '' then
  local was = link
  if seen < serial then
    local e = redis.call('XRANGE', KEYS[1], ARGV[6], ARGV[6])[1]
    was = e and e[2][4] or ARGV[7]
  end
  if ARGV[5] ~= epoch or seen > serial or was ~= ARGV[7] then
    return {}
  end
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local answer = {}
for i = 3, #KEYS do
  local a = 8 + (i - 3) * 5
  local id, at = ARGV[a], ARGV[a + 2]
  local known = id ~= '' and redis.call('GET', KEYS[i]) or ''
  local e, s, ms = string.match(known, '^(%w+) (%d+) (-?%d+)$')
  if e == epoch then
    answer[#answer + 1] = {s, ms, 1}
  else
    serial, time = serial + 1, at
    link = redis.sha1hex(link .. ' ' .. id)
    s = string.format('%.0f', serial)
    redis.call('XADD', KEYS[1], s .. '-0', 'e', ARGV[a + 4], 'l', link, 't', string.format('%.0f', now))
    bytes = bytes + #ARGV[a + 4] + 100
    if id ~= '' then redis.call('SET', KEYS[i], epoch .. ' ' .. s .. ' ' .. at, 'PX', ARGV[2]) end
    if ARGV[a + 3] == '' then redis.call('HSET', KEYS[2], 'last:' .. ARGV[a + 1], s) end
    answer[#answer + 1] = {s, at, 0}
  end
end
local newest = string.format('%.0f', serial)
for _ = 1, 32 + #KEYS do
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if not first or first[1] == newest .. '-0' then break end
  if bytes <= tonumber(ARGV[4]) and now - first[2][6] <= tonumber(ARGV[3]) then break end
  redis.call('XDEL', KEYS[1], first[1])
  bytes = bytes - #first[2][2] - 100
end
redis.call('HSET', KEYS[2], 'serial', newest, 'link', link, 'time', time, 'bytes', string.format('%.0f', bytes))
return {epoch, newest, link, time, answer}
`)

// look returns the log's end and the serial of the oldest event that is left.
func (l *PresenceLog) look(ctx context.Context, app broker.AppID) (end place, oldest uint64, err error) {
	stream, head := l.keys(app)
	answer, err := lookScript.Run(ctx, l.cfg.Client.rdb, []string{stream, head}, rand.Text()).StringSlice()
	if err != nil {
		return place{}, 0, err
	}
	if len(answer) != 5 {
		return place{}, 0, fmt.Errorf("the log's end: %d values", len(answer))
	}
	if end, err = readPlace(answer[0], answer[1], answer[2], answer[3]); err != nil {
		return place{}, 0, err
	}
	oldest, err = strconv.ParseUint(answer[4], 10, 64)
	return end, oldest, err
}

func readPlace(epoch, serial, link, at string) (place, error) {
	n, err := strconv.ParseUint(serial, 10, 64)
	if err != nil {
		return place{}, err
	}
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return place{}, err
	}
	return place{epoch: broker.Epoch(epoch), serial: n, link: link, time: ms}, nil
}

// Append implements broker.Log; the events are stored together, without another between. Errors:
// [broker.ErrUnavailable], also once Redis has lost events that were appended here, until the app is
// tailed again; the context's.
func (l *PresenceLog) Append(ctx context.Context, events ...*broker.Event) error {
	if len(events) == 0 {
		return nil
	}
	app := events[0].App
	if err := l.append(ctx, app, events); err != nil {
		return fmt.Errorf("append to app %s: %w", app, err)
	}
	return nil
}

func (l *PresenceLog) append(ctx context.Context, app broker.AppID, events []*broker.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	acked, err := l.acked(app)
	if err != nil {
		return err
	}
	stream, head := l.keys(app)
	keys := []string{stream, head}
	args := []any{
		rand.Text(), l.cfg.Duplicates.Milliseconds(), l.cfg.MaxAge.Milliseconds(), l.cfg.MaxBytes,
		string(acked.epoch), strconv.FormatUint(acked.serial, 10), acked.link,
	}
	size := 0
	for _, e := range events {
		if e.App != app {
			return errors.New("an event of another app among them")
		}
		client := ""
		if e.Client {
			client = "1"
		}
		stored := appendEvent([]byte{version}, e)
		size += len(stored)
		keys = append(keys, l.cfg.Client.key(app, "id", e.ID))
		args = append(args, e.ID, string(e.Channel), e.Time.UnixMilli(), client, stored)
	}
	if size > messageBytes {
		return fmt.Errorf("%d bytes are more than the %d of an append", size, messageBytes)
	}
	answer, err := appendScript.Run(ctx, l.cfg.Client.rdb, keys, args...).Slice()
	if err != nil {
		l.cfg.Client.mistrust(ctx)
		return failed(ctx, err)
	}
	if len(answer) == 0 {
		l.lose(app, acked)
		return fmt.Errorf("%w: %w", broker.ErrUnavailable, errLost)
	}
	return l.stored(app, events, answer)
}

// stored takes in what appendScript has answered.
func (l *PresenceLog) stored(app broker.AppID, events []*broker.Event, answer []any) error {
	bad := func() error {
		return fmt.Errorf("%w: an answer that isn't understood: %v", broker.ErrUnavailable, answer)
	}
	if len(answer) != 5 {
		return bad()
	}
	var text [4]string
	for i := range text {
		text[i], _ = answer[i].(string)
	}
	end, err := readPlace(text[0], text[1], text[2], text[3])
	each, _ := answer[4].([]any)
	if err != nil || len(each) != len(events) {
		return bad()
	}
	for i, e := range events {
		one, _ := each[i].([]any)
		if len(one) != 3 {
			return bad()
		}
		serial, _ := one[0].(string)
		at, _ := one[1].(string)
		p, err := readPlace(text[0], serial, "", at)
		if err != nil {
			return bad()
		}
		e.Position, e.Duplicate = p.position(), one[2] == int64(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.chain(app); end.epoch != c.acked.epoch || end.serial > c.acked.serial {
		c.acked = end
	}
	return nil
}

// chain is called with mu held.
func (l *PresenceLog) chain(app broker.AppID) *chain {
	c := l.apps[app]
	if c == nil {
		c = &chain{lost: make(chan struct{})}
		l.apps[app] = c
	}
	return c
}

// acked returns the newest end that Append was told of; an error when that is gone.
func (l *PresenceLog) acked(app broker.AppID) (place, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.chain(app)
	select {
	case <-c.lost:
		return place{}, fmt.Errorf("%w: %w", broker.ErrUnavailable, errLost)
	default:
		return c.acked, nil
	}
}

// lose takes in that an end is gone that Append was told of. What it had is to be told anew by who
// appended it, which a tail's end makes it do: going on would leave a hole that nobody could explain.
func (l *PresenceLog) lose(app broker.AppID, acked place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.chain(app)
	if c.acked.epoch != acked.epoch || c.acked.serial < acked.serial {
		return // it is known already
	}
	c.acked = place{}
	if c.tails == 0 {
		return
	}
	select {
	case <-c.lost:
	default:
		close(c.lost)
	}
}

// Last returns the channel's newest event that a backend published, or nil when the log holds none.
// Errors: [broker.ErrUnavailable], the context's.
func (l *PresenceLog) Last(ctx context.Context, app broker.AppID, ch broker.Channel) (*broker.Event, error) {
	e, err := l.last(ctx, app, ch)
	if err != nil {
		return nil, fmt.Errorf("read the last event of %s of app %s: %w", ch, app, failed(ctx, err))
	}
	return e, nil
}

func (l *PresenceLog) last(ctx context.Context, app broker.AppID, ch broker.Channel) (*broker.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stream, head := l.keys(app)
	known, err := l.cfg.Client.rdb.HMGet(ctx, head, "epoch", "last:"+string(ch)).Result()
	if err != nil {
		return nil, err
	}
	epoch, _ := known[0].(string)
	serial, _ := known[1].(string)
	if serial == "" {
		return nil, nil
	}
	entries, err := l.cfg.Client.rdb.XRange(ctx, stream, serial, serial).Result()
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	e, _, err := readEntry(app, broker.Epoch(epoch), entries[0])
	return e, err
}
