package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// conformance is the table that names for each statement of the protocol's checklist the tests that
// show it.
const conformance = "broker/pusher/CONFORMANCE.md"

// statements is how many there are.
const statements = 134

// What the table names: "broker/ws.TestRefusals/over quota" is a subtest of a Go test,
// "integration/js/cache.test.js: client events are not remembered" a test in JavaScript.
var (
	goEvidence = regexp.MustCompile(`^([a-z0-9/]+)\.(Test\w+)(?:/(.+))?$`)
	jsEvidence = regexp.MustCompile(`^(integration/js/[a-z]+\.test\.js): (.+)$`)
)

// TestConformance: the table has every statement once and in order, and every test that it names is
// there.
func TestConformance(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile(filepath.Join("..", conformance))
	if err != nil {
		t.Fatal(err)
	}
	next := 1
	tests := testsOf{}
	for line := range strings.Lines(string(table)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 {
			continue
		}
		number, err := strconv.Atoi(strings.TrimSpace(cells[1]))
		if err != nil {
			continue // the head of a table
		}
		if number != next {
			t.Errorf("statement %d stands where %d is expected", number, next)
		}
		next = number + 1
		if strings.TrimSpace(cells[2]) == "" {
			t.Errorf("%d: says nothing", number)
		}
		named := strings.Split(cells[3], "`")
		if len(named) < 3 || len(named)%2 == 0 {
			t.Errorf("%d: names no test: %q", number, cells[3])
			continue
		}
		for i := 1; i < len(named); i += 2 {
			if problem := tests.check(named[i]); problem != "" {
				t.Errorf("%d: `%s`: %s", number, named[i], problem)
			}
		}
	}
	if next != statements+1 {
		t.Errorf("the table ends with statement %d, want %d", next-1, statements)
	}
}

// testsOf maps a folder to the source of its tests, by name.
type testsOf map[string]map[string]string

// check returns what is wrong with evidence, "" when the test is there.
func (all testsOf) check(text string) string {
	if m := jsEvidence.FindStringSubmatch(text); m != nil {
		source, err := os.ReadFile(filepath.Join("..", m[1]))
		if err != nil {
			return err.Error()
		}
		for _, quoted := range []string{"'" + m[2] + "'", `"` + m[2] + `"`} {
			if strings.Contains(string(source), quoted) {
				return ""
			}
		}
		return "no such test in the file"
	}
	m := goEvidence.FindStringSubmatch(text)
	if m == nil {
		return "neither a Go test nor one in JavaScript"
	}
	tests, err := all.in(m[1])
	if err != nil {
		return err.Error()
	}
	source, ok := tests[m[2]]
	if !ok {
		return "no such test; there are " + strings.Join(slices.Sorted(maps.Keys(tests)), ", ")
	}
	if m[3] != "" && !strings.Contains(source, strconv.Quote(m[3])) {
		return "no such subtest"
	}
	return ""
}

// in returns the tests of a folder.
func (all testsOf) in(folder string) (map[string]string, error) {
	if tests, ok := all[folder]; ok {
		return tests, nil
	}
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil {
		return nil, err
	}
	tests := map[string]string{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				tests[f.Name.Name] = string(source[set.Position(f.Pos()).Offset:set.Position(f.End()).Offset])
			}
		}
	}
	all[folder] = tests
	return tests, nil
}
