package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/playhead/playhead/adapters/database"
	"github.com/playhead/playhead/broker/apps"
	"go.yaml.in/yaml/v3"
)

// rowSettings are what an app's row says beside what has columns of its own.
type rowSettings struct {
	ClientEvents Switch `yaml:"client_events" default:"false"`

	AppSettings `yaml:"-"`
}

// mistakes is everything that is wrong with apps that aren't a file's, a line each.
type mistakes []string

// Error lists them.
func (m mistakes) Error() string {
	if len(m) == 1 {
		return m[0]
	}
	return fmt.Sprintf("%d mistakes:\n  %s", len(m), strings.Join(m, "\n  "))
}

// appsFrom reads apps from rows: what is right and what is wrong is decided, and told, as it is for those of the
// file. The error is of type mistakes and tells all of them; each names its app.
func (c *Config) appsFrom(rows []database.App) ([]AppConfig, error) {
	var problems mistakes
	list := make([]AppConfig, 0, len(rows))
	for _, row := range rows {
		app, wrong := appFrom(row)
		list = append(list, app)
		problems = append(problems, wrong...)
	}
	read := Config{AppManager: c.AppManager, Apps: list}
	all := read.apps()
	for i := range all {
		if len(list[i].Credentials) == 0 {
			all[i].Credentials = nil // and not an empty one, which nobody wrote
		}
	}
	_, err := apps.New(apps.Config{Apps: all})
	for _, err := range unjoin(err) {
		problems = append(problems, err.Error())
	}
	if c.Environment == production {
		for _, a := range all {
			for _, p := range a.Credentials {
				if p.Secret == developmentSecret {
					problems = append(problems, fmt.Sprintf("app %q: environment is production, with a secret that everybody knows (%s)", a.ID, p.Secret))
				}
			}
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return list, nil
}

// appFrom reads one app from its row.
func appFrom(row database.App) (AppConfig, mistakes) {
	app := AppConfig{ID: string(row.ID), Disabled: Off}
	if row.Disabled {
		app.Disabled = On
	}
	for _, k := range row.Keys {
		app.Credentials = append(app.Credentials, CredentialConfig{Key: k.Key, Secret: k.Secret})
	}
	settings, problems := settingsFrom(fmt.Sprintf("app %q", row.ID), row.Settings)
	app.ClientEvents, app.AppSettings = settings.ClientEvents, settings.AppSettings
	return app, problems
}

// settingsFrom reads and checks an app's settings, which are of whose, from JSON.
func settingsFrom(whose, text string) (rowSettings, mistakes) {
	var s rowSettings
	l := &loader{file: whose + ": settings", unlined: true, from: map[string]string{}, bad: map[string]bool{}}
	node, err := yamlFrom(text)
	if err != nil {
		l.problem("%s: %v", l.file, err)
		return rowSettings{}, mistakes(l.problems)
	}
	l.decode(node, reflect.ValueOf(&s).Elem(), "")
	walk(reflect.ValueOf(&s).Elem(), "", setting.fill)
	walk(reflect.ValueOf(&s).Elem(), "", l.checkSetting)
	var hooks AppConfig
	hooks.AppSettings = s.AppSettings
	if l.good("webhooks") {
		l.checkWebhooks("webhooks", hooks.app().Webhooks)
	}
	return s, mistakes(l.problems)
}

// yamlFrom makes of JSON what a file's YAML would have been, for the loader to read.
func yamlFrom(text string) (*yaml.Node, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	node, err := nextNode(d)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the object")
	}
	return node, nil
}

func nextNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim: // of a beginning: Token has checked that the others don't come here
		node := &yaml.Node{Kind: yaml.SequenceNode}
		if v == '{' {
			node.Kind = yaml.MappingNode
		}
		for d.More() {
			child, err := nextNode(d) // names of members come as text
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, child)
		}
		_, err := d.Token()
		return node, err
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v}, nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: v.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
}

// compact checks an app's settings in JSON, and returns them as they are kept: without spaces.
func compact(whose, text string) (string, error) {
	if text == "" {
		return "{}", nil
	}
	if _, problems := settingsFrom(whose, text); len(problems) > 0 {
		return "", problems
	}
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		return "", err
	}
	if b.String() == "null" {
		return "{}", nil
	}
	return b.String(), nil
}

// readApps reads the apps of the database that a filled configuration names.
func (c *Config) readApps(ctx context.Context) (err error) {
	d, err := c.openDatabase()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Check(ctx); err != nil {
		return advised(err)
	}
	set, err := d.Apps(ctx)
	if err != nil {
		return err
	}
	if c.Apps, err = c.appsFrom(set.Apps); err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	return nil
}

// advised says what to do about an error of a database's.
func advised(err error) error {
	switch {
	case errors.Is(err, database.ErrNoSchema), errors.Is(err, database.ErrOldSchema):
		return fmt.Errorf("%w; run playhead apps migrate", err)
	case errors.Is(err, database.ErrNewSchema):
		return fmt.Errorf("%w; run a later version of playhead", err)
	}
	return err
}
