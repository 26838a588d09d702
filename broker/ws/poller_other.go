//go:build !linux

package ws

import (
	"context"
	"errors"
)

// poller says which idle sessions have input. There is none here; every session has a goroutine
// that waits.
type poller struct{}

func newPoller() (*poller, error) { return nil, errors.ErrUnsupported }

func (*poller) run(context.Context, func(*session)) {}
func (*poller) close()                              {}
func (*poller) add(*session) error                  { return errors.ErrUnsupported }
func (*poller) arm(*session) error                  { return errors.ErrUnsupported }
func (*poller) remove(*session)                     {}
