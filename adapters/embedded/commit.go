package embedded

import (
	"errors"
	"fmt"
	"time"
)

// commitInterval is how often the server syncs by itself what nobody waits for: acknowledgements of
// consumers, its own state.
const commitInterval = time.Second

// commit leaves syncing to Commit where that is safe; it is called with mu held and the folder locked.
func (s *Server) commit() {
	why := canCommit(s.cfg.DataDir)
	s.opts.SyncAlways = why != nil
	if why != nil {
		s.opts.SyncInterval = 0
		s.cfg.Logger.Info("each event is synced by itself, which takes longer than one sync for many", "data", s.cfg.DataDir, "why", why.Error())
		return
	}
	s.opts.SyncInterval = commitInterval
}

// Commits reports whether what the server acknowledges survives a power cut only after the next
// [Server.Commit]. Where it is false that need not be called. It is known when Start has returned.
func (s *Server) Commits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Commit && !s.opts.SyncAlways
}

// Commit syncs what the server has acknowledged before it was called. An error is final: the system
// may have thrown away what it could not write, and the next sync would know nothing of it. From
// then on Commit and [Server.Health] return the error, until the process is started anew.
func (s *Server) Commit() error {
	s.mu.Lock()
	lock, lost := s.lock, s.lost
	s.mu.Unlock()
	switch {
	case lost != nil:
		return lost
	case lock == nil:
		return errors.New("commit: NATS server doesn't run")
	}
	// The lock's file is open since the start: a file opened now would not be told of an error
	// that came before.
	err := s.sync(lock.file)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("sync data folder %s, whose disk may have lost events that nobody was told are stored; look after it and restart the machine: %w", s.cfg.DataDir, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == nil {
		s.lost = err
	}
	return s.lost
}
