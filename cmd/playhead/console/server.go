package console

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/playhead/playhead/cmd/playhead/boot"
	"github.com/playhead/playhead/replay/client"
)

// Stdio is standard input, output and error.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Server are the flags that say which app of which server a command talks to. Flags come before the
// environment, and that before the configuration.
type Server struct {
	Config string `placeholder:"FILE" help:"YAML file with the configuration, for what the flags below leave out. Default: what $$PLAYHEAD_CONFIG names, else none."`
	URL    string `name:"url" env:"PLAYHEAD_URL" placeholder:"URL" help:"Server to talk to. Default: http://127.0.0.1 and the configured port."`
	AppID  string `name:"app-id" env:"PLAYHEAD_APP_ID" placeholder:"ID" help:"App to talk about. Default: the first in the configuration."`
	Key    string `env:"PLAYHEAD_KEY" placeholder:"KEY" help:"Key of the app. Default: its first."`
	Secret string `env:"PLAYHEAD_SECRET" placeholder:"SECRET" help:"Secret of the key. Default: the configured one."`
}

// Target says which server and app the flags, the environment and the configuration mean.
func (s *Server) Target() (client.Config, error) {
	cfg, err := boot.Load(boot.Source{File: s.Config})
	if err != nil {
		return client.Config{}, err
	}
	return boot.Target{URL: s.URL, AppID: s.AppID, Key: s.Key, Secret: s.Secret}.Client(cfg)
}

// client makes a client of the server's. Without a secret it can follow public channels, and no more.
func (s *Server) client(signs bool) (*client.Client, error) {
	to, err := s.Target()
	if err != nil {
		return nil, err
	}
	if signs && to.Secret == "" {
		return nil, fmt.Errorf("no secret of key %q of app %q in the configuration; give --secret", to.Key, to.AppID)
	}
	to.RetryFor = -1 // people and scripts want to know at once, and can try again
	return client.New(to)
}

// explain adds to an error what is most likely behind it.
func explain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w; is the server running?", err)
	}
	return err
}
