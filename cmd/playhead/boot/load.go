package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Source is where a configuration comes from. Flags go over the environment, the environment
// over the file, the file over the defaults.
type Source struct {
	// File is the path of the YAML file. Default: what PLAYHEAD_CONFIG names, else no file.
	File string

	// Getenv reads the environment. Default [os.Getenv]. An empty variable counts as unset.
	Getenv func(name string) string

	// Flags are settings from the command line.
	Flags []Flag
}

// Flag is one setting from the command line.
type Flag struct {
	Name string // as it was given, for messages: "--data"
	Key  string // of the setting: "data_dir"
	Text string // empty when the flag was not given
}

// path is the file's path, "" when there is none.
func (s *Source) path() string {
	if s.File != "" {
		return s.File
	}
	if s.Getenv == nil {
		return os.Getenv("PLAYHEAD_CONFIG")
	}
	return s.Getenv("PLAYHEAD_CONFIG")
}

// Problems is everything that is wrong with a configuration, a line each. Every one says where
// it is and what would be right.
type Problems []string

// Error lists the problems.
func (p Problems) Error() string {
	if len(p) == 1 {
		return "configuration: " + p[0]
	}
	return fmt.Sprintf("configuration: %d problems:\n  %s", len(p), strings.Join(p, "\n  "))
}

// Load reads and checks a configuration; every field of it is set. The error is of type
// [Problems] and tells all of them at once.
func Load(src Source) (Config, error) {
	cfg, _, err := loadFrom(src)
	return cfg, err
}

// loadFrom is Load, and also returns what was found out on the way.
func loadFrom(src Source) (Config, *loader, error) {
	if src.Getenv == nil {
		src.Getenv = os.Getenv
	}
	src.File = src.path()
	var cfg Config
	l := &loader{file: src.File, from: map[string]string{}, bad: map[string]bool{}}
	if src.File != "" {
		l.readFile(&cfg)
	}
	l.readEnv(&cfg, src.Getenv)
	l.readFlags(&cfg, src.Flags)
	cfg.fill()
	l.check(&cfg)
	if len(l.problems) > 0 {
		return Config{}, nil, l.problems
	}
	return cfg, l, nil
}

// loader gathers what is found on the way.
type loader struct {
	file     string
	unlined  bool // what is read has no lines to speak of
	problems Problems

	// from says, per key that was set, where: "playhead.yml:12", "PORT in the environment".
	from map[string]string

	// bad holds the keys whose value couldn't be read. Their field has the default, and
	// checking that would only confuse.
	bad map[string]bool
}

func (l *loader) problem(format string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

// line writes where a line of the file is.
func (l *loader) line(n int) string {
	if l.unlined {
		return l.file
	}
	return fmt.Sprintf("%s:%d", l.file, n)
}

// whole names what a key is of, when there is none.
func (l *loader) whole(key string) string {
	switch {
	case key != "":
		return key
	case l.unlined:
		return "it"
	}
	return "the file"
}

// at writes a key with its origin; that of a key missing from a list's item is the item's.
func (l *loader) at(key string) string {
	for k := key; k != ""; k = k[:max(strings.LastIndexByte(k, '.'), 0)] {
		if from, ok := l.from[k]; ok {
			return from + ": " + key
		}
	}
	return key
}

// set gives a setting its text and remembers where it came from.
func (l *loader) set(s setting, text, from string) {
	l.from[s.key] = from
	delete(l.bad, s.key)
	if err := s.set(text); err != nil {
		l.problem("%s: %v", l.at(s.key), err)
		l.bad[s.key] = true
		s.field.SetZero()
	}
}

func (l *loader) readEnv(cfg *Config, getenv func(string) string) {
	for _, s := range settings(cfg) {
		if s.env == "" {
			continue
		}
		if text := getenv(s.env); text != "" {
			l.set(s, text, s.env+" in the environment")
		}
	}
}

func (l *loader) readFlags(cfg *Config, flags []Flag) {
	for _, f := range flags {
		if f.Text == "" {
			continue
		}
		found := false
		for _, s := range settings(cfg) {
			if s.key == f.Key {
				l.set(s, f.Text, f.Name)
				found = true
			}
		}
		if !found {
			l.problem("%s: unknown key %s", f.Name, f.Key)
		}
	}
}

func (l *loader) readFile(cfg *Config) {
	f, err := os.Open(l.file)
	if err != nil {
		l.problem("%v", err)
		return
	}
	l.read(f, cfg)
	_ = f.Close() // it was only read
}

func (l *loader) read(r io.Reader, cfg *Config) {
	d := yaml.NewDecoder(r)
	var doc yaml.Node
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return
	}
	if err != nil {
		l.problem("%s: %s", l.file, strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	var second yaml.Node
	if err := d.Decode(&second); err == nil {
		l.problem("%s: a second document; there may be one", l.line(second.Line))
	} else if !errors.Is(err, io.EOF) {
		l.problem("%s: %s", l.file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	l.decode(doc.Content[0], reflect.ValueOf(cfg).Elem(), "")
}

// decode puts a YAML mapping into a struct. It goes on after a problem, which the yaml package's
// own decoding doesn't do once a type reads its text itself; and it names keys, not Go types.
func (l *loader) decode(n *yaml.Node, v reflect.Value, key string) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		l.problem("%s: %s must be a mapping of keys to values", l.line(n.Line), l.whole(key))
		return
	}
	known := fieldNames(v.Type())
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], resolve(n.Content[i+1])
		name := k.Value
		if first, ok := seen[name]; ok {
			l.problem("%s: %s: given twice, first on line %d", l.line(k.Line), join(key, name), first)
			continue
		}
		seen[name] = k.Line
		field, ok := fieldNamed(v, name)
		if !ok {
			hint := ""
			if s := similar(name, known); s != "" {
				hint = "; did you mean " + join(key, s) + "?"
			}
			l.problem("%s: %s: unknown key%s", l.line(k.Line), join(key, name), hint)
			continue
		}
		l.decodeField(value, field, join(key, name), k.Line)
	}
}

