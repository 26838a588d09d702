package redistest

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestServerComesBackAtItsAddress(t *testing.T) {
	t.Parallel()
	s := Single(t, "--appendonly", "yes", "--appendfsync", "always")
	if _, err := s.Do("SET", "a", "1"); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if out, err := s.Do("PING"); err == nil {
		t.Fatalf("a killed server answers %q", out)
	}
	s.Start()
	if out, err := s.Do("GET", "a"); err != nil || out != "1" {
		t.Errorf("after the restart: %q, %v", out, err)
	}
}

func TestSharedServersAreOne(t *testing.T) {
	t.Parallel()
	single, cluster := SharedSingle(t), SharedCluster(t)
	if SharedSingle(t) != single || SharedCluster(t) != cluster {
		t.Error("two of them")
	}
}

func TestSentinelReplacesItsMaster(t *testing.T) {
	t.Parallel()
	w := Sentinel(t)
	was := w.Master()
	was.Kill()
	wait(t, "another master", func() error {
		if m := w.Master(); m == nil || m == was {
			return os.ErrNotExist
		}
		return nil
	})
}

func TestClusterReplacesAMaster(t *testing.T) {
	t.Parallel()
	c := Cluster(t)
	was := c.Master("a")
	if was == nil || c.At(was.Addr) != was {
		t.Fatal("nobody has the key")
	}
	was.Kill()
	wait(t, "another master", func() error {
		if m := c.Master("a"); m == nil || m == was {
			return os.ErrNotExist
		}
		return nil
	})
}
