package boot

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/adapters/embedded"
)

const (
	// dialTimeout bounds one try to connect to one server, askTimeout one question to JetStream.
	dialTimeout = 2 * time.Second
	askTimeout  = 2 * time.Second
	// dialPause is what lies between two rounds of tries.
	dialPause = 500 * time.Millisecond
)

// links are a node's connections to NATS. Publishing, tails and reads have one each: a read of a long
// range holds up whatever shares its connection.
type links struct {
	node    string
	prefix  string
	servers []string         // addresses; none when the server is in this process
	inside  *embedded.Server // nil when servers has addresses
	login   []nats.Option
	logger  *slog.Logger

	conns []*nats.Conn // publish, tail, read

	mu   sync.Mutex
	down map[string]outage // guarded by mu; of the connections that are cut, by name
}

// outage is a connection that is cut.
type outage struct {
	since time.Time
	err   error
}

// roles are what the connections are for, in the order of links.conns.
var roles = [...]string{"publish", "tail", "read"}

// newLinks makes what connects; it connects to nothing. Error: a file can't be read, and which.
func newLinks(cfg *Config, inside *embedded.Server, logger *slog.Logger) (*links, error) {
	l := &links{
		node: cfg.Node, prefix: cfg.NATS.Prefix, servers: cfg.NATS.Servers, inside: inside,
		logger: logger, down: map[string]outage{},
	}
	c := &cfg.NATS
	if file := c.CredentialsFile; file != "" {
		if _, err := os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("nats.credentials_file: %w", err)
		}
		l.login = append(l.login, nats.UserCredentials(file))
	}
	if c.Username != "" {
		l.login = append(l.login, nats.UserInfo(c.Username, c.Password))
	}
	if c.Token != "" {
		l.login = append(l.login, nats.Token(c.Token))
	}
	// The files are read now for what is wrong with them, and by NATS whenever it connects: a
	// certificate that was renewed is taken.
	if file := c.TLS.CAFile; file != "" {
		option := nats.RootCAs(file)
		if err := option(&nats.Options{}); err != nil {
			return nil, fmt.Errorf("nats.tls.ca_file: %w", err)
		}
		l.login = append(l.login, option)
	}
	if c.TLS.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile); err != nil {
			return nil, fmt.Errorf("nats.tls.cert_file and nats.tls.key_file: %w", err)
		}
		l.login = append(l.login, nats.ClientCert(c.TLS.CertFile, c.TLS.KeyFile))
	}
	return l, nil
}

// open connects, trying until ctx ends where the servers can't be reached, and finds out whether there
// is JetStream for us. For each connection it pushes the step that closes it.
func (l *links) open(ctx context.Context, s *stack) error {
	if l.inside == nil {
		if err := l.reach(ctx); err != nil {
			return err
		}
	}
	for _, role := range roles {
		c, err := l.connect(role)
		if err != nil {
			return fmt.Errorf("connect to NATS at %s: %w", l.where(), err)
		}
		l.conns = append(l.conns, c)
		s.push("NATS drain: "+role, drain(c))
	}
	if l.inside == nil {
		return l.allowed(ctx)
	}
	return nil
}

// where names the servers.
func (l *links) where() string {
	if l.inside != nil {
		return "the embedded server"
	}
	return strings.Join(withoutSecrets(l.servers), ", ")
}

// reach waits until one of the servers lets us in. A server that answers and refuses us won't think
// better of it, so that ends the waiting.
func (l *links) reach(ctx context.Context) error {
	for told := false; ; told = true {
		var errs []error
		refused := false
		for i, address := range l.servers {
			c, err := nats.Connect(address, append([]nats.Option{nats.Name(l.node + " knock"), nats.Timeout(dialTimeout)}, l.login...)...)
			if err == nil {
				c.Close()
				return nil
			}
			refused = refused || refusal(err)
			if errors.Is(err, nats.ErrNoServers) {
				err = errors.New("connection refused") // so the library says that
			}
			errs = append(errs, fmt.Errorf("%s: %w", withoutSecrets(l.servers)[i], err))
			if errors.Is(ctx.Err(), context.Canceled) || told && ctx.Err() != nil {
				break // each has been tried once, unless nobody wants to know
			}
		}
		err := errors.Join(errs...)
		if refused {
			return fmt.Errorf("connect to NATS: %w", oneLine(err))
		}
		if !told {
			l.logger.Warn("no NATS server can be reached; trying on", "err", oneLine(err))
		}
		if !pause(ctx, dialPause) {
			return fmt.Errorf("connect to NATS: %w: %w", ended(ctx), oneLine(err))
		}
	}
}

// refusal reports whether a server said that it doesn't want us, or we don't want it.
func refusal(err error) bool {
	var cert *tls.CertificateVerificationError
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) ||
		errors.Is(err, nats.ErrAccountAuthExpired) || errors.Is(err, nats.ErrSecureConnRequired) || errors.Is(err, nats.ErrSecureConnWanted) ||
		errors.As(err, &cert)
}

