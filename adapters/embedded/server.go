// Package embedded is a NATS server inside the process.
package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Config configures a [Server].
type Config struct {
	// DataDir is the folder that holds the streams. It is made when it isn't there. One
	// process at a time may use it. Required.
	DataDir string

	// SyncInterval says when appended data is synced to the disk. Default 0: before each
	// acknowledgement, so that what was acknowledged survives a power cut. Else that often, and
	// a power cut takes up to that much; a killed process takes nothing either way.
	SyncInterval time.Duration

	// Commit says that [Server.Commit] is called before anybody is told that something was stored, so
	// that one sync serves all that was acknowledged by then. The server then syncs by itself only once
	// a second. Where that isn't as safe as a sync before each acknowledgement, it does that instead,
	// and [Server.Commits] tells. Not with SyncInterval, nor in a cluster, whose servers acknowledge
	// for each other. Default: no.
	Commit bool

	// ServerName is the server's name among its peers. It must not change between starts.
	// Default "playhead"; in a cluster it is required.
	ServerName string

	// Domain is the JetStream domain, by which servers behind a leafnode link are told apart.
	// Default "playhead".
	Domain string

	// MaxMemory bounds what memory streams and consumers hold, bytes. Default 256 MiB.
	MaxMemory int64

	// MaxStore bounds what the streams hold on disk, bytes. A stream's own limit is reserved
	// from it when the stream is made; one that doesn't fit is refused. Default: no bound but the
	// streams' own and the disk.
	MaxStore int64

	// Listen is the host:port where other NATS clients may connect. Default: none; only this
	// process can. In a cluster that is a port on 127.0.0.1 whose password is known here alone.
	Listen string

	// Cluster has the servers that this one replicates streams with. Default: none, it runs alone.
	Cluster Cluster

	// Logger takes what the server has to say: its notices at Debug. Default: discard.
	Logger *slog.Logger
}

// Server is a NATS server with JetStream. It is started once and shut down once; in between Run
// starts it anew when it has stopped storing.
type Server struct {
	cfg  Config
	opts server.Options
	log  *logger

	mu   sync.Mutex
	srv  *server.Server       // guarded by mu; nil unless it runs
	lock *folderLock          // guarded by mu; nil unless it runs
	lost error                // guarded by mu; the first error of a Commit
	sync func(*os.File) error // syncs the filesystem of an open file
}

// unbounded is more than any disk holds. The NATS server's own default, three quarters of what is
// free at the start, would refuse an app's stream because others might grow one day.
const unbounded = 1 << 60

// readyTimeout bounds how long Start waits for a started server when its context doesn't.
const readyTimeout = 30 * time.Second

// readyLook is how often it looks whether the server has given up.
const readyLook = 200 * time.Millisecond

