package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

// takeLetters is how many letters are taken at once, at most.
const takeLetters = 200

// held is a letter that was taken and not done.
type held struct {
	taker *taker
	entry string // its place in the stream
}

// taker is one loop over [Letters.Take]. But for what says otherwise it is owned by the goroutine in run.
//
// The taker is whoever's token stands with the endpoint while the lease is there; every question renews
// that. Letters that aren't done stay in the stream, and each taker begins at its head. So what a taker
// held that is gone comes before anything later, which a consumer group doesn't give: there, the entries
// that one consumer claims from another come beside those that are new.
type taker struct {
	l        *Letters
	place    string
	endpoint string // its key
	token    string
	woken    chan struct{} // capacity 1; something may be there, or is done

	mine  bool   // it has been the taker
	after string // entry taken last; empty when there is none
	held  int    // guarded by l.mu; letters taken and not done
}

func (t *taker) poke() {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

// errTaken: another taker may have been given the letters.
var errTaken = errors.New("somebody else takes the letters")

// errAstray: Redis has letters before the one taken last that the taker was never given. It has lost its
// newest entries in a failover and taken others since, or what was done is there again.
var errAstray = errors.New("the queue has gone back to an earlier state")

// takeScript renews the lease and reads on. KEYS: waiting, bytes, owners, sleepers, lease, stream. ARGV:
// endpoint's key, token, lease in ms, 1 if this was the taker before, where to begin, most letters, letters
// held. It answers how it went and the entries.
var takeScript = goredis.NewScript(`
local endpoint, token = ARGV[1], ARGV[2]
if redis.call('HGET', KEYS[3], endpoint) ~= token then
	if ARGV[4] == '1' then return {'taken'} end
	if redis.call('EXISTS', KEYS[5]) == 1 then return {'busy'} end
	redis.call('HSET', KEYS[3], endpoint, token)
end
redis.call('SET', KEYS[5], token, 'PX', ARGV[3])
local most = tonumber(ARGV[6])
if most == 0 then return {'ok', {}} end
local entries = redis.call('XRANGE', KEYS[6], ARGV[5], '+', 'COUNT', most)
if #entries < most then
	local waiting = redis.call('XLEN', KEYS[6])
	if waiting > #entries + ARGV[7] then return {'astray'} end
	if waiting == 0 then
		redis.call('HDEL', KEYS[1], endpoint)
		redis.call('HDEL', KEYS[2], endpoint)
	end
	redis.call('HSET', KEYS[4], endpoint, '1')
end
return {'ok', entries}
`)

// leaveScript lets another taker begin at once. KEYS: owners, sleepers, lease. ARGV: endpoint's key, token,
// the channel to wake takers by.
var leaveScript = goredis.NewScript(`
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
`)

// Take yields the letters of an endpoint that are not done yet, each once, oldest first, and then those
// that come. It waits until no other taker of the endpoint, on any node, is left: one that was killed is
// given up after [LettersConfig].Takeover. Only so many letters are given out before some are done. It
// ends when the loop or ctx does, or with an error as its last word when another taker may have been given
// the letters, or Redis has lost some of what it had; not while Redis is out of reach. Then, whatever was
// not done is the next taker's. Serials of letters are this process's own.
func (l *Letters) Take(ctx context.Context, app broker.AppID, endpoint string) iter.Seq2[*broker.Letter, error] {
	return func(yield func(*broker.Letter, error) bool) {
		t := &taker{
			l: l, place: l.place(app), endpoint: endpointKey(app, endpoint),
			token: rand.Text(), woken: make(chan struct{}, 1),
		}
		l.enter(t)
		err := t.run(ctx, func(letter *broker.Letter) bool {
			letter.App, letter.Endpoint = app, endpoint
			return yield(letter, nil)
		})
		l.leave(t)
		t.leave(ctx)
		if err != nil {
			yield(nil, fmt.Errorf("take letters for endpoint %s of app %s: %w: %w", endpoint, app, broker.ErrUnavailable, err))
		}
	}
}

func (l *Letters) enter(t *taker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.takers[t.endpoint] == nil {
		l.takers[t.endpoint] = map[*taker]bool{}
	}
	l.takers[t.endpoint][t] = true
}

// leave forgets a taker and what it held.
func (l *Letters) leave(t *taker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delete(l.takers[t.endpoint], t); len(l.takers[t.endpoint]) == 0 {
		delete(l.takers, t.endpoint)
	}
	for serial, h := range l.held {
		if h.taker == t {
			delete(l.held, serial)
		}
	}
}

// run takes until ctx ends or yield returns false; then the error is nil.
func (t *taker) run(ctx context.Context, yield func(*broker.Letter) bool) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wait := tryPauseMin
	for ctx.Err() == nil {
		letters, more, err := t.next(ctx)
		switch {
		case errors.Is(err, errTaken), errors.Is(err, errAstray):
			return err
		case err != nil:
			if ctx.Err() == nil {
				t.l.cfg.Logger.Debug("taker is held up", "endpoint", t.endpoint, "err", err)
			}
			pause(ctx, wait)
			wait = min(2*wait, tryPauseMax)
			continue
		}
		wait = tryPauseMin
		for _, letter := range letters {
			if !yield(letter) {
				return nil
			}
		}
		if more {
			continue
		}
		timer.Reset(min(t.l.cfg.Look, t.l.cfg.Takeover/3))
		select {
		case <-timer.C:
		case <-t.woken:
		case <-ctx.Done():
		}
	}
	return nil
}

