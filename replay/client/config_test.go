package client

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg  Config
		want string // of the error; empty: none
	}{
		"key alone":       {Config{Key: "k"}, ""},
		"nothing":         {Config{}, "client: key: required"},
		"no scheme":       {Config{Key: "k", URL: "localhost:6001"}, "is not the URL of a server"},
		"ws":              {Config{Key: "k", URL: "ws://localhost"}, "is not the URL of a server"},
		"query":           {Config{Key: "k", URL: "http://h?a=b"}, "is not the URL of a server"},
		"negative":        {Config{Key: "k", Timeout: -1}, "timeout: -1ns is negative"},
		"backwards":       {Config{Key: "k", BackoffMin: time.Minute}, "more than backoff max"},
		"no size":         {Config{Key: "k", MaxMessageBytes: -1}, "max message bytes: -1 is negative"},
		"several at once": {Config{URL: "x", PongTimeout: -5}, "key: required\npong timeout: -5ns is negative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New(tt.cfg)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// Neither a Config nor what a client logs shows the secret.
func TestSecretStays(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "cfg", Config{URL: "http://h", Key: "k", Secret: "hidden"})
	if s := out.String(); strings.Contains(s, "hidden") || !strings.Contains(s, "cfg.key=k") {
		t.Error(s)
	}
}

// The words of a gap are for people, and have the protocol's for programs.
func TestReasons(t *testing.T) {
	t.Parallel()
	for _, r := range []Reason{Expired, Reset, Ahead, TooFar, Unavailable, Unsupported, Invalid, "new_word"} {
		g := &Gap{Channel: "a", Reason: r}
		if s := g.Error(); !strings.HasPrefix(s, "gap in a: ") || !strings.Contains(s, string(r)) {
			t.Errorf("%s: %s", r, s)
		}
		if e := newStatusError(410, []byte(string(r)+": why\n")); r.known() != (e.Reason == r) {
			t.Errorf("%s was read as %q", r, e.Reason)
		}
	}
	if e := newStatusError(400, []byte("Invalid limit: x")); e.Reason != "" {
		t.Errorf("reason %q", e.Reason)
	}
}
