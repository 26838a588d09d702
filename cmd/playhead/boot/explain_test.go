package boot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "playhead.yml")
	text := `
port: 7001
http:
  trusted_proxies: [10.0.0.0/8, 192.168.0.1]
apps:
  - id: shop
    key: shop-key
    secret: hidden
    webhooks:
      - url: https://user:hidden@example.com/hook
  - id: other
    credentials:
      - key: a
        secret: hidden
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"LOG_LEVEL": "warn", "NATS_SERVERS": "nats://user:hidden@a:4222,nats://b:4222"}
	var b strings.Builder
	src := Source{File: file, Getenv: func(name string) string { return env[name] }, Flags: []Flag{{"--data", "data_dir", "/srv/play head"}}}
	if err := Explain(src, &b); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, line := range []string{
		"host: 0.0.0.0 # default",
		"port: 7001 # " + file + ":2",
		"data_dir: \"/srv/play head\" # --data",
		"log:\n  level: warn # LOG_LEVEL in the environment\n  format: text # default",
		"  servers: [\"nats://***@a:4222\", \"nats://b:4222\"] # NATS_SERVERS in the environment",
		"  trusted_proxies: [\"10.0.0.0/8\", \"192.168.0.1\"] # " + file + ":4",
		"apps:\n  - # " + file + ":6\n    id: shop # " + file + ":6\n",
		"      - # " + file + ":10\n        name: \"\" # default\n        url: \"https://***@example.com/hook\" # " + file + ":10\n",
		"    secret: \"***\" # " + file + ":8",
		"  - # " + file + ":11\n    id: other # ",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	if strings.Contains(got, "hidden") {
		t.Errorf("a secret is shown:\n%s", got)
	}

	// It is a configuration itself.
	again := filepath.Join(t.TempDir(), "again.yml")
	if err := os.WriteFile(again, []byte(strings.ReplaceAll(got, "***@", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	var second strings.Builder
	if err := Explain(Source{File: again, Getenv: func(string) string { return "" }}, &second); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(values(strings.ReplaceAll(got, "***@", "")), values(second.String())); diff != "" {
		t.Errorf("read again (-first +second):\n%s", diff)
	}
}

// values are the lines of an explanation without where they are from.
func values(text string) (lines []string) {
	for line := range strings.Lines(text) {
		value, _, _ := strings.Cut(line, " # ")
		lines = append(lines, value)
	}
	return lines
}

// Every variable is there, with a meaning.
func TestWriteVariables(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := WriteVariables(&b); err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for entry := range strings.SplitSeq(strings.TrimSpace(b.String()), "\n\n") {
		name, rest, ok := strings.Cut(entry, "=")
		if !ok {
			t.Fatalf("entry %q", entry)
		}
		entries[name] = rest
	}
	var cfg Config
	for _, s := range settings(&cfg) {
		if s.env == "" {
			continue
		}
		rest, ok := entries[s.env]
		delete(entries, s.env)
		lines := strings.Split(rest, "\n")
		if !ok || len(lines) < 3 || strings.TrimSpace(lines[1]) != s.key {
			t.Errorf("%s: %q; want its default, its key and what it means", s.env, rest)
			continue
		}
		if want := s.fallback; want != "" && lines[0] != want {
			t.Errorf("%s: default %q, want %q", s.env, lines[0], want)
		}
	}
	for name := range entries {
		t.Errorf("%s is no variable", name)
	}
}
