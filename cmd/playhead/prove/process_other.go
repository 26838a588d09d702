//go:build !unix

package prove

import (
	"context"
	"errors"
	"time"
)

// errSystem says why nothing can be proved here.
var errSystem = errors.New("it takes a Unix system: processes are paused and ended by signals")

// process is a server process; none can be had where there are no signals to pause and end it by.
type process struct {
	name, path string
	args, env  []string
	log        string
	died       func(why string)
}

func (p *process) start() error                              { return errSystem }
func (p *process) gone() <-chan struct{}                     { return nil }
func (p *process) kill()                                     {}
func (p *process) pause()                                    {}
func (p *process) resume()                                   {}
func (p *process) stop(context.Context, time.Duration) error { return errSystem }
func (p *process) end()                                      {}
func (p *process) tail() string                              { return "" }
func (p *process) cried() (string, error)                    { return "", nil }
