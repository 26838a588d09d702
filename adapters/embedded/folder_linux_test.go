package embedded_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/playhead/playhead/adapters/embedded"
	"golang.org/x/sys/unix"
)

// Tests may run as root, whom no mode keeps out; so this thread alone acts on files as nobody.
func TestFolderReadOnly(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	for parent := filepath.Dir(dir); strings.HasPrefix(parent, os.TempDir()) && parent != os.TempDir(); parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s, err := embedded.New(embedded.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := unix.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Setfsuid(0); err != nil {
				t.Error(err)
			}
		})
	}
	err = s.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v", err)
	}
}
