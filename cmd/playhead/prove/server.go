package prove

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/playhead/playhead/adapters/embedded"
)

// Server is one NATS server of the cluster, the whole of its process. Its fields are the flags of a
// command that [Proof.Run] calls.
type Server struct {
	Name   string   `required:"" help:"Name among the peers."`
	Data   string   `required:"" help:"Folder for the streams."`
	Listen string   `required:"" help:"Where nodes connect, host:port."`
	Peers  string   `required:"" help:"Where peers connect, host:port."`
	Routes []string `required:"" help:"All servers' places for peers, as this one reaches them."`
}

// serverDown is how long a server may take to give its leads away and close its files.
const serverDown = 15 * time.Second

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context, logs io.Writer) error {
	logger := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv, err := embedded.New(embedded.Config{
		DataDir: s.Data,
		// Processes are killed here, machines aren't: what the system has taken is safe.
		SyncInterval: time.Second,
		ServerName:   s.Name,
		Listen:       s.Listen,
		Cluster:      embedded.Cluster{Name: "prove", Listen: s.Peers, Routes: s.Routes},
		Logger:       logger,
	})
	if err != nil {
		return err
	}
	if err := srv.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), serverDown)
	defer cancel()
	stepping, stop := context.WithTimeout(down, serverDown/2)
	defer stop()
	if err := srv.StepDown(stepping); err != nil {
		logger.Warn("leads could not be given away", "err", err) // the others elect, a little later
	}
	if err := srv.Shutdown(down); err != nil {
		return fmt.Errorf("shut down %s: %w", s.Name, err)
	}
	return nil
}
