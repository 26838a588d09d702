package boot

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// setting is one key of a [Config]: its tags, and the field itself.
type setting struct {
	key      string // as it is written in messages: "websocket.queue_bytes", "apps[0].id"
	env      string // variable that overrides it; empty when there is none
	fallback string // text of its default; empty when that is the zero value
	oneof    []string
	none     bool // whether "none" means something here
	field    reflect.Value
}

// set reads the setting's text, from wherever it came. An empty text is the default.
func (s setting) set(text string) error {
	if text == "" {
		s.field.SetZero()
		return nil
	}
	if u, ok := s.field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	s.field.SetString(text)
	return nil
}

// settings lists the keys in the order of the struct. It goes into lists as far as they are filled.
func settings(c *Config) []setting {
	var list []setting
	walk(reflect.ValueOf(c).Elem(), "", func(s setting) { list = append(list, s) })
	return list
}

var listType = reflect.TypeFor[List]()

func walk(v reflect.Value, key string, visit func(setting)) {
	for _, f := range reflect.VisibleFields(v.Type()) {
		name := f.Tag.Get("yaml")
		if name == "-" {
			continue
		}
		field, key := v.FieldByIndex(f.Index), join(key, name)
		switch {
		case field.Kind() == reflect.Struct:
			walk(field, key, visit)
		case field.Kind() == reflect.Slice && field.Type() != listType:
			for i := range field.Len() {
				walk(field.Index(i), fmt.Sprintf("%s[%d]", key, i), visit)
			}
		case field.Kind() == reflect.Map: // its keys are the user's, and have no defaults
		default:
			visit(setting{
				key:      key,
				env:      variable(key, f.Tag.Get("env")),
				fallback: f.Tag.Get("default"),
				oneof:    strings.Fields(f.Tag.Get("oneof")),
				none:     f.Tag.Get("none") != "",
				field:    field,
			})
		}
	}
}

// variable returns the variable that overrides a key, "" for none. Those of the default app and of the
// databases are made from their keys, because their settings can't name them: others have the same.
func variable(key, tagged string) string {
	made := strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
	switch {
	case strings.HasPrefix(key, "default_app.") && !strings.Contains(key, "["):
		return "PLAYHEAD_" + made
	case strings.HasPrefix(key, "database.mysql."), strings.HasPrefix(key, "database.postgres."):
		return made
	}
	return tagged
}

// fill gives every field that is zero its default. Lists that came with c are left as they are.
func (c *Config) fill() {
	c.Apps = slices.Clone(c.Apps)
	c.DefaultApp.Webhooks = slices.Clone(c.DefaultApp.Webhooks)
	for i := range c.Apps {
		c.Apps[i].Webhooks = slices.Clone(c.Apps[i].Webhooks)
	}
	for _, s := range settings(c) {
		s.fill()
	}
}

// fill gives the setting its default if it is zero.
func (s setting) fill() {
	if !s.field.IsZero() || s.fallback == "" {
		return
	}
	if err := s.set(s.fallback); err != nil {
		// A default that can't be read is a mistake in the struct; the tests read them all.
		panic(fmt.Sprintf("default of %s: %v", s.key, err))
	}
}

// similar returns the known name that was probably meant, or "".
func similar(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(name), k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is how many letters differ between a and b (Levenshtein's).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// fieldNames lists the keys a struct has.
func fieldNames(t reflect.Type) []string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		names = append(names, f.Tag.Get("yaml"))
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "-" })
}
