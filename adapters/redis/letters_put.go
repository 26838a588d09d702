package redis

import (
	"context"
	"fmt"

	"github.com/playhead/playhead/broker"
	goredis "github.com/redis/go-redis/v9"
)

const (
	// putLetters and putBytes bound what one script stores: Redis does nothing else meanwhile.
	putLetters = 500
	putBytes   = 1 << 20
)

// letterSize is how the scripts reckon what a letter takes, in bytes: texts and what Redis keeps with them.
const letterSize = `
local function size(entry) return #entry[2] + #entry[6] + 100 end
`

// putScript stores letters of one place. KEYS: waiting, bytes, ids, sleepers, then a stream for each
// endpoint. ARGV: ms for which IDs are remembered, ms until the letters are forgotten, most letters and
// most bytes of an endpoint, the channel to wake takers by; an endpoint's key for each stream; then for
// each letter which stream (from 1), ID, time and body. It answers which letters are refused (from 1).
//
// What came after one that is refused must not overtake it: after the first, all of its endpoint are.
var putScript = goredis.NewScript(letterSize + `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local most, mostBytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local streams = #KEYS - 4
local count, bytes, put, full, refused = {}, {}, {}, {}, {}
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[1])
for s = 1, streams do
	count[s] = redis.call('XLEN', KEYS[4 + s])
	bytes[s] = count[s] > 0 and tonumber(redis.call('HGET', KEYS[2], ARGV[5 + s]) or 0) or 0
	put[s] = 0
end
local letter = 0
for at = 6 + streams, #ARGV, 4 do
	letter = letter + 1
	local s, id = tonumber(ARGV[at]), ARGV[at + 1]
	if not redis.call('ZSCORE', KEYS[3], id) then
		local entry = {'i', id, 't', ARGV[at + 2], 'b', ARGV[at + 3]}
		if full[s] or count[s] >= most or bytes[s] + size(entry) > mostBytes then
			full[s] = true
			refused[#refused + 1] = letter
		else
			redis.call('XADD', KEYS[4 + s], '*', unpack(entry))
			redis.call('ZADD', KEYS[3], now, id)
			count[s], bytes[s], put[s] = count[s] + 1, bytes[s] + size(entry), put[s] + 1
		end
	end
end
redis.call('PEXPIRE', KEYS[3], ARGV[1])
for s = 1, streams do
	if put[s] > 0 then
		local endpoint = ARGV[5 + s]
		redis.call('HSET', KEYS[1], endpoint, count[s])
		redis.call('HSET', KEYS[2], endpoint, bytes[s])
		redis.call('PEXPIRE', KEYS[4 + s], ARGV[2])
		if redis.call('HDEL', KEYS[4], endpoint) == 1 then redis.call('PUBLISH', ARGV[5], endpoint) end
	end
end
return refused
`)

// Put stores letters in order; those that are stored already, by their IDs, are not stored again. It
// returns those that are refused because too much waits for their endpoint. On an error some may be
// stored; putting all again is safe for two minutes. Errors: [broker.ErrUnavailable], the context's.
func (l *Letters) Put(ctx context.Context, letters ...*broker.Letter) (refused []*broker.Letter, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("put %d letters: %w", len(letters), err)
	}
	// Only the order within an endpoint counts, and all of an app's endpoints are in one place.
	var order []string
	places := map[string][]*broker.Letter{}
	for _, letter := range letters {
		place := l.place(letter.App)
		if places[place] == nil {
			order = append(order, place)
		}
		places[place] = append(places[place], letter)
	}
	for _, place := range order {
		some, err := l.putAt(ctx, place, places[place])
		if err != nil {
			return nil, fmt.Errorf("put %d letters: %w", len(letters), unavailable(ctx, err))
		}
		refused = append(refused, some...)
	}
	return refused, nil
}

// putAt stores letters of one place, in as many scripts as they need.
func (l *Letters) putAt(ctx context.Context, place string, letters []*broker.Letter) (refused []*broker.Letter, err error) {
	full := map[string]bool{} // endpoints that have refused one of these letters
	for len(letters) > 0 {
		n, bytes := 0, 0
		for n < min(len(letters), putLetters) && bytes < putBytes {
			bytes += len(letters[n].Body) + len(letters[n].ID)
			n++
		}
		some := make([]*broker.Letter, 0, n)
		for _, letter := range letters[:n] {
			if full[endpointKey(letter.App, letter.Endpoint)] {
				refused = append(refused, letter)
			} else {
				some = append(some, letter)
			}
		}
		letters = letters[n:]
		if len(some) == 0 {
			continue
		}
		not, err := l.putScript(ctx, place, some)
		if err != nil {
			return nil, err
		}
		for _, letter := range not {
			full[endpointKey(letter.App, letter.Endpoint)] = true
		}
		refused = append(refused, not...)
	}
	return refused, nil
}

func (l *Letters) putScript(ctx context.Context, place string, letters []*broker.Letter) (refused []*broker.Letter, err error) {
	keys := []string{waitingKey(place), bytesKey(place), idsKey(place), sleepersKey(place)}
	args := []any{letterWindow.Milliseconds(), l.cfg.MaxAge.Milliseconds(), l.cfg.MaxLetters, l.cfg.MaxBytes, l.wake}
	numbers := map[string]int{}
	for _, letter := range letters {
		endpoint := endpointKey(letter.App, letter.Endpoint)
		if numbers[endpoint] == 0 {
			numbers[endpoint] = len(numbers) + 1
			keys, args = append(keys, streamKey(place, endpoint)), append(args, endpoint)
		}
	}
	for _, letter := range letters {
		args = append(args, numbers[endpointKey(letter.App, letter.Endpoint)], letter.ID, letter.Time.UnixMilli(), letter.Body)
	}
	which, err := putScript.Run(ctx, l.rdb, keys, args...).Int64Slice()
	if err != nil {
		return nil, err
	}
	for _, n := range which {
		if n < 1 || n > int64(len(letters)) {
			return nil, fmt.Errorf("refused letter %d of %d", n, len(letters))
		}
		refused = append(refused, letters[n-1])
	}
	for endpoint := range numbers {
		l.poke(endpoint) // a taker that is here needn't wait for word from Redis
	}
	return refused, nil
}