// decodeField puts a value of a mapping where it belongs. Its line is that of its key: a null has
// no text to point at.
func (l *loader) decodeField(n *yaml.Node, field reflect.Value, key string, line int) {
	switch {
	case isNull(n):
	case field.Kind() == reflect.Struct:
		l.decode(n, field, key)
	case field.Type() == listType && n.Kind == yaml.SequenceNode:
		l.decodeWords(n, field, key, line)
	case field.Kind() == reflect.Map:
		l.decodeMap(n, field, key, line)
	case field.Kind() == reflect.Slice && field.Type() != listType:
		if n.Kind != yaml.SequenceNode {
			l.problem("%s: %s must be a list", l.line(line), key)
			return
		}
		l.from[key] = l.line(line)
		field.Set(reflect.MakeSlice(field.Type(), len(n.Content), len(n.Content)))
		list := key
		for i, item := range n.Content {
			key := fmt.Sprintf("%s[%d]", key, i)
			l.from[key] = l.line(item.Line)
			if item = resolve(item); item.Kind != yaml.MappingNode {
				l.problem("%s must be a mapping of keys to values", l.at(key))
				l.bad[list] = true
				continue
			}
			l.decode(item, field.Index(i), key)
		}
	case n.Kind != yaml.ScalarNode:
		l.problem("%s: %s must be a single value", l.line(line), key)
	default:
		l.set(setting{key: key, field: field}, n.Value, l.line(line))
	}
}

// decodeWords puts a list of single values where it belongs.
func (l *loader) decodeWords(n *yaml.Node, field reflect.Value, key string, line int) {
	l.from[key] = l.line(line)
	var words List
	for i, item := range n.Content {
		if item = resolve(item); item.Kind != yaml.ScalarNode || isNull(item) {
			l.problem("%s: %s[%d] must be a single value", l.line(item.Line), key, i)
			l.bad[key] = true
			continue
		}
		words = append(words, item.Value)
	}
	field.Set(reflect.ValueOf(words))
}

// decodeMap puts single values with names of the user's choice where they belong.
func (l *loader) decodeMap(n *yaml.Node, field reflect.Value, key string, line int) {
	if n.Kind != yaml.MappingNode {
		l.problem("%s: %s must be a mapping of keys to values", l.line(line), key)
		return
	}
	values := make(map[string]string, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], resolve(n.Content[i+1])
		if _, ok := values[name.Value]; ok {
			l.problem("%s: %s: given twice", l.line(name.Line), join(key, name.Value))
		}
		if name.Kind != yaml.ScalarNode || value.Kind != yaml.ScalarNode || isNull(value) {
			l.problem("%s: %s must be a single value", l.line(name.Line), join(key, name.Value))
			continue
		}
		values[name.Value] = value.Value
	}
	field.Set(reflect.ValueOf(values))
}

func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	for _, f := range reflect.VisibleFields(v.Type()) {
		if tag := f.Tag.Get("yaml"); tag == name && tag != "-" {
			return v.FieldByIndex(f.Index), true
		}
	}
	return reflect.Value{}, false
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