// New checks cfg and returns a server that does nothing until [Server.Start] is called.
func New(cfg Config) (*Server, error) {
	var errs []error
	if cfg.DataDir == "" {
		errs = append(errs, errors.New("data folder: required"))
	}
	if cfg.SyncInterval < 0 {
		errs = append(errs, fmt.Errorf("sync interval: %v is negative", cfg.SyncInterval))
	}
	if cfg.Commit && cfg.SyncInterval > 0 {
		errs = append(errs, fmt.Errorf("commit: not with a sync interval of %v", cfg.SyncInterval))
	}
	if cfg.MaxMemory < 0 {
		errs = append(errs, fmt.Errorf("max memory: %d is negative", cfg.MaxMemory))
	}
	if cfg.MaxStore < 0 {
		errs = append(errs, fmt.Errorf("max store: %d is negative", cfg.MaxStore))
	}
	host, port, err := splitListen(cfg.Listen)
	if err != nil {
		errs = append(errs, err)
	}
	var m member
	clustered := len(cfg.Cluster.Routes) > 0 || cfg.Cluster.Listen != ""
	if cfg.Commit && clustered {
		errs = append(errs, errors.New("commit: not in a cluster"))
	}
	if clustered {
		var wrong []error
		m, wrong = cfg.Cluster.check()
		errs = append(errs, wrong...)
		if cfg.ServerName == "" {
			errs = append(errs, errors.New("server name: required in a cluster"))
		}
		if cfg.Cluster.Name == "" {
			cfg.Cluster.Name = "playhead"
		}
		if strings.ContainsAny(cfg.Cluster.Name+cfg.ServerName, " \t\r\n") {
			errs = append(errs, errors.New("cluster: no spaces in its name and the server's"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = "playhead"
	}
	if cfg.Domain == "" {
		cfg.Domain = "playhead"
	}
	if cfg.MaxMemory == 0 {
		cfg.MaxMemory = 256 << 20
	}
	if cfg.MaxStore == 0 {
		cfg.MaxStore = unbounded
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg:  cfg,
		sync: syncHeld,
		opts: server.Options{
			ServerName:             cfg.ServerName,
			Host:                   host,
			Port:                   port,
			DontListen:             cfg.Listen == "",
			NoSigs:                 true,
			JetStream:              true,
			JetStreamDomain:        cfg.Domain,
			JetStreamMaxMemory:     cfg.MaxMemory,
			JetStreamMaxStore:      cfg.MaxStore,
			DisableJetStreamBanner: true,
			StoreDir:               cfg.DataDir,
			SyncAlways:             cfg.SyncInterval == 0,
			SyncInterval:           cfg.SyncInterval,
			MaxPayload:             1 << 20,
			WriteDeadline:          10 * time.Second,
			PingInterval:           15 * time.Second,
			LameDuckDuration:       5 * time.Second,
			LameDuckGracePeriod:    time.Second,
			// The server's default of 1,000 consumers a stream would bound the nodes.
			JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: -1},
		},
		log: &logger{to: cfg.Logger},
	}
	if clustered {
		s.opts.Routes = m.routes
		s.opts.Cluster = server.ClusterOpts{
			Name: cfg.Cluster.Name, Host: m.host, Port: m.port, Username: m.user, Password: m.password,
			PingInterval: s.opts.PingInterval,
			PoolSize:     1, // all streams are one account's, and an account uses one connection of a pool
			// Clients are told all addresses by whoever runs them; what servers see each other as may be
			// no address for them.
			NoAdvertise: true,
		}
		// A server that is away is tried every second; once a minute is enough to hear of it.
		s.opts.ConnectErrorReports, s.opts.ReconnectErrorReports = 60, 60
		if cfg.Listen == "" {
			// Routing starts only with a listener for clients. Nobody is to find this one, or be let in.
			s.opts.DontListen, s.opts.Host, s.opts.Port = false, "127.0.0.1", server.RANDOM_PORT
			s.opts.Username, s.opts.Password = "inside", rand.Text()
		}
	}
	return s, nil
}

func splitListen(listen string) (host string, port int, err error) {
	if listen == "" {
		return "", 0, nil
	}
	host, p, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("listen: %w", err)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("listen: %q is not a port", p)
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

// Start takes the data folder, restores its streams and returns when the server can be connected
// to, or when ctx ends; what a cluster still needs then, [Server.Join] waits for. Errors name the
// folder: it can't be made, written to, isn't a folder, another playhead process is using it, or it is
// that of another server or cluster.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv != nil {
		return errors.New("start NATS server: it runs already")
	}
	lock, err := lockFolder(s.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("data folder %s: %w", s.cfg.DataDir, err)
	}
	if err := s.claim(); err != nil {
		return errors.Join(fmt.Errorf("data folder %s: %w", s.cfg.DataDir, err), lock.release())
	}
	if s.cfg.Commit {
		s.commit()
	}
	if err := s.run(ctx); err != nil {
		return errors.Join(fmt.Errorf("start NATS server in %s: %w", s.cfg.DataDir, err), lock.release())
	}
	s.lock = lock
	return nil
}

// run starts the server; it is called with mu held and the folder locked.
func (s *Server) run(ctx context.Context) error {
	opts := s.opts // the server keeps a pointer to what it gets
	srv, err := server.NewServer(&opts)
	if err != nil {
		return err
	}
	srv.SetLoggerV2(s.log, false, false, false)
	srv.Start() // restores the streams; it can't be stopped before it is done
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(readyTimeout)
	}
	wait := time.Until(deadline)
	// It doesn't wait for a listener that can't be bound, which is said in the log alone.
	ready := false
	for !ready && s.log.fatal() == nil && ctx.Err() == nil && time.Now().Before(deadline) {
		ready = srv.ReadyForConnections(min(readyLook, time.Until(deadline)))
	}
	if ctx.Err() == nil && ready && srv.JetStreamEnabled() {
		s.srv = srv
		return nil
	}
	srv.Shutdown()
	srv.WaitForShutdown()
	switch {
	case s.log.fatal() != nil:
		return s.log.fatal()
	case ctx.Err() != nil:
		return ctx.Err()
	case ready:
		return errors.New("JetStream is not enabled")
	}
	return fmt.Errorf("not ready after %v", wait)
}

