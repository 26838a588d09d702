package boot

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay/client"
)

// Target is an app of a running server, for commands that talk to one. What is left empty comes from
// the configuration, or from the database that it says the apps are in.
type Target struct {
	URL    string // of the server. Default: http://127.0.0.1 and the configured port
	AppID  string // default: the first app's
	Key    string // default: the app's first
	Secret string // default: the one that belongs to Key; without it nothing can be signed
}

// Client configures a client of the target's. Error: the configuration has no key of the app's.
func (t Target) Client(cfg Config) (client.Config, error) {
	cfg.fill()
	if t.URL == "" {
		t.URL = fmt.Sprintf("http://127.0.0.1:%d", cfg.Port.number())
	}
	if !cfg.AppManager.file() && len(cfg.Apps) == 0 && (t.Key == "" || t.Secret == "") {
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		defer cancel()
		if err := cfg.readApps(ctx); err != nil {
			return client.Config{}, err
		}
	}
	app := t.app(&cfg)
	if t.Key == "" && len(app.Credentials) > 0 {
		t.Key = app.Credentials[0].Key
	}
	if t.Key == "" {
		return client.Config{}, fmt.Errorf("no credentials for app %q in the configuration; give --key and --secret", app.ID)
	}
	if secret, ok := app.Secret(t.Key); ok && t.Secret == "" {
		t.Secret = secret
	}
	return client.Config{URL: t.URL, AppID: app.ID, Key: t.Key, Secret: t.Secret}, nil
}

// app finds the app in the configuration. One that isn't there may still be on the server.
func (t *Target) app(cfg *Config) broker.App {
	all := cfg.apps()
	if t.AppID == "" && len(all) > 0 {
		return all[0]
	}
	for _, a := range all {
		if string(a.ID) == t.AppID {
			return a
		}
	}
	return broker.App{ID: broker.AppID(t.AppID)}
}

// Curl writes the command, one line, that sends a request as [client.Client.NewPublish] makes it.
func Curl(r *http.Request) (string, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("curl -sS -H %s -d %s %s\n",
		quote("Content-Type: "+r.Header.Get("Content-Type")), quote(string(body)), quote(r.URL.String())), nil
}

// quote makes one word of a POSIX shell's.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