// next asks for what comes next, and renews the lease; more says that there is more already.
func (t *taker) next(ctx context.Context) (letters []*broker.Letter, more bool, err error) {
	// What is done while Redis is asked is counted as held, which errs on the right side.
	t.l.mu.Lock()
	holds := t.held
	t.l.mu.Unlock()
	most := max(0, min(takeLetters, t.l.cfg.Window-holds))
	from, was := "-", 0
	if t.after != "" {
		from = "(" + t.after
	}
	if t.mine {
		was = 1
	}
	keys := []string{
		waitingKey(t.place), bytesKey(t.place), ownersKey(t.place), sleepersKey(t.place),
		leaseKey(t.place, t.endpoint), streamKey(t.place, t.endpoint),
	}
	try, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := takeScript.Run(try, t.l.rdb, keys,
		t.endpoint, t.token, t.l.cfg.Takeover.Milliseconds(), was, from, most, holds).Slice()
	if err != nil {
		return nil, false, err
	}
	state := ""
	if len(answer) > 0 {
		state, _ = answer[0].(string)
	}
	switch state {
	case "busy":
		return nil, false, nil
	case "taken":
		return nil, false, errTaken
	case "astray":
		return nil, false, errAstray
	}
	if state != "ok" || len(answer) != 2 {
		return nil, false, fmt.Errorf("answer %v to a taker", answer)
	}
	t.mine = true
	entries, err := parseEntries(answer[1])
	if err != nil {
		return nil, false, err
	}
	return t.take(entries), most > 0 && len(entries) == most, nil
}

// take makes entries held letters. One that no Put wrote is passed over; it goes with its stream.
func (t *taker) take(entries []entry) []*broker.Letter {
	letters := make([]*broker.Letter, 0, len(entries))
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	for _, e := range entries {
		t.after = e.id
		// Held though it can't be read: the count has to agree with that of the stream.
		t.l.serial++
		t.held++
		t.l.held[t.l.serial] = &held{taker: t, entry: e.id}
		letters = append(letters, &broker.Letter{
			ID: e.fields["i"], Time: milliseconds(e.fields["t"]), Body: []byte(e.fields["b"]),
			Queued: e.stored(), Serial: t.l.serial,
		})
	}
	return letters
}