// Connect opens a connection that doesn't leave the process. It finds the server again after
// [Server.Run] has started it anew. Error: the server doesn't run, or one of nats.Connect.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	inside := []nats.Option{nats.InProcessServer(s)}
	if s.opts.Username != "" {
		inside = append(inside, nats.UserInfo(s.opts.Username, s.opts.Password))
	}
	nc, err := nats.Connect(nats.DefaultURL, append(inside, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect in process: %w", err)
	}
	return nc, nil
}

// InProcessConn returns one end of a connection that doesn't leave the process, for
// nats.InProcessServer; [Server.Connect] is the short way, and the only one in a cluster without Listen.
// Error: the server doesn't run.
func (s *Server) InProcessConn() (net.Conn, error) {
	srv, err := s.running()
	if err != nil {
		return nil, err
	}
	return srv.InProcessConn()
}

// Addr returns where the server listens, or nil when it doesn't.
func (s *Server) Addr() net.Addr {
	srv, err := s.running()
	if err != nil || s.cfg.Listen == "" {
		return nil
	}
	return srv.Addr()
}

// Health returns nil when the server can store, or why it can't: JetStream was switched off because
// the folder can't be written to, or a stream met a write error (a full disk). JetStream doesn't
// tell publishers; they wait in vain. The server has to be started again once the cause is gone,
// which [Server.Run] does. It says nothing of a cluster's other servers; [Server.Quorum] does. After a
// [Server.Commit] that was in vain it is never nil again.
func (s *Server) Health() error {
	s.mu.Lock()
	lost := s.lost
	s.mu.Unlock()
	if lost != nil {
		return lost
	}
	return s.storing()
}

// storing is Health but for what starting anew doesn't help.
func (s *Server) storing() error {
	srv, err := s.running()
	if err != nil {
		return err
	}
	h := srv.Healthz(&server.HealthzOptions{JSEnabledOnly: s.clustered(), Details: false})
	if h.Error != "" {
		return errors.New(h.Error)
	}
	if !s.clustered() {
		return nil
	}
	// Replicas that catch up and leaders that change come and go; a write error stays.
	for _, e := range srv.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if strings.Contains(e.Error, "write error") {
			return errors.New(e.Error)
		}
	}
	return nil
}

// SyncStore writes to disk what the data folder's filesystem holds in memory. With a SyncInterval a
// stream that was just made would else be gone, its definition included, after a power cut.
func (s *Server) SyncStore() error {
	if err := syncFolder(s.cfg.DataDir); err != nil {
		return fmt.Errorf("sync data folder %s: %w", s.cfg.DataDir, err)
	}
	return nil
}

func (s *Server) running() (*server.Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv == nil {
		return nil, errors.New("NATS server doesn't run")
	}
	return s.srv, nil
}

// Shutdown stops the server, waits until its files are closed and gives the data folder free.
// Connections end. When ctx ends first it returns the context's error with the server still
// stopping and the folder still taken; the process should then end. Shutting down a server that
// doesn't run does nothing.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	srv, lock := s.srv, s.lock
	s.srv, s.lock = nil, nil
	s.mu.Unlock()
	if srv == nil {
		return nil
	}
	released := make(chan error, 1)
	go func() {
		srv.Shutdown()
		srv.WaitForShutdown()
		released <- lock.release()
	}()
	select {
	case err := <-released:
		if err != nil {
			return fmt.Errorf("give data folder %s free: %w", s.cfg.DataDir, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shut down NATS server: %w", ctx.Err())
	}
}
