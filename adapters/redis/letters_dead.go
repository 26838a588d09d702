package redis

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

const (
	// deadPage is how many dead letters are read at once.
	deadPage = 100
	// buryLetters is how many are buried by one script.
	buryLetters = 100
	// whyMax bounds why a letter died, in bytes.
	whyMax = 1000
)

// The keys of the dead, which have a place of their own.
func (l *Letters) deadPlace() string { return "{" + l.prefix + ":letters:dead}:" }
func (l *Letters) deadKey() string   { return l.deadPlace() + "letters" } // stream
func (l *Letters) deadKeys() []string {
	place := l.deadPlace()
	return []string{l.deadKey(), place + "ids", place + "bytes", place + "last"}
}

// deadSize is how the scripts reckon what a dead letter takes, in bytes.
const deadSize = `
local function size(entry)
	local n = 100
	for i = 1, #entry do n = n + #entry[i] end
	return n
end
`

// buryScript adds letters to the dead. KEYS: those of deadKeys. ARGV: ms for which is remembered who was
// buried, ms until they are forgotten, most bytes, why; then for each letter what tells it apart, app,
// endpoint, ID, time and body. Numbers begin with the present time, so that they aren't given out again
// should Redis forget them. It forgets the oldest, at most 1,000 at a time, which is more than it adds.
var buryScript = goredis.NewScript(deadSize + `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
local bytes = tonumber(redis.call('GET', KEYS[3]) or 0)
local last = tonumber(redis.call('GET', KEYS[4]) or 0)
for i = 5, #ARGV, 6 do
	if redis.call('ZADD', KEYS[2], 'NX', now, ARGV[i]) == 1 then
		last = math.max(last + 1, now * 1000)
		local entry = {'a', ARGV[i + 1], 'e', ARGV[i + 2], 'i', ARGV[i + 3], 't', ARGV[i + 4], 'b', ARGV[i + 5], 'w', ARGV[4], 'd', string.format('%.0f', now)}
		redis.call('XADD', KEYS[1], string.format('%.0f-0', last), unpack(entry))
		bytes = bytes + size(entry)
	end
end
local oldest = (now - ARGV[2]) * 1000
for i = 1, 1000 do
	local head = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
	if not head or (bytes <= tonumber(ARGV[3]) and tonumber(string.match(head[1], '^%d+')) >= oldest) then break end
	bytes = bytes - size(head[2])
	redis.call('XDEL', KEYS[1], head[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], string.format('%.0f', bytes), 'PX', ARGV[2])
redis.call('SET', KEYS[4], string.format('%.0f', last), 'PX', ARGV[2])
return 1
`)

// Bury moves letters of one endpoint, which were taken here, to the dead. A crash on the way leaves some
// in both places: they are delivered or buried again. Errors: [broker.ErrUnavailable], the context's; then
// burying them again is safe.
func (l *Letters) Bury(ctx context.Context, why string, letters ...*broker.Letter) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if len(why) > whyMax {
		why = why[:whyMax]
	}
	for rest := l.stillHeld(letters); len(rest) > 0; {
		n := min(len(rest), buryLetters)
		args := []any{letterWindow.Milliseconds(), l.cfg.DeadAge.Milliseconds(), l.cfg.DeadBytes, why}
		for _, letter := range rest[:n] {
			args = append(args, letter.entry+"/"+letter.ID, string(letter.App), letter.Endpoint, letter.ID, letter.Time.UnixMilli(), letter.Body)
		}
		if err := buryScript.Run(ctx, l.rdb, l.deadKeys(), args...).Err(); err != nil {
			return fmt.Errorf("bury %d letters: %w", len(letters), unavailable(ctx, err))
		}
		rest = rest[n:]
	}
	return l.Done(ctx, letters...)
}

// heldLetter is a letter and where it stands.
type heldLetter struct {
	*broker.Letter
	entry string
}

