package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/playhead/playhead/adapters/embedded"
	"golang.org/x/sys/unix"
)

// bytesBelow is what the streams' files hold, as any process sees it.
func bytesBelow(t *testing.T, dir string) (size int64) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "*.blk"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range blocks {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

// What is acknowledged is in the files, though perhaps not on the disk: so a sync that begins then
// takes it along. Events alone, and of an atomic batch.
func TestAcknowledgedIsInTheFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, embedded.Config{DataDir: dir, Commit: true})
	_, js := connect(t, s)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 1000)
	for range 500 {
		before := bytesBelow(t, dir)
		if _, err := js.Publish(t.Context(), "s.a", body); err != nil {
			t.Fatal(err)
		}
		if grown := bytesBelow(t, dir) - before; grown < int64(len(body)) {
			t.Fatalf("the files have grown by %d bytes when %d were acknowledged", grown, len(body))
		}
	}
	if err := s.Commit(); err != nil {
		t.Error(err)
	}
}

// An error of a sync is final, makes the server ill for good, and is of the descriptor that is open
// since the start.
func TestCommitInVain(t *testing.T) {
	t.Parallel()
	s := newServer(t, embedded.Config{DataDir: t.TempDir(), Commit: true})
	broken := errors.New("input/output error")
	var answers []error
	var files []*os.File
	s.SyncWith(func(f *os.File) error {
		files = append(files, f)
		err := answers[0]
		answers = answers[1:]
		return err
	})
	if err := s.Commit(); err == nil {
		t.Error("committed before the start")
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers = []error{nil, broken}
	if err := errors.Join(s.Commit(), s.Health()); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the second and third would find no answer
		if err := s.Commit(); !errors.Is(err, broken) {
			t.Errorf("commit: %v", err)
		}
		if err := s.Health(); !errors.Is(err, broken) {
			t.Errorf("health: %v", err)
		}
	}
	if len(files) != 2 || files[0] != files[1] {
		t.Errorf("synced through %v", files)
	}
}

// Where one sync for many isn't as safe, each acknowledgement is synced; the same goes without Commit.
func TestCommitsOnlyWhereItIsSafe(t *testing.T) {
	t.Parallel()
	plain := start(t, embedded.Config{DataDir: t.TempDir()})
	if plain.Commits() {
		t.Error("commits without being told to")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		if errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
			t.Skip("only root can mount another filesystem")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if s := start(t, embedded.Config{DataDir: dir, Commit: true}); s.Commits() {
		t.Error("commits on a filesystem whose order is not known")
	}
}

func TestKeepsOrder(t *testing.T) {
	t.Parallel()
	for super, says := range map[string]string{
		"ext4 /dev/vda rw,discard":                      "",
		"ext4 /dev/vda rw,discard,errors=remount-ro":    "",
		"ext4 /dev/vda rw,noauto_da_alloc":              "noauto_da_alloc",
		"ext4 /dev/vda rw,data=writeback,errors=panic":  "data=writeback",
		"xfs /dev/vda rw,attr2,inode64":                 "not ext4",
		"overlay overlay rw,lowerdir=/a,upperdir=/ext4": "not ext4",
		"": "not ext4",
	} {
		err := embedded.KeepsOrder(super)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: %v", super, err)
		}
	}
}

func TestCommitWithWhatItDoesNotFit(t *testing.T) {
	t.Parallel()
	cfg := clusterOf(t, 3, "")[0]
	cfg.Commit = true
	if _, err := embedded.New(cfg); err == nil || !strings.Contains(err.Error(), "commit: not in a cluster") {
		t.Errorf("in a cluster: %v", err)
	}
	if _, err := embedded.New(embedded.Config{DataDir: t.TempDir(), Commit: true, SyncInterval: time.Second}); err == nil || !strings.Contains(err.Error(), "commit: not with a sync interval") {
		t.Errorf("with an interval: %v", err)
	}
}
