package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// composition is a compose file, as far as it is looked at.
type composition struct {
	Services map[string]struct {
		Image       string
		Environment map[string]string
		Ports       []string
		Volumes     []string
		Healthcheck map[string]any
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	}
	Volumes map[string]any
}

// variables are those that the binary says it reads.
func variables(tb testing.TB) map[string]bool {
	tb.Helper()
	cmd := exec.Command(testBinary(tb), "config", "env")
	cmd.Env = environment()
	text, err := cmd.Output()
	if err != nil {
		tb.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z0-9_]+)=`).FindAllStringSubmatch(string(text), -1) {
		known[m[1]] = true
	}
	return known
}

// interpolated is text with compose's ${NAME:-default} replaced by their defaults.
func interpolated(text string) string {
	return regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`).ReplaceAllString(text, "$1")
}

// TestComposeFiles: what the files say fits together, and each node's environment is a configuration.
func TestComposeFiles(t *testing.T) {
	known := variables(t)
	files, err := filepath.Glob("../deploy/compose/*.yml")
	if err != nil || len(files) < 4 {
		t.Fatalf("compose files %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c composition
			if err := yaml.Unmarshal([]byte(interpolated(string(text))), &c); err != nil {
				t.Fatal(err)
			}
			var published []string
			nodes := 0
			for name, s := range c.Services {
				for other, d := range s.DependsOn {
					on, ok := c.Services[other]
					if !ok {
						t.Errorf("%s depends on %s, which isn't there", name, other)
					}
					if d.Condition == "service_healthy" && on.Healthcheck == nil && on.Image != "playhead" { // the image has one
						t.Errorf("%s waits for %s to be healthy, and nobody asks it", name, other)
					}
				}
				for _, v := range s.Volumes {
					from, _, _ := strings.Cut(v, ":")
					if _, ok := c.Volumes[from]; strings.HasPrefix(from, ".") {
						if _, err := os.Stat(filepath.Join(filepath.Dir(file), from)); err != nil {
							t.Errorf("%s: %v", name, err)
						}
					} else if !ok {
						t.Errorf("%s has volume %s, which isn't there", name, from)
					}
				}
				for _, p := range s.Ports {
					parts := strings.Split(p, ":")
					published = append(published, parts[len(parts)-2])
				}
				if s.Image != "playhead" {
					continue
				}
				nodes++
				env := environment()
				for variable, value := range s.Environment {
					if !known[variable] {
						t.Errorf("%s sets %s, which no node reads", name, variable)
					}
					env = append(env, variable+"="+value)
				}
				cmd := exec.Command(testBinary(t), "config", "check")
				cmd.Env = env
				if output, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", name, err, output)
				}
			}
			want := []string{"6001", "9601"}
			if nodes == 3 {
				want = []string{"6001", "6002", "6003", "82", "9601", "9602", "9603"}
			}
			slices.Sort(published)
			if !slices.Equal(published, want) {
				t.Errorf("%d nodes, ports %v, want %v", nodes, published, want)
			}
		})
	}
}

// TestDashboards: Prometheus takes the alert rules, and every metric that they and the dashboard name is
// one that a node exports.
func TestDashboards(t *testing.T) {
	const rules, dashboard = "../deploy/prometheus/alerts.yml", "../deploy/grafana/playhead.json"
	if output, err := exec.Command("promtool", "check", "rules", "--lint-fatal", rules).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, output)
	}
	alerts, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	panels, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(panels) {
		t.Error("the dashboard is no JSON")
	}
	n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=none"}})
	cmd := exec.Command(n.cfg.Binary, "bench", "reconnect", "--url", n.url(""), "--subscribers", "10", "--seconds", "1", "--warmup=-1")
	cmd.Env = environment()
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("bench: %v\n%s", err, output)
	}
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", n.metrics))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	exported := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+)[{ ]`).FindAllStringSubmatch(string(text), -1) {
		exported[m[1]] = true
	}
	named := regexp.MustCompile(`\b(?:playhead|process)_[a-z_]+\b`).FindAllString(string(alerts)+string(panels), -1)
	slices.Sort(named)
	named = slices.Compact(named)
	if len(named) < 20 {
		t.Errorf("only %d metrics are named: %v", len(named), named)
	}
	for _, name := range named {
		if !exported[name] {
			t.Errorf("%s isn't exported", name)
		}
	}
}
