package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// key names an endpoint among all apps'.
type key struct {
	app  broker.AppID
	name string
}

// endpoint is a checked one of an app. It is immutable.
type endpoint struct {
	key
	url        string
	header     http.Header // what is sent but the protocol's own
	credential broker.Credential
	batch      bool
	prefix     string
	suffix     string
	events     []string // names that are told
	follow     bool     // the app's client events are to be followed for it
}

// endpoints are all there are at a time. They are immutable.
type endpoints struct {
	byApp map[broker.AppID][]*endpoint
	byKey map[key]*endpoint
}

// eventNames are what webhooks can tell.
var eventNames = [...]string{
	pusher.WebhookChannelOccupied, pusher.WebhookChannelVacated,
	pusher.WebhookMemberAdded, pusher.WebhookMemberRemoved,
	pusher.WebhookClientEvent, pusher.WebhookCacheMiss, pusher.WebhookSubscriptionCount,
}

// counterpart returns what takes back an event that is held back, "" for other events.
func counterpart(name string) string {
	switch name {
	case pusher.WebhookChannelVacated:
		return pusher.WebhookChannelOccupied
	case pusher.WebhookMemberRemoved:
		return pusher.WebhookMemberAdded
	}
	return ""
}

// newEndpoints checks the apps' endpoints. The error names every problem there is.
func newEndpoints(apps []*broker.App) (*endpoints, error) {
	all := &endpoints{byApp: map[broker.AppID][]*endpoint{}, byKey: map[key]*endpoint{}}
	var errs []error
	for _, app := range apps {
		for i, from := range app.Webhooks {
			report := func(err error) {
				errs = append(errs, fmt.Errorf("app %s: webhook %d: %w", app.ID, i+1, err))
			}
			if err := CheckEndpoint(from); err != nil {
				report(err)
				continue
			}
			if len(app.Credentials) == 0 {
				report(errors.New("the app has no credential to sign with"))
				continue
			}
			e := newEndpoint(app, from)
			if all.byKey[e.key] != nil {
				report(fmt.Errorf("name: another one is called %s, too, or has the same URL", e.name))
				continue
			}
			all.byKey[e.key] = e
			all.byApp[app.ID] = append(all.byApp[app.ID], e)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

func newEndpoint(app *broker.App, from broker.Endpoint) *endpoint {
	e := &endpoint{
		key:        key{app.ID, from.Name},
		url:        from.URL,
		header:     http.Header{"User-Agent": {"Playhead"}},
		credential: app.Credentials[0],
		batch:      from.Batch,
		prefix:     from.ChannelPrefix,
		suffix:     from.ChannelSuffix,
	}
	if e.name == "" {
		sum := sha256.Sum256([]byte(from.URL))
		e.name = hex.EncodeToString(sum[:8])
	}
	for name, value := range from.Headers {
		e.header.Set(name, value)
	}
	for _, name := range eventNames {
		if len(from.Events) == 0 || slices.Contains(from.Events, name) || slices.Contains(from.Events, pusher.WebhookGroup(name)) {
			e.events = append(e.events, name)
		}
	}
	e.follow = app.ClientEvents && slices.Contains(e.events, pusher.WebhookClientEvent)
	return e
}

// tells reports whether the endpoint wants to know of it.
func (e *endpoint) tells(name string, ch broker.Channel) bool {
	return slices.Contains(e.events, name) &&
		strings.HasPrefix(string(ch), e.prefix) && strings.HasSuffix(string(ch), e.suffix)
}

// needs reports whether it has to be in the endpoint's queue: because the endpoint wants it, or
// because it takes back, or is taken back by, what the endpoint wants.
func (e *endpoint) needs(name string, ch broker.Channel) bool {
	if e.tells(name, ch) {
		return true
	}
	other := counterpart(name)
	if other == "" {
		for _, held := range [...]string{pusher.WebhookChannelVacated, pusher.WebhookMemberRemoved} {
			if counterpart(held) == name {
				other = held
			}
		}
	}
	return other != "" && e.tells(other, ch)
}

var (
	nameForm   = regexp.MustCompile(`^[0-9A-Za-z_-]{0,64}$`)
	headerForm = regexp.MustCompile("^[0-9A-Za-z!#$%&'*+.^_`|~-]+$")
)

// CheckEndpoint reports every problem of an endpoint as it is configured.
func CheckEndpoint(e broker.Endpoint) error {
	var errs []error
	report := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !nameForm.MatchString(e.Name) {
		report("name: %q has other characters than letters, digits, _ and -, or more than 64", e.Name)
	}
	u, err := url.Parse(e.URL)
	switch {
	case e.URL == "":
		report("URL: required")
	case err != nil:
		report("URL: %q can't be read", e.URL)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		report("URL: %q is not http://… or https://…", u.Redacted())
	}
	for name, value := range e.Headers {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !headerForm.MatchString(name):
			report("headers: %q is no name of a header", name)
		case slices.Contains(ownHeaders[:], canonical):
			report("headers: %s is set by the protocol", canonical)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			report("headers: the value of %s has characters that aren't allowed", canonical)
		}
	}
	for _, name := range e.Events {
		if !slices.ContainsFunc(eventNames[:], func(n string) bool { return n == name || pusher.WebhookGroup(n) == name }) {
			report("events: %q is neither an event nor a group of events", name)
		}
	}
	return errors.Join(errs...)
}

// ownHeaders are not for endpoints to set.
var ownHeaders = [...]string{
	"Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Connection", "Host", "Trailer", "Te", "Upgrade",
	pusher.HeaderKey, pusher.HeaderSignature,
}