// stillHeld returns those of the letters whose loop still runs.
func (l *Letters) stillHeld(letters []*broker.Letter) (all []heldLetter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, letter := range letters {
		if h := l.held[letter.Serial]; h != nil {
			all = append(all, heldLetter{letter, h.entry})
		}
	}
	return all
}

// Dead yields the dead letters of an app, or of all when app is empty, those first that died first. An
// error is its last word: [broker.ErrUnavailable], the context's.
func (l *Letters) Dead(ctx context.Context, app broker.AppID) iter.Seq2[*broker.DeadLetter, error] {
	return func(yield func(*broker.DeadLetter, error) bool) {
		from := strconv.FormatInt(time.Now().Add(-l.cfg.DeadAge).UnixMilli()*1000, 10)
		for {
			page, err := l.deadPage(ctx, from)
			if err != nil {
				yield(nil, fmt.Errorf("read dead letters: %w", err))
				return
			}
			for _, m := range page {
				dead, ok := deadLetter(m)
				if ok && (app == "" || dead.App == app) && !yield(dead, nil) {
					return
				}
				from = "(" + m.ID
			}
			if len(page) < deadPage {
				return
			}
		}
	}
}

func (l *Letters) deadPage(ctx context.Context, from string) ([]goredis.XMessage, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	page, err := l.rdb.XRangeN(ctx, l.deadKey(), from, "+", deadPage).Result()
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	return page, nil
}

// deadLetter reads a dead letter; false when nobody buried it.
func deadLetter(m goredis.XMessage) (*broker.DeadLetter, bool) {
	text := func(name string) string {
		s, _ := m.Values[name].(string)
		return s
	}
	number, ok := deadNumber(m.ID)
	return &broker.DeadLetter{
		Letter: broker.Letter{
			ID: text("i"), App: broker.AppID(text("a")), Endpoint: text("e"),
			Time: milliseconds(text("t")), Body: []byte(text("b")),
		},
		Number: number, Why: text("w"), Died: milliseconds(text("d")),
	}, ok && text("a") != ""
}

func deadNumber(id string) (uint64, bool) {
	var number uint64
	var second uint64
	n, err := fmt.Sscanf(id, "%d-%d", &number, &second)
	return number, n == 2 && err == nil && second == 0
}

// forgetScript takes one out of the dead. KEYS: those of deadKeys. ARGV: its entry.
var forgetScript = goredis.NewScript(deadSize + `
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not found then return 0 end
redis.call('XDEL', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('DECRBY', KEYS[3], size(found[2])) end
return 1
`)

// Retry puts dead letters into the queue again, by their numbers, and returns how many those were: numbers
// that no dead letter has are passed over. A crash on the way leaves one in both places. Errors:
// [broker.ErrUnavailable], the context's, and one when the queue refuses a letter.
func (l *Letters) Retry(ctx context.Context, numbers ...uint64) (int, error) {
	n := 0
	for _, number := range numbers {
		found, err := l.retry(ctx, number)
		if err != nil {
			return n, fmt.Errorf("retry dead letter %d: %w", number, err)
		}
		if found {
			n++
		}
	}
	return n, nil
}

func (l *Letters) retry(ctx context.Context, number uint64) (found bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	id := strconv.FormatUint(number, 10) + "-0"
	page, err := l.rdb.XRangeN(ctx, l.deadKey(), id, id, 1).Result()
	if err != nil {
		return false, unavailable(ctx, err)
	}
	if len(page) == 0 {
		return false, nil
	}
	dead, ok := deadLetter(page[0])
	if !ok {
		return false, nil
	}
	letter := dead.Letter
	// The queue may still remember the ID it had.
	letter.ID = fmt.Sprintf("%s/%d", dead.ID, number)
	refused, err := l.Put(ctx, &letter)
	if err != nil {
		return false, err
	}
	if len(refused) > 0 {
		return false, errors.New("too much waits for its endpoint")
	}
	if err := forgetScript.Run(ctx, l.rdb, l.deadKeys(), id).Err(); err != nil {
		return true, unavailable(ctx, err)
	}
	return true, nil
}
