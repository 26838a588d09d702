package boot

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/apps"
	"github.com/playhead/playhead/broker/webhook"
)

// Names go into file names, NATS names and metrics, so they are plain.
var (
	nodeForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)
)

// check finds what is wrong with a filled configuration.
func (l *loader) check(c *Config) {
	for _, s := range settings(c) {
		l.checkSetting(s)
	}
	l.checkNames(c)
	l.checkTimes(c)
	if l.good("websocket.queue_bytes") && c.WebSocket.QueueBytes < minQueueBytes {
		l.problem("%s: %v is less than %v, which a large message with its frame may need",
			l.at("websocket.queue_bytes"), c.WebSocket.QueueBytes, minQueueBytes)
	}
	if total := c.WebSocket.TotalQueueBytes; l.good("websocket.total_queue_bytes", "websocket.queue_bytes") && total > 0 && total < c.WebSocket.QueueBytes {
		l.problem("%s: %v is less than one connection may have, websocket.queue_bytes, %v",
			l.at("websocket.total_queue_bytes"), total, c.WebSocket.QueueBytes)
	}
	if code := c.WebSocket.TerminationCode; l.good("websocket.termination_code") && (code < 4000 || code > 4299) {
		l.problem("%s: %v is not between 4000 and 4299, the codes that clients act on", l.at("websocket.termination_code"), code)
	}
	if c.Metrics.Enabled == On && c.Metrics.Port == c.Port && c.Port != AnyPort && l.good("port", "metrics.port") {
		l.problem("%s: %v is the port of the WebSockets too; give metrics one of its own", l.at("metrics.port"), c.Port)
	}
	l.checkMedium(c)
	l.checkDrivers(c)
	l.checkProxies(c)
	l.checkDatabase(c)
	l.checkApps(c)
	if c.Environment == production && c.forDevelopment() {
		l.problem("%s: production, with a secret that everybody knows (app-secret); set PLAYHEAD_DEFAULT_APP_ID, _KEY and _SECRET, or apps",
			l.at("environment"))
	}
}

// production is the environment of people who didn't come to try things.
const production = "production"

// checkProxies checks how clients' addresses are found.
func (l *loader) checkProxies(c *Config) {
	if !l.good("http.trusted_proxies", "http.trusted_hops") {
		return
	}
	for _, text := range c.HTTP.TrustedProxies {
		if _, err := network(text); err != nil {
			l.problem("%s: %q is neither an address nor a network; write 10.1.2.3 or 10.0.0.0/8", l.at("http.trusted_proxies"), text)
		}
	}
	if len(c.HTTP.TrustedProxies) > 0 && c.HTTP.TrustedHops > 0 {
		l.problem("%s: give either the proxies or their number, http.trusted_hops", l.at("http.trusted_proxies"))
	}
}

// minQueueBytes is the least bound of a session's queue: no single frame may overflow it.
const minQueueBytes Size = 64 << 10

// good says that all the keys' texts could be read.
func (l *loader) good(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { return l.bad[k] })
}

// checkSetting checks what every setting of its kind must be.
func (l *loader) checkSetting(s setting) {
	if !l.good(s.key) {
		return
	}
	// What has no default of its own may be empty.
	if len(s.oneof) > 0 && !s.field.IsZero() && !slices.Contains(s.oneof, s.field.String()) {
		only := ""
		if len(s.oneof) == 1 {
			only = "only "
		}
		l.problem("%s: unknown value %q; known: %s%s", l.at(s.key), s.field.String(), only, strings.Join(s.oneof, ", "))
	}
	if s.field.Type() == reflect.TypeFor[Port]() {
		if p := s.field.Int(); p != int64(AnyPort) && (p < 1 || p > math.MaxUint16) {
			l.problem("%s: %d is not a port", l.at(s.key), p)
		}
		return
	}
	if s.field.Kind() != reflect.Int64 {
		return
	}
	switch v := s.field.Int(); {
	case v < None:
		l.problem("%s: %d is negative", l.at(s.key), v)
	case v == None && !s.none:
		l.problem("%s: must be more than 0", l.at(s.key))
	}
}

