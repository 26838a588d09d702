package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// identityFile stands in the data folder of a server in a cluster and says which one it is. A lone
// server's folder has none.
const identityFile = "cluster"

// claim checks that the folder is that of this server of this cluster, and makes it so when it is new.
// It is called with the folder locked.
//
// NATS would start all the same: and as a peer that the others don't know, so that the cluster counts
// one more and loses its quorum sooner; or delete a lone server's streams because no cluster knows
// them; or let a lone server write to streams of which the others have replicas.
func (s *Server) claim() error {
	path := filepath.Join(s.cfg.DataDir, identityFile)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read whose it is: %w", err)
	}
	cluster, name, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	switch {
	case !s.clustered() && err == nil:
		return fmt.Errorf("it belongs to server %s of cluster %s: alone it would go its own way, and nothing could join it with the others again; "+
			"start it with the cluster's routes, or on another folder", name, cluster)
	case !s.clustered():
		return nil
	case err == nil && cluster != s.cfg.Cluster.Name:
		return fmt.Errorf("it belongs to cluster %s, not %s; take another folder", cluster, s.cfg.Cluster.Name)
	case err == nil && name != s.cfg.ServerName:
		return fmt.Errorf("it belongs to server %s: under the name %s the cluster would count one server more, and lose its quorum sooner; "+
			"keep the name, or take another folder", name, s.cfg.ServerName)
	case err == nil:
		return nil
	}
	if alone, err := s.hasStreams(); err != nil {
		return err
	} else if alone {
		return errors.New("it holds the streams of a server that ran alone, which the cluster would delete, for it doesn't know them; take another folder")
	}
	return s.writeIdentity(path)
}

// writeIdentity leaves either no file or all of it, whenever it is cut short.
func (s *Server) writeIdentity(path string) error {
	file, err := os.CreateTemp(s.cfg.DataDir, identityFile+"-*")
	if err != nil {
		return fmt.Errorf("write to it: %w", err)
	}
	_, err = fmt.Fprintf(file, "%s %s\n", s.cfg.Cluster.Name, s.cfg.ServerName)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write to it: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// hasStreams reports whether the folder holds streams of any account.
func (s *Server) hasStreams() (bool, error) {
	found, err := filepath.Glob(filepath.Join(globSafe(s.cfg.DataDir), "jetstream", "*", "streams", "*"))
	if err != nil {
		return false, fmt.Errorf("look for streams: %w", err)
	}
	return len(found) > 0, nil
}

// globSafe takes a path's letters for themselves.
func globSafe(path string) string {
	return strings.NewReplacer(`*`, `[*]`, `?`, `[?]`, `[`, `[[]`).Replace(path)
}
