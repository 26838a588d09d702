package streams

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// What JetStream answers when it hasn't got as many servers as a stream is to have replicas.
const (
	codeNoPeers      = 10005
	codeNotClustered = 10074
)

// gather is how long the servers of a cluster are given to know each other, and gatherPause how often
// they are asked: those that start together call each other offline for a second.
const (
	gather      = 10 * time.Second
	gatherPause = 100 * time.Millisecond
)

// tooFew reports whether an error says that there aren't enough servers, now, for a stream's replicas.
func tooFew(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeNoPeers || api.ErrorCode == codeNotClustered)
}

// makeStream makes a stream with the replicas that the configuration wants, or, when there are too few
// servers for them now, with one: an app that is new while a server is away is to work, and what it
// stores is to be replicated once the server is back, which replicate sees to. A node that has just
// started waits for the others first: JetStream takes some ten seconds to get from one replica to three.
func (st *stream) makeStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	create := func() (jetstream.Stream, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*tryTimeout) // replicas elect a leader first
		defer cancel()
		return js.CreateStream(ctx, cfg)
	}
	handle, err := create()
	for cfg.Replicas > 1 && tooFew(err) && time.Since(st.s.began) < gather {
		select {
		case <-time.After(gatherPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		handle, err = create()
	}
	if cfg.Replicas > 1 && tooFew(err) {
		st.s.cfg.Logger.Warn("stream is made with one replica, for there are too few servers for more now",
			"app", st.app, "stream", st.name, "wanted", cfg.Replicas, "err", err)
		cfg.Replicas = 1
		handle, err = create()
	}
	return handle, err
}

// replicate gives a stream the replicas that the configuration wants, if it has fewer. One that has
// more keeps them: of two nodes with different configurations the more careful one is right. While there
// are too few servers the stream stays as it is.
func (st *stream) replicate(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo) (*jetstream.StreamInfo, error) {
	want, have := st.s.cfg.Replicas, info.Config.Replicas
	if have >= want {
		return info, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*tryTimeout)
	defer cancel()
	cfg := info.Config
	cfg.Replicas = want
	handle, err := js.UpdateStream(ctx, cfg)
	switch {
	case tooFew(err):
		st.s.cfg.Logger.Debug("stream keeps its replicas, for there are too few servers for more now",
			"app", st.app, "stream", st.name, "replicas", have, "wanted", want, "err", err)
		return info, nil
	case err != nil:
		return nil, err
	}
	st.s.cfg.Logger.Info("stream has more replicas now", "app", st.app, "stream", st.name, "before", have, "replicas", want)
	return handle.CachedInfo(), nil
}

// keepReplicas gives cfg the replicas of the stream that it is for when those are more.
func keepReplicas(ctx context.Context, js jetstream.JetStream, cfg *jetstream.StreamConfig) error {
	handle, err := js.Stream(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil {
		cfg.Replicas = max(cfg.Replicas, handle.CachedInfo().Config.Replicas)
	}
	return err
}
