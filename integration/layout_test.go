package integration

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/playhead/playhead"

// place is a package of ours: what its comment says it is, and which of ours it may import. Only
// downward, never sideways. Tests may import what they probe.
type place struct {
	path    string
	is      string
	imports []string
}

// places is the whole house. A package that isn't here has no floor to stand on: give it one.
var places = []place{
	// The roof.
	{"cmd/playhead", "flags, signals, exit code, nothing else", []string{"cmd/playhead/boot", "cmd/playhead/console", "cmd/playhead/bench", "cmd/playhead/prove"}},
	{"cmd/playhead/console", "the commands that talk to a running server", []string{"cmd/playhead/boot", "broker", "broker/pusher", "replay/client"}},
	{"cmd/playhead/bench", "loads any server that speaks the Pusher protocol, checks every delivery, and says how long things took", []string{"broker", "broker/pusher"}},
	{"cmd/playhead/prove", "starts a cluster of real processes, treats it as production does, and compares what was acknowledged with what clients got", []string{"broker", "broker/pusher", "replay/client", "adapters/embedded"}},
	{"integration", "whole nodes against real NATS, real Redis, real Pusher clients", []string{"cmd/playhead/boot"}},

	{"cmd/playhead/boot", "assembles a node from its configuration, runs it, takes it apart again", []string{
		"broker", "broker/pusher", "broker/ws", "broker/rest", "broker/presence", "broker/page", "broker/webhook", "broker/apps", "replay/js",
		"streams", "replay", "replay/client", "adapters/redis", "adapters/embedded", "adapters/database",
	}},

	// The doors.
	{"broker/ws", "serves WebSocket clients: a session per connection, its outbound queue drained by a few flushers, its input read when there is some", []string{"broker", "broker/pusher", "broker/presence", "replay"}},
	{"broker/rest", "serves the HTTP API through which backends publish and ask", []string{"broker", "broker/pusher", "broker/presence", "replay"}},
	{"broker/page", "serves the test page, through which people see what a server does", []string{"broker", "broker/pusher"}},
	{"broker/webhook", "tells an app's backend, signed and at least once, what happened", []string{"broker", "broker/pusher"}},
	{"broker/brokertest", "the in-memory log, the contract suites, the faults; for tests only", []string{"broker", "broker/presence", "replay"}},
	{"adapters/redis/redistest", "starts real Redis servers: one, one with Sentinels, a cluster; for tests only", nil},

	// The rooms.
	{"broker/pusher", "the Pusher protocol on paper: frames, names, codes, signatures; no I/O", []string{"broker"}},
	{"broker/presence", "knows who is where across all nodes: occupied channels, present members", []string{"broker"}},
	{"broker/apps", "finds an app by id or key", []string{"broker"}},
	{"replay", "the events between a client's position and the seam, or the reason it cannot have them", []string{"broker"}},
	{"replay/client", "a Go client that keeps its place: it subscribes with resume, iterates events, and reads history", []string{"broker", "broker/pusher"}},
	{"streams", "one JetStream stream per app, one durable consumer per node and app", []string{"broker"}},
	{"adapters/database", "keeps apps in MySQL or PostgreSQL", []string{"broker"}},
	{"adapters/database/databasetest", "has real servers of MySQL and PostgreSQL; for tests only", []string{"adapters/database"}},
	{"adapters/redis", "Redis and Redis Cluster pub/sub: same contract, no memory", []string{"broker"}},

	// The ground.
	{"replay/js", "the browsers' side of replay: one module that adds it to pusher-js", nil},
	{"broker", "the heart: the nouns everyone speaks in, the contract a log must keep, and the Node that appends and fans out", nil},
	{"adapters/embedded", "a NATS server inside the process", nil},
}

// testsOnly may not be imported but by tests.
var testsOnly = []string{"broker/brokertest", "adapters/database/databasetest"}

