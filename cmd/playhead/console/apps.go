package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/cmd/playhead/boot"
)

// Apps looks at the apps, and changes them, where the configuration says that they are kept: in its file
// or in a database. A running node takes what has changed by itself.
type Apps struct {
	List    AppsList    `cmd:"" help:"List the apps and their keys."`
	Add     AppsAdd     `cmd:"" help:"Add an app, and print its credentials, this once."`
	Rotate  AppsRotate  `cmd:"" help:"Give an app new credentials beside the old ones; later drop the old ones with --drop-old."`
	Disable AppsDisable `cmd:"" help:"Refuse an app's connections and requests, and close its connections."`
	Enable  AppsEnable  `cmd:"" help:"Serve a disabled app again."`
	Remove  AppsRemove  `cmd:"" help:"Remove an app."`
	Migrate AppsMigrate `cmd:"" help:"Make the tables of a database, or bring them up to date."`
}

// appsTime bounds a command's work with the store of the apps.
const appsTime = time.Minute

// Store says where apps are kept.
type Store struct {
	Config string `placeholder:"FILE" help:"YAML file with the configuration, which says where apps are kept. Default: what $$PLAYHEAD_CONFIG names, else none."`
}

// open opens the store and has a command work with it.
func (s *Store) open(ctx context.Context, what string, do func(context.Context, *boot.AppStore) error) error {
	store, err := boot.OpenApps(boot.Source{File: s.Config})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, appsTime)
	defer cancel()
	if err = do(ctx, store); err != nil {
		err = fmt.Errorf("apps %s: %w", what, err)
	}
	return errors.Join(err, store.Close())
}

// AppsList lists apps. Secrets aren't shown.
type AppsList struct {
	Store
	JSON bool `name:"json" help:"Print a JSON object per app."`
}

// Run prints a line per app.
func (c *AppsList) Run(ctx context.Context, std Stdio) error {
	return c.open(ctx, "list", func(ctx context.Context, s *boot.AppStore) error {
		list, err := s.List(ctx)
		if err != nil {
			return err
		}
		if s.Default() {
			fmt.Fprintf(std.Err, "playhead: no app is configured; this is the default app, of %s\n", s)
		}
		if c.JSON {
			return listJSON(std, list)
		}
		w := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tSTATE\tKEYS, OLDEST FIRST")
		for _, e := range list {
			state := "enabled"
			if e.Disabled {
				state = "disabled"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", printable(string(e.ID)), state, strings.Join(keysOf(e), " "))
		}
		return w.Flush()
	})
}

func keysOf(e boot.Entry) []string {
	keys := make([]string, 0, len(e.Credentials))
	for _, c := range e.Credentials {
		keys = append(keys, printable(c.Key))
	}
	return keys
}

func listJSON(std Stdio, list []boot.Entry) error {
	for _, e := range list {
		err := json.NewEncoder(std.Out).Encode(struct {
			ID       broker.AppID `json:"id"`
			Disabled bool         `json:"disabled"`
			Keys     []string     `json:"keys"`
			Created  *time.Time   `json:"created,omitempty"`
		}{e.ID, e.Disabled, keysOf(e), known(e.Created)})
		if err != nil {
			return err
		}
	}
	return nil
}

// AppsAdd adds an app.
type AppsAdd struct {
	Store
	ID       broker.AppID `arg:"" optional:"" help:"The app's id. Default: a number that nobody has."`
	Key      string       `placeholder:"KEY" help:"Its key. Default: made up."`
	Secret   string       `placeholder:"SECRET" help:"Its secret. Default: made up."`
	Settings string       `placeholder:"JSON" help:"Its settings, a JSON object with the names that the configuration file has: '{\"client_events\": true}'. Default: the defaults."`
	JSON     bool         `name:"json" help:"Print a JSON object."`
}

// Run adds the app and prints what its backend needs.
func (c *AppsAdd) Run(ctx context.Context, std Stdio) error {
	return c.open(ctx, "add", func(ctx context.Context, s *boot.AppStore) error {
		pair, err := newCredential(c.Key, c.Secret)
		if err != nil {
			return err
		}
		if c.ID == "" {
			list, err := s.List(ctx)
			if err != nil {
				return err
			}
			if c.ID, err = newID(func(id broker.AppID) bool {
				return slices.ContainsFunc(list, func(e boot.Entry) bool { return e.ID == id })
			}); err != nil {
				return err
			}
		}
		first := s.Default()
		if err := s.Add(ctx, c.ID, pair, c.Settings); err != nil {
			return err
		}
		fmt.Fprintf(std.Err, "playhead: app %s is in %s; this is the only time that its secret is shown\n", printable(string(c.ID)), s)
		if first {
			fmt.Fprintln(std.Err, "playhead: with an app of its own the server doesn't serve the default app any more")
		}
		return told(std, s, c.ID, pair, c.JSON)
	})
}

// told prints an app's credentials as backends take them.
func told(std Stdio, s *boot.AppStore, id broker.AppID, pair broker.Credential, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(std.Out).Encode(struct {
			ID     broker.AppID `json:"id"`
			Key    string       `json:"key"`
			Secret string       `json:"secret"`
		}{id, pair.Key, pair.Secret})
	}
	host, port := s.Clients()
	_, err := fmt.Fprintf(std.Out, "PUSHER_APP_ID=%s\nPUSHER_APP_KEY=%s\nPUSHER_APP_SECRET=%s\nPUSHER_HOST=%s\nPUSHER_PORT=%d\nPUSHER_SCHEME=http\n",
		variable(string(id)), variable(pair.Key), variable(pair.Secret), host, port)
	return err
}

