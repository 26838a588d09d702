package prove

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// overseer asks the NATS servers who leads, and whether their replicas are whole. It goes around the
// links.
type overseer struct {
	conn *nats.Conn
	js   jetstream.JetStream
}

const overseerTimeout = 2 * time.Second

// newOverseer connects to one of the addresses, now or later.
func newOverseer(addrs []string) (*overseer, error) {
	conn, err := nats.Connect(strings.Join(addrs, ","), nats.Name("prove"), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(50*time.Millisecond), nats.Timeout(overseerTimeout), nats.IgnoreDiscoveredServers(),
		nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(1))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &overseer{conn: conn, js: js}, nil
}

func (o *overseer) close() { o.conn.Close() }

// ready returns nil when JetStream answers, or why it doesn't.
func (o *overseer) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, overseerTimeout)
	defer cancel()
	_, err := o.js.AccountInfo(ctx)
	return err
}

// leader returns the name of the server that leads a stream, and those of its followers.
func (o *overseer) leader(ctx context.Context, stream string) (leader string, followers []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, overseerTimeout)
	defer cancel()
	s, err := o.js.Stream(ctx, stream)
	if err != nil {
		return "", nil, fmt.Errorf("ask who leads %s: %w", stream, err)
	}
	c := s.CachedInfo().Cluster
	if c == nil || c.Leader == "" {
		return "", nil, fmt.Errorf("%s has no leader", stream)
	}
	for _, r := range c.Replicas {
		followers = append(followers, r.Name)
	}
	return c.Leader, followers, nil
}

// whole returns nil when every stream has a leader and all its replicas are as new, or what is missing.
func (o *overseer) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, overseerTimeout)
	defer cancel()
	list := o.js.ListStreams(ctx)
	n := 0
	for info := range list.Info() {
		n++
		c := info.Cluster
		if info.Config.Replicas < 2 {
			continue
		}
		if c == nil || c.Leader == "" {
			return fmt.Errorf("%s has no leader", info.Config.Name)
		}
		if len(c.Replicas) != info.Config.Replicas-1 {
			return fmt.Errorf("%s has %d followers of %d", info.Config.Name, len(c.Replicas), info.Config.Replicas-1)
		}
		for _, r := range c.Replicas {
			if r.Offline || !r.Current {
				return fmt.Errorf("%s is behind at %s", info.Config.Name, r.Name)
			}
		}
	}
	switch {
	case list.Err() != nil:
		return fmt.Errorf("list streams: %w", list.Err())
	case n == 0:
		return errors.New("there are no streams")
	}
	return nil
}
