package redis

import (
	"context"

	"github.com/playhead/playhead/broker"
)

// LettersKey is a key of the place where an app's letters are.
func LettersKey(l *Letters, app broker.AppID) string { return waitingKey(l.place(app)) }

// Restore puts a letter before all others, where no taker that has begun looks for it.
func Restore(ctx context.Context, l *Letters, letter *broker.Letter) error {
	key := streamKey(l.place(letter.App), endpointKey(letter.App, letter.Endpoint))
	all, err := l.rdb.XRange(ctx, key, "-", "+").Result()
	if err != nil {
		return err
	}
	// Streams take nothing before their end: so the stream is written anew.
	pipe := l.rdb.TxPipeline()
	pipe.Del(ctx, key)
	pipe.Do(ctx, "XADD", key, "1-1", "i", letter.ID, "t", letter.Time.UnixMilli(), "b", letter.Body)
	for _, m := range all {
		pipe.Do(ctx, "XADD", key, m.ID, "i", m.Values["i"], "t", m.Values["t"], "b", m.Values["b"])
	}
	_, err = pipe.Exec(ctx)
	return err
}