// leave gives the lease back. What it can't say, the others find out by the silence.
func (t *taker) leave(ctx context.Context) {
	if !t.mine {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	keys := []string{ownersKey(t.place), sleepersKey(t.place), leaseKey(t.place, t.endpoint)}
	if err := leaveScript.Run(ctx, t.l.rdb, keys, t.endpoint, t.token, t.l.wake).Err(); err != nil {
		t.l.cfg.Logger.Debug("taker leaves a lease behind", "endpoint", t.endpoint, "err", err)
	}
}

// leaveTimeout bounds what a taker does last.
const leaveTimeout = 2 * time.Second

// doneScript takes letters out. KEYS: waiting, bytes, owners, stream. ARGV: endpoint's key, token, entries.
// It does nothing when another taker has begun: that one may have told one of a pair that is taken back here.
var doneScript = goredis.NewScript(letterSize + `
local endpoint = ARGV[1]
if redis.call('HGET', KEYS[3], endpoint) ~= ARGV[2] then return 0 end
local freed = 0
for i = 3, #ARGV do
	local found = redis.call('XRANGE', KEYS[4], ARGV[i], ARGV[i])
	if found[1] then
		freed = freed + size(found[1][2])
		redis.call('XDEL', KEYS[4], ARGV[i])
	end
end
local left = redis.call('XLEN', KEYS[4])
if left == 0 then
	redis.call('HDEL', KEYS[1], endpoint)
	redis.call('HDEL', KEYS[2], endpoint)
else
	redis.call('HSET', KEYS[1], endpoint, left)
	redis.call('HINCRBY', KEYS[2], endpoint, -freed)
end
return 1
`)

// Done takes letters of one endpoint, which were taken here, out of the queue. Those that are no longer
// the taker's are passed over. After an error some may be given out again, to a later taker. Errors:
// [broker.ErrUnavailable], the context's.
func (l *Letters) Done(ctx context.Context, letters ...*broker.Letter) error {
	serials, entries := map[*taker][]uint64{}, map[*taker][]any{}
	l.mu.Lock()
	for _, letter := range letters {
		if h := l.held[letter.Serial]; h != nil {
			serials[h.taker] = append(serials[h.taker], letter.Serial)
			entries[h.taker] = append(entries[h.taker], h.entry)
		}
	}
	l.mu.Unlock()
	ctx, cancel := bounded(ctx)
	defer cancel()
	for t, some := range entries {
		keys := []string{waitingKey(t.place), bytesKey(t.place), ownersKey(t.place), streamKey(t.place, t.endpoint)}
		if err := doneScript.Run(ctx, l.rdb, keys, append([]any{t.endpoint, t.token}, some...)...).Err(); err != nil {
			return fmt.Errorf("take %d letters out of the queue: %w", len(letters), unavailable(ctx, err))
		}
		l.mu.Lock()
		for _, serial := range serials[t] {
			if l.held[serial] != nil {
				delete(l.held, serial)
				t.held--
			}
		}
		l.mu.Unlock()
		t.poke() // there is room in the window
	}
	return nil
}

// entry is what stands in a stream.
type entry struct {
	id     string
	fields map[string]string
}

// stored is when Redis took the entry.
func (e entry) stored() time.Time {
	ms, _, _ := strings.Cut(e.id, "-")
	return milliseconds(ms)
}

// milliseconds reads a time; zero when it isn't one.
func milliseconds(text string) time.Time {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// parseEntries reads a range of a stream as a script answers it.
func parseEntries(answer any) ([]entry, error) {
	list, ok := answer.([]any)
	entries := make([]entry, 0, len(list))
	for _, item := range list {
		pair, _ := item.([]any)
		if ok = ok && len(pair) == 2; !ok {
			break
		}
		id, isText := pair[0].(string)
		fields, isList := pair[1].([]any)
		ok = isText && isList && len(fields)%2 == 0
		e := entry{id: id, fields: make(map[string]string, len(fields)/2)}
		for i := 0; ok && i < len(fields); i += 2 {
			name, named := fields[i].(string)
			value, valued := fields[i+1].(string)
			e.fields[name] = value
			ok = named && valued
		}
		entries = append(entries, e)
	}
	if !ok {
		return nil, errors.New("answer is no range of a stream")
	}
	return entries, nil
}