func (l *loader) checkNames(c *Config) {
	if c.Node != "" && !nodeForm.MatchString(c.Node) {
		l.problem("%s: %q; a node's name is 1 to 128 letters, digits, '.', '_' and '-'", l.at("node"), c.Node)
	}
	if !prefixForm.MatchString(c.NATS.Prefix) {
		l.problem("%s: %q; a prefix is 1 to 32 letters, digits, '_' and '-'", l.at("nats.prefix"), c.NATS.Prefix)
	}
	if strings.ContainsRune(c.DataDir, 0) || filepath.Clean(c.DataDir) == string(filepath.Separator) {
		l.problem("%s: %q; name a folder for this server alone", l.at("data_dir"), c.DataDir)
	}
}

// checkTimes checks the times that must fit each other.
func (l *loader) checkTimes(c *Config) {
	for _, pair := range []struct {
		key, of     string
		value, most Duration
		strictly    bool
		why         string
	}{
		{"streams.duplicate_window", "streams.max_age", c.Streams.DuplicateWindow, c.Streams.MaxAge, false,
			"an id can't be remembered longer than its event"},
		{"streams.append_timeout", "streams.duplicate_window", c.Streams.AppendTimeout, c.Streams.DuplicateWindow, true,
			"an event that is sent again later could be stored twice"},
		{"shutdown.grace", "shutdown.timeout", c.Shutdown.Grace, c.Shutdown.Timeout, true,
			"nothing else would have its turn"},
		{"shutdown.drain", "shutdown.timeout", c.Shutdown.Drain, c.Shutdown.Timeout, true,
			"the other steps need time too"},
		{"http.publish_timeout", "http.write_timeout", c.HTTP.PublishTimeout, c.HTTP.WriteTimeout, true,
			"a late answer could no longer be written"},
	} {
		if !l.good(pair.key, pair.of) || pair.value == None || pair.most == None {
			continue
		}
		if pair.value > pair.most || pair.strictly && pair.value == pair.most {
			word := "at most"
			if pair.strictly {
				word = "less than"
			}
			l.problem("%s: %v must be %s %s, %v: %s", l.at(pair.key), pair.value, word, pair.of, pair.most, pair.why)
		}
	}
	if v := time.Duration(c.WebSocket.ActivityTimeout); v > 0 && v%time.Second != 0 {
		l.problem("%s: %v is not in whole seconds, as the protocol wants it", l.at("websocket.activity_timeout"), v)
	}
	if v := c.Sync.Interval; v > 0 && time.Duration(v) < 10*time.Millisecond {
		l.problem("%s: %v is less than 10ms; mode always is what comes closest to it", l.at("sync.interval"), v)
	}
}

// checkApps asks package apps what is wrong with the apps, so that there is one judge of them.
func (l *loader) checkApps(c *Config) {
	for i, a := range c.Apps {
		if (a.Key != "" || a.Secret != "") && len(a.Credentials) > 0 {
			l.problem("%s: has key and secret as well as credentials; give one of the two", l.at(fmt.Sprintf("apps[%d]", i)))
		}
	}
	if !l.good("apps") {
		return
	}
	where := "default_app"
	if len(c.Apps) > 0 {
		where = l.at("apps")
	}
	all := c.apps()
	_, err := apps.New(apps.Config{Apps: all})
	for _, err := range unjoin(err) {
		l.problem("%s: %v", where, err)
	}
	for i, app := range all {
		key := "default_app.webhooks"
		if len(c.Apps) > 0 {
			key = fmt.Sprintf("apps[%d].webhooks", i)
		}
		if l.good(key) {
			l.checkWebhooks(key, app.Webhooks)
		}
	}
}

// checkWebhooks asks package webhook what is wrong with an app's endpoints.
func (l *loader) checkWebhooks(key string, endpoints []broker.Endpoint) {
	seen := map[string]int{}
	for i, e := range endpoints {
		at := l.at(fmt.Sprintf("%s[%d]", key, i))
		for _, err := range unjoin(webhook.CheckEndpoint(e)) {
			l.problem("%s: %v", at, err)
		}
		// An endpoint without a name is known by its URL.
		name := cmp.Or(e.Name, e.URL)
		if first, ok := seen[name]; ok {
			l.problem("%s: has the name, or without one the URL, of webhooks[%d]; give it a name of its own", at, first)
			continue
		}
		seen[name] = i
	}
}

// unjoin lists what an error wraps together.
func unjoin(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if joined, ok := e.(interface{ Unwrap() []error }); ok {
			return joined.Unwrap()
		}
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