// oneLine is an error of several lines as one.
func oneLine(err error) error { return errors.New(strings.ReplaceAll(err.Error(), "\n", "; ")) }

// ended says why a start's context has: as somebody who set startup_timeout would.
func ended(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return fmt.Errorf("not within startup_timeout: %w", ctx.Err())
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connect opens a connection that comes back for as long as it isn't closed.
func (l *links) connect(role string) (*nats.Conn, error) {
	options := append([]nats.Option{
		nats.Name(l.node + " " + role),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials that are wrong for a while, while they are changed
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.PingInterval(10 * time.Second), // and one may be missed: a server whose packets vanish is left within 20 s
		nats.MaxPingsOutstanding(1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { l.cut(role, err) }),
		nats.ReconnectHandler(func(c *nats.Conn) { l.back(role, c) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			l.logger.Error("NATS connection", "connection", role, "subject", subject, "err", err)
		}),
	}, l.login...)
	if l.inside != nil {
		return l.inside.Connect(options...)
	}
	return nats.Connect(strings.Join(l.servers, ","), options...)
}

// cut notes that a connection is gone. One that we have closed ourselves has no error.
func (l *links) cut(role string, err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	if _, ok := l.down[role]; !ok {
		l.down[role] = outage{time.Now(), err}
	}
	l.mu.Unlock()
	l.logger.Warn("NATS connection lost", "connection", role, "err", err)
}

// back notes that it is there again.
func (l *links) back(role string, c *nats.Conn) {
	l.mu.Lock()
	since := l.down[role].since
	delete(l.down, role)
	l.mu.Unlock()
	l.logger.Info("NATS connection is back", "connection", role, "server", c.ConnectedServerName(), "dur", time.Since(since).Round(time.Millisecond))
}

// health returns nil while all connections stand, or which one is cut, and since when.
func (l *links) health() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, role := range roles {
		if o, ok := l.down[role]; ok {
			return fmt.Errorf("no connection to NATS (%s) since %s, %v ago: %w", role,
				o.since.UTC().Format(time.RFC3339), time.Since(o.since).Round(time.Second), o.err)
		}
	}
	return nil
}

// allowed finds out whether the account that we are in has JetStream, and we may use it.
func (l *links) allowed(ctx context.Context) error {
	c := l.conns[0]
	js, err := jetstream.New(c)
	if err != nil {
		return fmt.Errorf("JetStream at %s: %w", l.where(), err)
	}
	for {
		info, err := l.account(ctx, js)
		if err == nil && len(info.Tiers) == 0 && info.Limits.MaxStore == 0 {
			return fmt.Errorf("JetStream at %s: the account may not store anything on disk: give it room", l.where())
		}
		if err == nil {
			break
		}
		// A user who may not ask gets no answer, but the connection is told.
		if denied := c.LastError(); errors.Is(denied, nats.ErrPermissionViolation) {
			return fmt.Errorf("JetStream at %s: the user has no permission: %w", l.where(), denied)
		}
		has, _ := c.ConnectedServerJetStream()
		switch {
		case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
			return fmt.Errorf("JetStream at %s: it is not enabled for the account: enable it there", l.where())
		case noJetStream(err) && !has && c.ConnectedClusterName() == "":
			return fmt.Errorf("JetStream at %s: it is not enabled on server %s: start it with JetStream (-js)", l.where(), c.ConnectedServerName())
		case noJetStream(err):
			err = errors.New("no server of the cluster answers for JetStream: it is not enabled, or has no leader")
		}
		if !pause(ctx, dialPause) {
			return fmt.Errorf("JetStream at %s: %w: %w", l.where(), ended(ctx), err)
		}
	}
	// Nothing listens there; it is the permission that is asked for.
	if err := cmp.Or(c.Publish(l.prefix+".%start.%.b", nil), c.FlushTimeout(askTimeout)); err != nil {
		return fmt.Errorf("publish at %s: %w", l.where(), err)
	}
	if denied := c.LastError(); errors.Is(denied, nats.ErrPermissionViolation) {
		return fmt.Errorf("publish at %s: the user has no permission: %w", l.where(), denied)
	}
	return nil
}

// noJetStream reports whether an error says that nobody answers for JetStream.
func noJetStream(err error) bool {
	return errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, nats.ErrNoResponders)
}

func (l *links) account(ctx context.Context, js jetstream.JetStream) (*jetstream.AccountInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return js.AccountInfo(ctx)
}

// drain lets what is under way on a connection finish, and closes it.
func drain(c *nats.Conn) func(context.Context) error {
	return func(ctx context.Context) error {
		closed := c.StatusChanged(nats.CLOSED)
		if err := c.Drain(); err != nil {
			c.Close()
			if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionReconnecting) {
				return nil
			}
			return err
		}
		select {
		case <-closed:
			return nil
		case <-ctx.Done():
			c.Close()
			return ctx.Err()
		}
	}
}
