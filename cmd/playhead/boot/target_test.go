package boot

import (
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/replay/client"
)

// publish publishes to the channel c as a backend does.
func publish(t *testing.T, to Target, data string) error {
	t.Helper()
	cfg, err := to.Client(Config{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.RetryFor = -1
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Publish(t.Context(), client.Publication{Channels: []broker.Channel{"c"}, Event: "e", Data: data})
	return err
}

func TestTarget(t *testing.T) {
	t.Parallel()
	cfg := Config{Port: 7001, Apps: []AppConfig{
		{ID: "first", Key: "k1", Secret: "s1"},
		{ID: "odd/app", Credentials: []CredentialConfig{{Key: "k2", Secret: "s2"}, {Key: "k3", Secret: "s3"}}},
	}}
	const here = "http://127.0.0.1:7001"
	for name, tt := range map[string]struct {
		target Target
		want   client.Config
		err    string
	}{
		"first app":      {Target{}, client.Config{URL: here, AppID: "first", Key: "k1", Secret: "s1"}, ""},
		"named app":      {Target{AppID: "odd/app"}, client.Config{URL: here, AppID: "odd/app", Key: "k2", Secret: "s2"}, ""},
		"named key":      {Target{AppID: "odd/app", Key: "k3"}, client.Config{URL: here, AppID: "odd/app", Key: "k3", Secret: "s3"}, ""},
		"the server's":   {Target{URL: "http://h/p", AppID: "x", Key: "k", Secret: "s"}, client.Config{URL: "http://h/p", AppID: "x", Key: "k", Secret: "s"}, ""},
		"key alone":      {Target{Key: "k"}, client.Config{URL: here, AppID: "first", Key: "k"}, ""},
		"other secret":   {Target{Secret: "s"}, client.Config{URL: here, AppID: "first", Key: "k1", Secret: "s"}, ""},
		"no such app":    {Target{AppID: "x"}, client.Config{}, `no credentials for app "x" in the configuration; give --key and --secret`},
		"secret, no key": {Target{AppID: "x", Secret: "s"}, client.Config{}, "give --key and --secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tt.target.Client(cfg)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The command is what it stands for, quotes and all.
func TestCurl(t *testing.T) {
	t.Parallel()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://h/it's?a=b&c=d", strings.NewReader(`it's $HOME "x" \`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	command, err := Curl(r)
	if err != nil {
		t.Fatal(err)
	}
	// A shell function in place of curl shows the words that curl would get.
	shell := exec.CommandContext(t.Context(), "sh", "-c", `curl() { printf '%s\n' "$@"; }; `+command)
	words, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(words)
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Wait(); err != nil {
		t.Fatal(err)
	}
	want := "-sS\n-H\nContent-Type: application/json\n-d\nit's $HOME \"x\" \\\n" + r.URL.String() + "\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}
