package boot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/playhead/playhead/adapters/database"
	"github.com/playhead/playhead/broker"
	"go.yaml.in/yaml/v3"
)

// appFile is a configuration file whose apps are changed.
type appFile struct {
	source Source
	cfg    Config // what is in the file
}

// add adds an app at the end of the list.
func (f *appFile) add(app broker.App, row database.App) error {
	if i := f.place(app.ID); i >= 0 {
		return fmt.Errorf("id %q: %w", app.ID, database.ErrTaken)
	}
	item := mapping("id", string(row.ID), "key", row.Keys[0].Key, "secret", row.Keys[0].Secret)
	settings, err := yamlFrom(row.Settings)
	if err != nil {
		return err
	}
	item.Content = append(item.Content, settings.Content...)
	var want []broker.App
	if len(f.cfg.Apps) > 0 {
		want = f.cfg.apps()
	}
	return f.write(func(t *appText) error { return t.add(item) }, append(want, app))
}

// addKey gives an app a credential more.
func (f *appFile) addKey(id broker.AppID, c broker.Credential) error {
	return f.change(id, func(item *yaml.Node, app *broker.App) error {
		app.Credentials = append(app.Credentials, c)
		pair := mapping("key", c.Key, "secret", c.Secret)
		if list := valueOf(item, "credentials"); list != nil && len(list.Content) > 0 {
			pair.Style = list.Content[0].Style
			list.Content = append(list.Content, pair)
			return nil
		}
		// The one pair becomes the first of the list, in its place.
		take(item, "credentials") // an empty list
		at := 0
		for at < len(item.Content) && item.Content[at].Value != "key" {
			at += 2
		}
		if at >= len(item.Content) {
			return errors.New("its key isn't there")
		}
		first := mapping("key", app.Credentials[0].Key, "secret", app.Credentials[0].Secret)
		item.Content[at].Value = "credentials"
		item.Content[at+1] = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{first, pair}}
		take(item, "secret")
		return nil
	})
}

// dropKeys takes credentials from an app.
func (f *appFile) dropKeys(id broker.AppID, keys []string) error {
	return f.change(id, func(item *yaml.Node, app *broker.App) error {
		for _, key := range keys {
			if _, ok := app.Secret(key); !ok {
				return fmt.Errorf("%q: %w", key, database.ErrNoKey)
			}
		}
		app.Credentials = slices.DeleteFunc(app.Credentials, func(c broker.Credential) bool { return slices.Contains(keys, c.Key) })
		if len(app.Credentials) == 0 {
			return database.ErrLastKey
		}
		list := valueOf(item, "credentials")
		if list == nil {
			return errors.New("its credentials aren't there")
		}
		list.Content = slices.DeleteFunc(list.Content, func(n *yaml.Node) bool {
			key := valueOf(n, "key")
			return key != nil && slices.Contains(keys, key.Value)
		})
		return nil
	})
}

// setDisabled disables an app or enables it.
func (f *appFile) setDisabled(id broker.AppID, disabled bool) error {
	return f.change(id, func(item *yaml.Node, app *broker.App) error {
		if app.Disabled == disabled {
			return errUnchanged
		}
		app.Disabled = disabled
		if at := valueOf(item, "disabled"); at != nil {
			*at = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(disabled), LineComment: at.LineComment}
			return nil
		}
		at := 0
		for at < len(item.Content) && item.Content[at].Value != "id" {
			at += 2
		}
		item.Content = slices.Insert(item.Content, min(at+2, len(item.Content)),
			scalar("disabled"), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(disabled)})
		return nil
	})
}

// remove takes an app out of the list.
func (f *appFile) remove(id broker.AppID) error {
	i := f.place(id)
	switch {
	case i < 0:
		return broker.ErrNoApp
	case len(f.cfg.Apps) == 1:
		return errors.New("it is the last app of the file, and the default app would be served in its place; disable it instead, or add another first")
	}
	return f.write(func(t *appText) error { return t.remove(i) }, slices.Delete(f.cfg.apps(), i, i+1))
}

// errUnchanged ends a change that has nothing to do.
var errUnchanged = errors.New("it is so already")

// change changes one app, in the text and as it is then to be read.
func (f *appFile) change(id broker.AppID, do func(item *yaml.Node, app *broker.App) error) error {
	i := f.place(id)
	if i < 0 {
		return broker.ErrNoApp
	}
	want := f.cfg.apps()
	want[i].Credentials = slices.Clone(want[i].Credentials)
	err := f.write(func(t *appText) error {
		return t.change(i, func(item *yaml.Node) error { return do(item, &want[i]) })
	}, want)
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

func (f *appFile) place(id broker.AppID) int {
	return slices.IndexFunc(f.cfg.Apps, func(a AppConfig) bool { return a.ID == string(id) })
}

// write edits the file's text and puts it in the file's place, in one step, if it then says what is wanted
// and nothing else has changed by it; else the file stays as it was.
func (f *appFile) write(edit func(*appText) error, want []broker.App) error {
	path, err := filepath.EvalSymlinks(f.source.path())
	if err != nil {
		return err
	}
	before := stateOf(path)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	t, err := newAppText(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := edit(t); err != nil {
		return err
	}
	temp, err := f.draft(path, t.bytes(), before)
	if err != nil {
		return err
	}
	defer os.Remove(temp) // it isn't there any more when all went well
	draft := f.source
	draft.File = temp
	cfg, err := Load(draft)
	if err != nil {
		return fmt.Errorf("nothing was changed, for it would not load: %s", strings.ReplaceAll(err.Error(), temp, f.source.path()))
	}
	if !reflect.DeepEqual(cfg.apps(), want) || len(differing(&f.cfg, &cfg)) > 0 || !reflect.DeepEqual(f.cfg.DefaultApp, cfg.DefaultApp) {
		return fmt.Errorf("nothing was changed: %s is written in a way that can't be edited here without changing more; edit it by hand", f.source.path())
	}
	if !stateOf(path).same(before) {
		return fmt.Errorf("nothing was changed: %s has been changed by somebody else meanwhile", f.source.path())
	}
	return os.Rename(temp, path)
}

// draft writes text beside a file, with its mode and its owner, and returns where.
func (f *appFile) draft(path string, text []byte, like fileState) (string, error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	_, err = file.Write(text)
	if like.info != nil {
		err = errors.Join(err, file.Chmod(like.info.Mode().Perm()), own(file, like.info))
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

func scalar(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
}

// mapping makes a mapping of names and texts.
func mapping(words ...string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, w := range words {
		n.Content = append(n.Content, scalar(w))
	}
	return n
}

// valueOf returns a mapping's value, or nil.
func valueOf(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// take takes a name out of a mapping.
func take(n *yaml.Node, name string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}

// encoded writes a node as YAML.
func encoded(n *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return nil, err
	}
	err := e.Close()
	return b.Bytes(), err
}
