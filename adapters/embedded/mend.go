package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// mendTick is how often the server's health is looked at.
	mendTick = time.Second
	// mendSure is how many looks in a row must find it ill.
	mendSure = 3
	// mendPause is what lies between two starts at least; it doubles up to mendPauseMax while
	// starting doesn't help.
	mendPause    = 5 * time.Second
	mendPauseMax = time.Minute
	// probeBytes is the room that must be there again before it is worth starting anew.
	probeBytes = 8 << 20
)

// Run watches over a started server until ctx ends: one that has stopped storing is shut down and
// started anew in place as soon as the data folder can be written to again. JetStream doesn't
// recover by itself from a disk that was full for a moment. Connections made by [Server.Connect]
// reconnect by themselves. Run must have returned before [Server.Shutdown].
func (s *Server) Run(ctx context.Context) error {
	tick := time.NewTicker(mendTick)
	defer tick.Stop()
	var ill int
	var next time.Time
	pause := mendPause
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		cause := s.storing()
		if cause == nil {
			if ill = 0; time.Since(next) > mendPauseMax {
				pause = mendPause
			}
			continue
		}
		if ill++; ill < mendSure || time.Now().Before(next) || s.probe() != nil {
			continue
		}
		s.cfg.Logger.Warn("the data folder can be written to again: the NATS server is started anew", "data", s.cfg.DataDir, "err", cause)
		if err := s.restart(ctx); err != nil {
			s.cfg.Logger.Error("the NATS server could not be started anew", "data", s.cfg.DataDir, "err", err)
		}
		ill, next = 0, time.Now().Add(pause)
		pause = min(2*pause, mendPauseMax)
	}
}

// restart shuts the server down and starts it, keeping the data folder's lock.
func (s *Server) restart(ctx context.Context) error {
	s.mu.Lock()
	srv := s.srv
	s.srv = nil
	s.mu.Unlock()
	if srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run(ctx)
}

// probe reports whether the data folder takes a little data, and has it on disk.
func (s *Server) probe() error {
	file, err := os.OpenFile(filepath.Join(s.cfg.DataDir, "probe"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("probe data folder: %w", err)
	}
	_, err = file.Write(make([]byte, probeBytes))
	err = errors.Join(err, file.Sync(), file.Close(), os.Remove(file.Name()))
	if err != nil {
		return fmt.Errorf("probe data folder: %w", err)
	}
	return nil
}
