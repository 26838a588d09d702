package boot

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/page"
	"github.com/playhead/playhead/replay/client"
)

// started is what the start message tells.
type started struct {
	cfg      *Config
	replicas int    // of each stream
	clients  string // address of WebSockets and HTTP, to show people
	metrics  string // address of the second listener; empty when it is off
	now      time.Time
}

// write tells a person where to connect, what is kept how safely, and what to try next.
func (s *started) write(w io.Writer) error {
	var b strings.Builder
	b.WriteString("\nPlayhead is up.\n\n")
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s "+format+"\n", append([]any{name}, args...)...)
	}
	key, id := "{key}", "{app_id}" // as there is no app yet
	if all := s.cfg.apps(); len(all) > 0 {
		key, id = all[0].Credentials[0].Key, string(all[0].ID)
		if len(all) > 1 {
			key += fmt.Sprintf("   (and %d more)", len(all)-1)
		}
	}
	line("clients", "ws://%s/app/%s", s.clients, key)
	line("HTTP API", "http://%s/apps/%s", s.clients, id)
	if s.cfg.testPage() {
		line("test page", "http://%s%s", s.clients, page.Path)
	}
	if s.metrics != "" {
		line("metrics", "http://%s/metrics", s.metrics)
	}
	line("node", "%s", s.cfg.Node)
	switch {
	case !s.cfg.onNATS():
		line("medium", "%s", s.cfg.medium())
	case !s.cfg.alone():
		line("NATS", "%s; replicas of each stream: %d", s.cfg.medium(), s.replicas)
	}
	if s.cfg.onNATS() && len(s.cfg.NATS.Servers) == 0 {
		line("data", "%s", absolute(s.cfg.DataDir))
	}
	if where, ok := s.cfg.appsElsewhere(); ok {
		line("apps", "%s", where)
	}
	line("kept", "%s", s.cfg.kept())
	line("durability", "%s", s.cfg.durability(s.replicas))
	if len(s.cfg.apps()) > 0 {
		fmt.Fprintf(&b, "\nPublish something:\n\n  %s\n", s.example())
	} else {
		b.WriteString("\nMake an app; the server takes it within seconds:\n\n  playhead apps add\n")
	}
	if s.cfg.forDevelopment() {
		if command, ok := s.curl(); ok {
			fmt.Fprintf(&b, "\nor, until %s, without it:\n\n  %s", s.now.Add(10*time.Minute).Format("15:04"), command)
		}
		b.WriteString("\n" + developmentWarning + "\n")
	}
	b.WriteString("\nCtrl-C stops the server; a second one ends it at once.\n\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// developmentWarning is what those should read who are about to put this on a network.
const developmentWarning = `  !!  THESE CREDENTIALS ARE FOR DEVELOPMENT. Everybody knows app-secret: whoever reaches this port
  !!  can publish and join any channel. Set PLAYHEAD_DEFAULT_APP_ID, _KEY and _SECRET, or apps in a
  !!  configuration file, before anyone else does.`

// medium says where the streams are, or what carries the events.
func (c *Config) medium() string {
	switch {
	case !c.onNATS():
		return c.redisPlace()
	case len(c.NATS.Servers) > 0:
		return strings.Join(withoutSecrets(c.NATS.Servers), ", ")
	case len(c.Cluster.Routes) > 0:
		return fmt.Sprintf("embedded, cluster %s of %s", c.Cluster.Name, strings.Join(withoutSecrets(c.Cluster.Routes), ", "))
	}
	return "embedded, " + absolute(c.DataDir)
}

// testPage says that the test page is served, which is the first app's.
func (c *Config) testPage() bool { return c.Environment != production && len(c.apps()) > 0 }

// appsElsewhere says in which database the apps are.
func (c *Config) appsElsewhere() (string, bool) {
	if c.AppManager.file() {
		return "", false
	}
	_, s, port := c.used()
	host := s.Host
	if !strings.HasPrefix(host, "/") { // else it is a socket
		host = hostPort(host, port)
	}
	return fmt.Sprintf("%d in %s %s/%s", len(c.Apps), c.AppManager.Driver, host, s.Database), true
}

// durability says what an answered publish survives, in words that were tested.
func (c *Config) durability(replicas int) string {
	if !c.onNATS() {
		return fmt.Sprintf("what was answered 200 was given to every node that listened;\n"+
			"%14swhile Redis is away publishes are answered 503", "")
	}
	if len(c.NATS.Servers) > 0 {
		survives := "ends with its server's disk"
		if replicas > 1 {
			survives = fmt.Sprintf("is on %d of %d servers and survives the loss of any one", replicas/2+1, replicas)
		}
		return fmt.Sprintf("what was answered 200 %s;\n%14swhat a power cut of all takes is for their sync_interval to say", survives, "")
	}
	if c.Sync.Mode == "interval" {
		return fmt.Sprintf("what was answered 200 survives the end of this process, kill -9 too;\n"+
			"%14sa power cut may take up to the last %v of it (sync.mode: interval)", "", c.Sync.Interval)
	}
	return "what was answered 200 is on disk and survives a power cut (sync.mode: always)"
}

// kept says how long a client can be away.
func (c *Config) kept() string {
	if !c.onNATS() {
		return "nothing: Redis carries events, and clients that were away don't get what they missed"
	}
	var bounds []string
	if c.Streams.MaxAge != None {
		bounds = append(bounds, c.Streams.MaxAge.String())
	}
	if c.Streams.MaxBytes != None {
		bounds = append(bounds, c.Streams.MaxBytes.String())
	}
	if c.Streams.MaxEvents != None {
		bounds = append(bounds, c.Streams.MaxEvents.String()+" events")
	}
	if len(bounds) == 0 {
		return "everything, as long as the disk has room"
	}
	return "the last " + strings.Join(bounds, " or ") + " of each app"
}

// example is the command to try next, spelled so that it works where the server was started.
func (s *started) example() string {
	command := "playhead"
	if exe := os.Args[0]; strings.Contains(exe, "go-build") {
		command = "go run ./cmd/playhead" // what go run built is gone when it ends
	} else if filepath.Base(exe) != exe {
		command = exe
	}
	options := ""
	if s.clients != "127.0.0.1:6001" {
		options = " --url http://" + s.clients
	}
	return command + ` publish` + options + ` my-channel my-event '{"hello":"world"}'`
}

// curl is the same without this program.
func (s *started) curl() (string, bool) {
	cfg, err := Target{URL: "http://" + s.clients}.Client(*s.cfg)
	if err != nil {
		return "", false
	}
	c, err := client.New(cfg)
	if err != nil {
		return "", false
	}
	r, err := c.NewPublish(context.Background(), client.Publication{
		Channels: []broker.Channel{"my-channel"}, Event: "my-event", Data: `{"hello":"world"}`,
	})
	if err != nil {
		return "", false
	}
	command, err := Curl(r)
	return command, err == nil
}

// absolute spells a path so that it can be found from elsewhere.
func absolute(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}
