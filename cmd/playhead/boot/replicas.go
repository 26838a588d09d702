package boot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// replicated is how many servers hold a stream where there are as many.
	replicated = 3
	// gather is how long a cluster that seems smaller is given: it may be starting, too.
	gather = 5 * time.Second
)

// What JetStream answers when it hasn't got as many servers as a stream wants.
const (
	codeNoPeers      = 10005
	codeNotClustered = 10074
)

// replicas finds out on how many servers to hold each stream. Nobody but the servers' own operators
// can ask how many there are, and a client is told addresses, of which a server may have many. So a
// stream that wants three is made, and deleted: if it can be had, there are three.
func (l *links) replicas(ctx context.Context) (int, error) {
	c := l.conns[0]
	if c.ConnectedClusterName() == "" {
		return 1, nil
	}
	js, err := jetstream.New(c)
	if err != nil {
		return 0, err
	}
	name := l.prefix + "_%start"
	cfg := jetstream.StreamConfig{
		Name: name, Description: "Playhead tries how many replicas there can be; it may be deleted", Subjects: []string{l.prefix + ".%start"},
		Replicas: replicated, MaxMsgs: 1, MaxBytes: 1024, Discard: jetstream.DiscardNew,
	}
	began := time.Now()
	for {
		err := try(ctx, func(ctx context.Context) error {
			_, err := js.CreateStream(ctx, cfg)
			return err
		})
		var api *jetstream.APIError
		few := errors.As(err, &api) && (api.ErrorCode == codeNoPeers || api.ErrorCode == codeNotClustered)
		most := 0
		if few {
			most = l.held(ctx, js)
		}
		switch {
		case err == nil:
			// Another node that starts may have deleted it already. Left behind, it does no harm.
			err = try(ctx, func(ctx context.Context) error { return js.DeleteStream(ctx, name) })
			if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				l.logger.Warn("a stream that was made to find out the replicas is left behind", "stream", name, "err", err)
			}
			return replicated, nil
		case most > 1:
			return most, nil // some servers are away
		case few && time.Since(began) > gather:
			l.logger.Warn("streams will have one replica, and end with its server: the cluster has no three servers with room; set nats.replicas to say what is wanted",
				"cluster", c.ConnectedClusterName(), "err", err)
			return 1, nil
		case api != nil && !few && api.Code != 503:
			return 0, fmt.Errorf("find out how many replicas the cluster at %s can hold (nats.replicas): %w", l.where(), err)
		case errors.Is(c.LastError(), nats.ErrPermissionViolation):
			return 0, fmt.Errorf("make a stream at %s: the user has no permission: %w", l.where(), c.LastError())
		}
		if !pause(ctx, dialPause) {
			return 0, fmt.Errorf("find out how many replicas the cluster at %s can hold (nats.replicas): %w: %w", l.where(), ended(ctx), err)
		}
	}
}

// held is the most replicas that any of our streams has, of the first few hundred.
func (l *links) held(ctx context.Context, js jetstream.JetStream) int {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	most, left := 0, 256
	for info := range js.ListStreams(ctx, jetstream.WithStreamListSubject(l.prefix+".>")).Info() {
		most = max(most, info.Config.Replicas)
		if left--; left == 0 {
			break
		}
	}
	return most
}

// try gives a request the time that one takes when replicas have to elect.
func try(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	return request(ctx)
}
