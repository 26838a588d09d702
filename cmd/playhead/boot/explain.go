package boot

import (
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Explain reads and checks a configuration as [Load] does, and writes what it comes to: every key, its
// value and where that is from. Secrets are masked. Text of that form is a configuration file, too, but
// for what is masked.
func Explain(src Source, w io.Writer) error {
	cfg, l, err := loadFrom(src)
	if err != nil {
		return err
	}
	var b strings.Builder
	var open []string // the mappings that the line before is in
	for _, s := range settings(&cfg) {
		path := strings.Split(strings.ReplaceAll(s.key, "[", ".["), ".")
		in := path[:len(path)-1]
		for i, name := range in {
			if i < len(open) && open[i] == name {
				continue
			}
			open = open[:min(i, len(open))]
			if !strings.HasPrefix(name, "[") { // the items of lists begin with their first key
				fmt.Fprintf(&b, "%s%s:\n", indent(in[:i]), name)
			}
			open = append(open, name)
			if strings.HasPrefix(name, "[") {
				fmt.Fprintf(&b, "%s- # %s\n", indent(in[:i]), l.origin(strings.Join(in[:i+1], ".")))
			}
		}
		open = in
		fmt.Fprintf(&b, "%s%s: %s # %s\n", indent(in), path[len(path)-1], s.shown(), l.origin(s.key))
	}
	_, err = io.WriteString(w, b.String())
	return err
}

func indent(in []string) string { return strings.Repeat("  ", len(in)) }

// origin says where a key's value is from.
func (l *loader) origin(key string) string {
	key = strings.ReplaceAll(key, ".[", "[")
	if from, ok := l.from[key]; ok {
		return from
	}
	return "default"
}

// shown is a setting's value as anybody may see it, in YAML.
func (s setting) shown() string {
	value := s.field.Interface()
	if s.field.IsZero() {
		return `""` // it has no default, and what is meant then isn't a value of its own
	}
	if list, ok := value.(List); ok {
		quoted := make([]string, 0, len(list))
		for _, word := range list {
			quoted = append(quoted, fmt.Sprintf("%q", masked(word)))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	text := fmt.Sprint(value)
	if s.secret() && text != "" {
		return `"***"`
	}
	if plain.MatchString(text) {
		return text
	}
	return fmt.Sprintf("%q", masked(text))
}

// plain is text that YAML takes as it is, and as a word where it is one.
var plain = regexp.MustCompile(`^(true|false|none|[A-Za-z0-9][A-Za-z0-9_./-]*)$`)

// secret reports whether nobody is to see the setting.
func (s setting) secret() bool {
	name := s.key[strings.LastIndexByte(s.key, '.')+1:]
	return strings.HasSuffix(name, "secret") || strings.HasSuffix(name, "password") || strings.HasSuffix(name, "token")
}

// userinfo is who logs in where, within an address.
var userinfo = regexp.MustCompile(`://[^/@\s]*@`)

// masked is text without what an address in it says of who logs in.
func masked(text string) string { return userinfo.ReplaceAllString(text, "://***@") }
