package boot

import (
	"embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"reflect"
	"strings"
)

// The structs of the configuration, whose comments say what each setting means.
//
//go:embed *config.go
var sources embed.FS

// WriteVariables writes every variable of the environment that is read, with the key that it overrides,
// its default and what it means. All of it comes from the configuration's structs.
func WriteVariables(w io.Writer) error {
	meanings, err := meanings()
	if err != nil {
		return err
	}
	var b strings.Builder
	var visit func(t reflect.Type, key string)
	visit = func(t reflect.Type, key string) {
		for _, f := range reflect.VisibleFields(t) {
			name := f.Tag.Get("yaml")
			if name == "-" || f.Anonymous {
				continue
			}
			at := join(key, name)
			if f.Type.Kind() == reflect.Struct {
				visit(f.Type, at)
				continue
			}
			env := variable(at, f.Tag.Get("env"))
			if env == "" || f.Type.Kind() == reflect.Map || f.Type.Kind() == reflect.Slice && f.Type != listType {
				continue
			}
			owner := t
			if len(f.Index) > 1 { // promoted from a struct within
				owner = t.FieldByIndex(f.Index[:len(f.Index)-1]).Type
			}
			fallback := f.Tag.Get("default")
			if fallback == "" {
				fallback = `""`
			}
			fmt.Fprintf(&b, "%s=%s\n  %s\n", env, fallback, at)
			if words := strings.Fields(f.Tag.Get("oneof")); len(words) > 0 {
				fmt.Fprintf(&b, "  One of %s.\n", strings.Join(words, ", "))
			}
			for line := range strings.Lines(wrapped(meanings[owner.Name()+"."+f.Name], 100)) {
				fmt.Fprintf(&b, "  %s", line)
			}
			b.WriteString("\n\n")
		}
	}
	visit(reflect.TypeFor[Config](), "")
	_, err = io.WriteString(w, strings.TrimSuffix(b.String(), "\n"))
	return err
}

// meanings are the comments of the structs' fields, by "Struct.Field". A comment above several fields
// that follow each other without an empty line is that of all.
func meanings() (map[string]string, error) {
	all := map[string]string{}
	entries, err := sources.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		text, err := sources.ReadFile(entry.Name())
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, entry.Name(), text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				fieldMeanings(all, set, spec.Name.Name, s)
			}
			return false
		})
	}
	return all, nil
}

func fieldMeanings(all map[string]string, set *token.FileSet, owner string, s *ast.StructType) {
	said, last := "", 0
	for _, f := range s.Fields.List {
		begin := set.Position(f.Pos()).Line
		switch {
		case f.Doc != nil:
			said = strings.Join(strings.Fields(f.Doc.Text()), " ")
		case begin > last+1:
			said = ""
		}
		last = set.Position(f.End()).Line
		for _, name := range f.Names {
			all[owner+"."+name.Name] = said
		}
	}
}

// wrapped breaks text into lines of at most so many characters.
func wrapped(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
