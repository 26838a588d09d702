package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// PublishConfig is one event to publish, and where. What is left empty comes from the
// configuration.
type PublishConfig struct {
	URL    string // of the server. Default: http://127.0.0.1 and the configured port
	AppID  string // default: the first app's
	Key    string // default: the app's first
	Secret string // default: the one that belongs to Key

	Channel string // required
	Event   string // required
	Data    string // any text; JSON by custom

	// PrintCurl writes a curl command that does it, valid for ten minutes, instead of doing
	// it.
	PrintCurl bool

	// Output takes the server's answer, or the command. Default: nowhere.
	Output io.Writer
}

// Publish publishes one event through a node's HTTP API, signed, as a customer's backend does.
// Error: the server can't be reached, or what it answered other than 200.
func Publish(ctx context.Context, cfg Config, p PublishConfig) error {
	cfg.fill()
	if err := p.complete(&cfg); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if p.PrintCurl {
		command, err := p.curl(time.Now())
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		_, err = io.WriteString(p.Output, command)
		return err
	}
	target, body, err := p.sign(time.Now())
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(string(body)))
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		// The URL in the error would be long and its signature of no use to anybody.
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("publish to %s: %w; is the server running?", p.URL, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("publish to %s: read the answer: %w", p.URL, err)
	}
	text := strings.TrimSpace(string(answer))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("publish to %s: %s: %s", p.URL, res.Status, text)
	}
	_, err = fmt.Fprintln(p.Output, text)
	return err
}

// complete fills in what the configuration knows.
func (p *PublishConfig) complete(cfg *Config) error {
	if p.Output == nil {
		p.Output = io.Discard
	}
	if p.URL == "" {
		p.URL = fmt.Sprintf("http://127.0.0.1:%d", cfg.Port.number())
	}
	p.URL = strings.TrimSuffix(p.URL, "/")
	if u, err := url.Parse(p.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" {
		return fmt.Errorf("%q is not the URL of a server; write it like http://127.0.0.1:6001", p.URL)
	}
	app := p.app(cfg)
	p.AppID = string(app.ID)
	if p.Key == "" && len(app.Credentials) > 0 {
		p.Key = app.Credentials[0].Key
	}
	if secret, ok := app.Secret(p.Key); ok && p.Secret == "" {
		p.Secret = secret
	}
	if p.Key == "" || p.Secret == "" {
		return fmt.Errorf("no credentials for app %q in the configuration; give --key and --secret", p.AppID)
	}
	return nil
}

// app finds the app in the configuration. One that isn't there may still be on the server.
func (p *PublishConfig) app(cfg *Config) broker.App {
	all := cfg.apps()
	if p.AppID == "" {
		return all[0]
	}
	for _, a := range all {
		if string(a.ID) == p.AppID {
			return a
		}
	}
	return broker.App{ID: broker.AppID(p.AppID)}
}

// sign makes the request's address and body.
func (p *PublishConfig) sign(now time.Time) (target string, body []byte, err error) {
	body, err = json.Marshal(struct {
		Name    string `json:"name"`
		Channel string `json:"channel"`
		Data    string `json:"data"`
	}{p.Event, p.Channel, p.Data})
	if err != nil {
		return "", nil, err
	}
	u, err := url.Parse(p.URL)
	if err != nil {
		return "", nil, err
	}
	if u.Path == "" {
		u.Path = "/" // what is joined to nothing stays relative, and its signature would be wrong
	}
	u = u.JoinPath("apps", url.PathEscape(p.AppID), "events")
	r := pusher.Request{Method: http.MethodPost, Path: u.EscapedPath(), Body: body}
	u.RawQuery, err = r.Sign(broker.Credential{Key: p.Key, Secret: p.Secret}, now)
	if err != nil {
		return "", nil, err
	}
	return u.String(), body, nil
}

// curl writes the command, one line, that publishes the event.
func (p *PublishConfig) curl(now time.Time) (string, error) {
	target, body, err := p.sign(now)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("curl -sS -H 'Content-Type: application/json' -d %s %s\n", quote(string(body)), quote(target)), nil
}

// quote makes one word of a POSIX shell's.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
