package streams_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/playhead/playhead/adapters/embedded"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/streams"
	"golang.org/x/sys/unix"
)

// A full disk: publishes are refused with the cause, nothing is acknowledged that isn't stored, and
// all is well again after a restart with room. It takes the right to mount a small filesystem.
func TestAppendToAFullDisk(t *testing.T) {
	t.Parallel()
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
				if errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
					t.Skip("only root can mount a small disk to fill")
				}
				t.Fatalf("mount a disk: %v", err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
			r := newRig(t, mode.interval, func(c *embedded.Config) { c.DataDir, c.MaxStore = dir, 1<<40 })
			health := func(c *streams.Config) {
				c.Health = func() error {
					r.mu.Lock()
					s := r.server
					r.mu.Unlock()
					if s == nil {
						return errors.New("stopped")
					}
					return s.Health()
				}
			}
			s := r.streams(mode.change, health)
			acked, refused := []*broker.Event(nil), 0
			var last error
			for range 300 {
				e := event("app", "a")
				e.Data = make([]byte, 100_000)
				if err := s.Append(soon(t), e); err != nil {
					last = err
					if refused++; refused == 3 {
						break
					}
					continue
				}
				if refused > 0 {
					t.Error("acknowledged after the disk was full")
				}
				acked = append(acked, e)
			}
			if refused != 3 || !errors.Is(last, broker.ErrUnavailable) || !strings.Contains(last.Error(), "no space left") {
				t.Fatalf("%d acknowledged, %d refused: %v", len(acked), refused, last)
			}
			r.stop()
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=64m"); err != nil {
				t.Fatal(err)
			}
			r.start()
			eventually(t, "it can store again", func() bool { return s.Append(soon(t), event("app", "b")) == nil })
			have := map[string]int{}
			for _, e := range stored(t, s, "app", "a", acked[len(acked)-1].Position.Serial) {
				have[e.ID]++
			}
			for _, e := range acked {
				if have[e.ID] != 1 {
					t.Errorf("event at %d is stored %d times", e.Position.Serial, have[e.ID])
				}
			}
		})
	}
}
