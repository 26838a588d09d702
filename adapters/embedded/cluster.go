package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Cluster makes a [Server] one of several that replicate streams among each other.
type Cluster struct {
	// Name is the cluster's name, the same for all servers. Default "playhead".
	Name string

	// Listen is the host:port where the other servers connect. Required.
	Listen string

	// Routes are the Listen addresses of all servers, this one among them, the same list on each:
	// host:port or nats://host:port. Their number says how many elect, so it has to be at least
	// three. With a user and a password in them (nats://user:password@host:port, the same in each)
	// servers that don't know these are kept out.
	Routes []string
}

// member is a checked [Cluster] in the server's words.
type member struct {
	routes         []*url.URL
	host           string
	port           int
	user, password string
}

const (
	// joinTick is how often a server that joins, or steps down, is looked at.
	joinTick = 20 * time.Millisecond
	// stepDownAgain is how long others are given to take a lead before they are asked again.
	stepDownAgain = time.Second
)

// check returns what cfg means, and everything that is wrong with it.
func (c *Cluster) check() (member, []error) {
	var m member
	var errs []error
	if n := len(c.Routes); n < 3 {
		errs = append(errs, fmt.Errorf("cluster: %d routes: with fewer than three servers the end of one stops all", n))
	}
	var err error
	switch m.host, m.port, err = splitListen(c.Listen); {
	case err != nil:
		errs = append(errs, fmt.Errorf("cluster: %w", err))
	case c.Listen == "":
		errs = append(errs, errors.New("cluster: listen: required"))
	case m.port == server.RANDOM_PORT:
		errs = append(errs, errors.New("cluster: listen: the other servers have to know the port"))
	}
	for i, text := range c.Routes {
		u, err := ParseRoute(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("cluster: route %d: %w", i+1, err))
			continue
		}
		if slices.ContainsFunc(m.routes, func(r *url.URL) bool { return r.Host == u.Host }) {
			errs = append(errs, fmt.Errorf("cluster: route %d: %s is given twice", i+1, u.Host))
		}
		if i > 0 && len(m.routes) > 0 && m.routes[0].User.String() != u.User.String() {
			errs = append(errs, fmt.Errorf("cluster: route %d: %s has not the user and password of the others", i+1, u.Host))
		}
		m.routes = append(m.routes, u)
	}
	if len(m.routes) > 0 {
		m.user = m.routes[0].User.Username()
		m.password, _ = m.routes[0].User.Password()
	}
	return m, errs
}

// ParseRoute reads a route of a [Cluster]. The error doesn't repeat the text: it may hold a password.
func ParseRoute(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "nats" || u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("is not an address of the form nats://host:port")
	}
	u.Path = ""
	return u, nil
}

// clustered reports whether the server is one of several.
func (s *Server) clustered() bool { return len(s.cfg.Cluster.Routes) > 0 }