// variable writes a value as files of variables take it: in quotes unless it is plain.
func variable(value string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("-_.", r)
	}
	if strings.IndexFunc(value, func(r rune) bool { return !plain(r) }) < 0 {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", `\n`).Replace(value) + `"`
}

// AppsRotate changes an app's credentials without an outage: add new ones, give them to the backends and
// clients, drop the old ones.
type AppsRotate struct {
	Store
	ID      broker.AppID `arg:"" help:"The app's id."`
	Key     string       `placeholder:"KEY" xor:"what" help:"The new key. Default: made up."`
	Secret  string       `placeholder:"SECRET" help:"The new secret. Default: made up."`
	DropOld bool         `xor:"what" help:"Add nothing; drop all keys but the newest."`
	Drop    []string     `placeholder:"KEY" sep:"none" xor:"what" help:"Add nothing; drop this key. May be given several times."`
	JSON    bool         `name:"json" help:"Print a JSON object."`
}

// Run adds credentials, or drops some.
func (c *AppsRotate) Run(ctx context.Context, std Stdio) error {
	return c.open(ctx, "rotate", func(ctx context.Context, s *boot.AppStore) error {
		if c.DropOld {
			list, err := s.List(ctx)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(list, func(e boot.Entry) bool { return e.ID == c.ID })
			if i < 0 {
				return broker.ErrNoApp
			}
			all := list[i].Credentials
			for _, old := range all[:max(len(all)-1, 0)] {
				c.Drop = append(c.Drop, old.Key)
			}
			if len(c.Drop) == 0 {
				return errors.New("it has one key only, so there is no old one")
			}
		}
		if len(c.Drop) > 0 {
			if err := s.DropKeys(ctx, c.ID, c.Drop...); err != nil {
				return err
			}
			fmt.Fprintf(std.Err, "playhead: app %s has lost the keys %s; connections that came with them stay\n",
				printable(string(c.ID)), strings.Join(c.Drop, " "))
			return nil
		}
		pair, err := newCredential(c.Key, c.Secret)
		if err != nil {
			return err
		}
		if err := s.AddKey(ctx, c.ID, pair); err != nil {
			return err
		}
		fmt.Fprintf(std.Err, "playhead: app %s has new credentials; this is the only time that the secret is shown.\n"+
			"The old ones are valid, and sign webhooks, until: playhead apps rotate %s --drop-old\n", printable(string(c.ID)), printable(string(c.ID)))
		return told(std, s, c.ID, pair, c.JSON)
	})
}

// AppsDisable disables an app.
type AppsDisable struct {
	Store
	ID broker.AppID `arg:"" help:"The app's id."`
}

// Run disables the app.
func (c *AppsDisable) Run(ctx context.Context, std Stdio) error {
	return c.open(ctx, "disable", func(ctx context.Context, s *boot.AppStore) error {
		if err := s.SetDisabled(ctx, c.ID, true); err != nil {
			return err
		}
		fmt.Fprintf(std.Err, "playhead: app %s is disabled\n", printable(string(c.ID)))
		return nil
	})
}

// AppsEnable enables an app.
type AppsEnable struct {
	Store
	ID broker.AppID `arg:"" help:"The app's id."`
}

// Run enables the app.
func (c *AppsEnable) Run(ctx context.Context, std Stdio) error {
	return c.open(ctx, "enable", func(ctx context.Context, s *boot.AppStore) error {
		if err := s.SetDisabled(ctx, c.ID, false); err != nil {
			return err
		}
		fmt.Fprintf(std.Err, "playhead: app %s is enabled\n", printable(string(c.ID)))
		return nil
	})
}

// AppsRemove removes an app.
type AppsRemove struct {
	Store
	ID  broker.AppID `arg:"" help:"The app's id."`
	Yes bool         `help:"Do it. Its keys are gone for good."`
}

// Run removes the app.
func (c *AppsRemove) Run(ctx context.Context, std Stdio) error {
	if !c.Yes {
		return fmt.Errorf("apps remove: its keys would be gone for good, and its connections closed; say so with --yes, or disable it: playhead apps disable %s", c.ID)
	}
	return c.open(ctx, "remove", func(ctx context.Context, s *boot.AppStore) error {
		if err := s.Remove(ctx, c.ID); err != nil {
			return err
		}
		fmt.Fprintf(std.Err, "playhead: app %s is removed; what its stream holds is kept until it is too old\n", printable(string(c.ID)))
		return nil
	})
}

// AppsMigrate makes the tables.
type AppsMigrate struct{ Store }

// Run makes the tables what this version wants.
func (c *AppsMigrate) Run(ctx context.Context, std Stdio) error {
	return c.open(ctx, "migrate", func(ctx context.Context, s *boot.AppStore) error {
		n, err := s.Migrate(ctx)
		if err != nil {
			return err
		}
		if n == 0 {
			fmt.Fprintf(std.Err, "playhead: the tables in %s are up to date\n", s)
			return nil
		}
		fmt.Fprintf(std.Err, "playhead: the tables in %s are ready; steps taken: %d\n", s, n)
		return nil
	})
}
