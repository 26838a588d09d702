package embedded

import "os"

// SyncWith lets a test be the disk of a server that isn't started yet.
func (s *Server) SyncWith(sync func(*os.File) error) { s.sync = sync }
