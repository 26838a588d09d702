package embedded_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/adapters/embedded"
)

func newServer(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	s, err := embedded.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	s := newServer(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func connect(t *testing.T, s *embedded.Server, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := s.Connect(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func TestNewReportsEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := embedded.New(embedded.Config{SyncInterval: -1, MaxMemory: -1, MaxStore: -1, Listen: "nowhere"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"data folder: required", "sync interval", "max memory", "max store", "listen"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
}

func TestRestartKeepsData(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{0, time.Second} {
		dir := filepath.Join(t.TempDir(), "made", "by", "start")
		s := start(t, embedded.Config{DataDir: dir, SyncInterval: interval})
		_, js := connect(t, s)
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
			t.Fatal(err)
		}
		if err := s.SyncStore(); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "s.a", []byte("kept")); err != nil {
			t.Fatal(err)
		}
		if err := s.Health(); err != nil {
			t.Error(err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Connect(); err == nil {
			t.Error("connected to a server that was shut down")
		}
		if err := s.Health(); err == nil {
			t.Error("a server that was shut down calls itself healthy")
		}

		s = start(t, embedded.Config{DataDir: dir, SyncInterval: interval})
		_, js = connect(t, s)
		stream, err := js.Stream(t.Context(), "S")
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.GetMsg(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) != "kept" {
			t.Errorf("got %q", m.Data)
		}
	}
}

func TestFolderInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, embedded.Config{DataDir: dir})
	second := newServer(t, embedded.Config{DataDir: dir})
	err := second.Start(t.Context())
	if err == nil {
		t.Fatal("two servers on one folder")
	}
	for _, part := range []string{dir, "another playhead process is using it"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
	if err := first.Start(t.Context()); err == nil {
		t.Error("started twice")
	}
	if err := first.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); err != nil {
		t.Errorf("the folder was not given free: %v", err)
	}
}

func TestFolderIsAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := newServer(t, embedded.Config{DataDir: path}).Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("got %v", err)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc, err := nats.Connect("nats://" + s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()

	var log bytes.Buffer
	other := newServer(t, embedded.Config{
		DataDir: t.TempDir(),
		Listen:  s.Addr().String(),
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err := other.Start(t.Context()); err == nil || !strings.Contains(err.Error(), s.Addr().String()) {
		t.Errorf("a port in use: got %v", err)
	}

	silent := start(t, embedded.Config{DataDir: t.TempDir()})
	if a := silent.Addr(); a != nil {
		t.Errorf("listens on %v without being told to", a)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := newServer(t, embedded.Config{DataDir: dir})
	if err := s.Start(ctx); err == nil {
		t.Fatal("started in a context that had ended")
	}
	if err := s.Start(t.Context()); err != nil {
		t.Errorf("the folder was not given free: %v", err)
	}
}

func TestMaxStore(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{DataDir: t.TempDir(), MaxStore: 1 << 20})
	_, js := connect(t, s)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", MaxBytes: 2 << 20})
	if err == nil || !strings.Contains(err.Error(), "storage resources") {
		t.Errorf("got %v", err)
	}
}