// Join waits until the cluster has a leader and this server's replicas are as new as the others', or
// ctx ends; a server that runs alone has nothing to wait for. Call it after [Server.Start], on all
// servers at the same time: a cluster has a leader once more than half of its servers are there.
//
// Replicas that take longer than ctx are no error, but are logged: until they are there another
// server's end may stop their streams. Errors: there is no leader when ctx ends; another server has
// this one's name.
func (s *Server) Join(ctx context.Context) error {
	if !s.clustered() {
		return nil
	}
	tick := time.NewTicker(joinTick)
	defer tick.Stop()
	for {
		srv, err := s.running()
		if err != nil {
			return err
		}
		if s.log.duplicate(s.cfg.ServerName) {
			return fmt.Errorf("join cluster %s: another server in it is called %s, too; each needs a name of its own", s.cfg.Cluster.Name, s.cfg.ServerName)
		}
		leader := metaLeader(srv)
		cause := ""
		if leader != "" {
			if cause = srv.Healthz(&server.HealthzOptions{}).Error; cause == "" {
				s.cfg.Logger.Info("joined the cluster", "cluster", s.cfg.Cluster.Name, "leader", leader, "others", others(srv))
				return nil
			}
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		if leader == "" || errors.Is(ctx.Err(), context.Canceled) {
			return fmt.Errorf("join cluster %s: %w: %w", s.cfg.Cluster.Name, ctx.Err(), s.leaderless(srv))
		}
		s.cfg.Logger.Warn("the replicas here are not as new as the others yet; leave the other servers running until they are",
			"cluster", s.cfg.Cluster.Name, "err", cause)
		return nil
	}
}

// Quorum returns nil when the cluster has a leader, or why nothing can be stored in it: so few of its
// servers are connected, or they are electing, which takes them a few seconds. A server that runs alone
// has what it needs.
func (s *Server) Quorum() error {
	if !s.clustered() {
		return nil
	}
	srv, err := s.running()
	if err != nil {
		return err
	}
	if metaLeader(srv) != "" {
		return nil
	}
	return s.leaderless(srv)
}

// leaderless says how things stand without a leader.
func (s *Server) leaderless(srv *server.Server) error {
	connected := others(srv)
	names := "none"
	if len(connected) > 0 {
		names = strings.Join(connected, ", ")
	}
	err := fmt.Errorf("the cluster has no leader; of its other %d servers these are connected: %s", len(s.cfg.Cluster.Routes)-1, names)
	if last := s.log.lastError(); last != "" {
		err = fmt.Errorf("%w (%s)", err, last)
	}
	return err
}

// Lost returns nil, or an error when so few servers would be left without this one that nothing could
// be stored any more.
func (s *Server) Lost() error {
	if !s.clustered() {
		return nil
	}
	srv, _ := s.running()
	if srv == nil {
		return nil // one that doesn't run neither leads nor counts
	}
	size := len(s.cfg.Cluster.Routes)
	if left := len(others(srv)); left <= size/2 {
		return fmt.Errorf("%d of the cluster's %d servers are left, too few to store anything", left, size)
	}
	return nil
}

// StepDown gives away the lead of streams and consumers that this server has, and returns when others
// have taken it, or when ctx ends. Publishers wait for that long; a server that is shut down without
// it does the same, but with its clients gone at the same time. A lone server has nobody to give it to.
func (s *Server) StepDown(ctx context.Context) error {
	if !s.clustered() {
		return nil
	}
	srv, _ := s.running()
	if srv == nil {
		return nil // one that doesn't run neither leads nor counts
	}
	if lost := s.Lost(); lost != nil {
		s.cfg.Logger.Warn("this server's end stops the cluster", "cluster", s.cfg.Cluster.Name, "err", lost)
		return nil // there is nobody to lead
	}
	began := time.Now()
	led, err := leads(srv)
	if err != nil {
		return fmt.Errorf("step down: %w", err)
	}
	all := len(led)
	tick := time.NewTicker(joinTick)
	defer tick.Stop()
	var asked time.Time
	for {
		// Asked once more from time to time: one that is elected by itself again, because the others
		// weren't as new, leads on otherwise.
		if time.Since(asked) > stepDownAgain {
			asked = time.Now()
			for _, l := range led {
				if err := l.stepDown(srv); err != nil {
					s.cfg.Logger.Debug("step down", "stream", l.stream, "consumer", l.consumer, "err", err)
				}
			}
		}
		led = slices.DeleteFunc(led, func(l lead) bool { return l.taken(srv) })
		if len(led) == 0 {
			s.cfg.Logger.Info("stepped down", "cluster", s.cfg.Cluster.Name, "leads", all, "dur", time.Since(began))
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("step down: %d of %d leads not taken by others: %w", len(led), all, ctx.Err())
		}
	}
}

// lead is a stream or, with a name, a consumer that a server leads.
type lead struct{ account, stream, consumer string }

// leads lists what srv leads and others could.
func leads(srv *server.Server) ([]lead, error) {
	info, err := srv.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Consumer: true})
	if err != nil {
		return nil, err
	}
	var list []lead
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			if stream.Cluster == nil || len(stream.Cluster.Replicas) == 0 {
				continue // one replica, which stays where it is
			}
			if srv.JetStreamIsStreamLeader(account.Id, stream.Name) {
				list = append(list, lead{account: account.Id, stream: stream.Name})
			}
			for _, c := range stream.Consumer {
				if c.Cluster != nil && len(c.Cluster.Replicas) > 0 && srv.JetStreamIsConsumerLeader(account.Id, stream.Name, c.Name) {
					list = append(list, lead{account.Id, stream.Name, c.Name})
				}
			}
		}
	}
	return list, nil
}

func (l lead) stepDown(srv *server.Server) error {
	if l.consumer != "" {
		return srv.JetStreamStepdownConsumer(l.account, l.stream, l.consumer)
	}
	return srv.JetStreamStepdownStream(l.account, l.stream)
}

// taken reports whether another server leads now. What is gone needs no leader.
func (l lead) taken(srv *server.Server) bool {
	if l.consumer != "" {
		return !srv.JetStreamIsConsumerLeader(l.account, l.stream, l.consumer)
	}
	if srv.JetStreamIsStreamLeader(l.account, l.stream) {
		return false
	}
	info, err := srv.Jsz(&server.JSzOptions{Account: l.account, Streams: true})
	if err != nil {
		return true
	}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			if stream.Name == l.stream && stream.Cluster != nil {
				return stream.Cluster.Leader != ""
			}
		}
	}
	return true
}

// metaLeader returns the name of the server that leads the cluster as srv knows it, "" for none.
func metaLeader(srv *server.Server) string {
	info, err := srv.Jsz(&server.JSzOptions{})
	if err != nil || info.Meta == nil {
		return ""
	}
	return info.Meta.Leader
}

// others lists the servers that srv is connected to.
func others(srv *server.Server) []string {
	z, err := srv.Routez(&server.RoutezOptions{})
	if err != nil {
		return nil
	}
	var names []string
	for _, r := range z.Routes {
		if r.RemoteName != "" {
			names = append(names, r.RemoteName)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