// vendors lists where a foreign module may be imported; tests has the places whose tests may, too.
var vendors = []struct {
	prefix string
	rooms  []string
	tests  []string
}{
	{"github.com/nats-io/", []string{"streams", "adapters/embedded", "cmd/playhead/boot", "cmd/playhead/prove"}, []string{"integration"}},
	{"github.com/synadia-io/", []string{"streams", "adapters/embedded", "cmd/playhead/boot"}, []string{"integration"}},
	{"github.com/redis/", []string{"adapters/redis"}, []string{"integration"}},
	{"github.com/jackc/", []string{"adapters/database"}, nil},
	{"github.com/go-sql-driver/", []string{"adapters/database"}, nil},
	{"github.com/pressly/", []string{"adapters/database"}, nil},
	{"github.com/coder/websocket", []string{"broker/ws", "replay/client", "cmd/playhead/bench", "cmd/playhead/prove"}, []string{"cmd/playhead/boot", "integration"}},
	{"github.com/HdrHistogram/", []string{"cmd/playhead/bench"}, []string{"integration"}},
	{"github.com/pusher/", nil, []string{"integration"}},
	{"github.com/alecthomas/kong", []string{"cmd/playhead"}, nil},
	{"go.yaml.in/yaml/", []string{"cmd/playhead/boot"}, []string{"integration"}},
}

// top is what stands at the top of the repository; what begins with a dot may, too.
var top = []string{
	"cmd", "broker", "streams", "replay", "adapters", "deploy", "integration",
	"go.mod", "go.sum", "Taskfile.yml", "README.md", "LICENSE", "CHANGELOG.md",
	"bin", "data", // made by the tasks build and run; not in the repository
}

// vague names say nothing of what is inside.
var vague = []string{"internal", "pkg", "common", "util", "utils", "types", "models", "helpers", "misc"}

// listed is what go list tells of a package.
type listed struct {
	ImportPath   string
	Name         string
	Doc          string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func (l listed) place() string {
	return strings.TrimPrefix(strings.TrimPrefix(l.ImportPath, module), "/")
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Doc,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(out); ; {
		var l listed
		err := d.Decode(&l)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("go list found no packages")
	}
	return all
}

func TestLayout(t *testing.T) {
	t.Parallel()
	for _, l := range list(t) {
		i := slices.IndexFunc(places, func(p place) bool { return p.path == l.place() })
		if i < 0 {
			t.Errorf("%s: stands nowhere in the layout", l.place())
			continue
		}
		checkPlace(t, places[i], l)
	}
}

func checkPlace(t *testing.T, p place, l listed) {
	t.Helper()
	for _, part := range strings.Split(p.path, "/") {
		if slices.Contains(vague, part) {
			t.Errorf("%s: %q says nothing of what is inside", p.path, part)
		}
	}
	want := path.Base(p.path)
	if p.path == "cmd/playhead" {
		want = "main"
	}
	if l.Name != want {
		t.Errorf("%s: package %s, want %s", p.path, l.Name, want)
	}
	if doc := strings.NewReplacer("[", "", "]", "").Replace(l.Doc); !strings.Contains(doc, p.is) {
		t.Errorf("%s: package comment %q doesn't say %q", p.path, l.Doc, p.is)
	}
	for _, i := range l.Imports {
		ours, ok := strings.CutPrefix(i, module+"/")
		switch {
		case ok && slices.Contains(testsOnly, ours):
			t.Errorf("%s: imports %s, which is for tests only", p.path, ours)
		case ok && !slices.Contains(p.imports, ours):
			t.Errorf("%s: imports %s, which is not below it", p.path, ours)
		}
		for _, v := range vendors {
			if strings.HasPrefix(i, v.prefix) && !slices.Contains(v.rooms, p.path) {
				t.Errorf("%s: imports %s, which stays in %s", p.path, i, strings.Join(v.rooms, ", "))
			}
		}
	}
	for _, i := range slices.Concat(l.TestImports, l.XTestImports) {
		for _, v := range vendors {
			if strings.HasPrefix(i, v.prefix) && !slices.Contains(slices.Concat(v.rooms, v.tests), p.path) {
				t.Errorf("%s: tests import %s, which stays in %s", p.path, i, strings.Join(slices.Concat(v.rooms, v.tests), ", "))
			}
		}
	}
}

func TestLayoutOfTop(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(top, e.Name()) {
			t.Errorf("%s: does not belong at the top", e.Name())
		}
	}
}

// CI, the README and whoever follows it run the same Task.
func TestLayoutOfTask(t *testing.T) {
	t.Parallel()
	version := regexp.MustCompile(`cmd/task@(v[0-9.]*[0-9])`)
	found := map[string][]string{}
	for _, file := range []string{".ci/run", "Taskfile.yml", "README.md"} {
		text, err := os.ReadFile(path.Join("..", file))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range version.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = append(found[m[1]], file)
		}
	}
	if len(found) != 1 {
		t.Errorf("versions of Task: %v", found)
	}
}
