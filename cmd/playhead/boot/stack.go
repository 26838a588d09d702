package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// stack is what has been started, oldest first, and how each thing is stopped. It is used by one
// goroutine.
type stack struct {
	logger *slog.Logger
	steps  []step
	ended  chan error // takes the first end of a part that should have gone on

	// grace is how long a step may go on after the teardown's time is up. Default 1s.
	grace time.Duration
}

// step takes one thing down. It returns soon after its context has ended, done or not.
type step struct {
	name string
	stop func(ctx context.Context) error
}

func newStack(logger *slog.Logger) *stack {
	return &stack{logger: logger, ended: make(chan error, 1), grace: time.Second}
}

// push adds the step that undoes what the caller has just done.
func (s *stack) push(name string, stop func(ctx context.Context) error) {
	s.steps = append(s.steps, step{name, stop})
}

// start runs a part until its step comes, which waits until it is gone. A part that ends before
// is a failure of the node, with an error or without.
func (s *stack) start(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			select {
			case s.ended <- fmt.Errorf("%s: %w", name, err):
			default: // the first one tells why; the others followed
			}
			err = nil
		}
		done <- err
	}()
	s.push(name, func(ctx context.Context) error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// unwind takes everything down, newest first. A step that fails or isn't done when ctx ends is
// named in the error and doesn't keep the others from their turn: with the time up, each is still
// told to stop, and given a moment.
func (s *stack) unwind(ctx context.Context) error {
	var errs []error
	for len(s.steps) > 0 {
		last := s.steps[len(s.steps)-1]
		s.steps = s.steps[:len(s.steps)-1]
		began := time.Now()
		err := s.do(ctx, last)
		s.logger.Debug("step of teardown", "step", last.name, "dur", time.Since(began))
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
			errs = append(errs, fmt.Errorf("%s: not done in time", last.name))
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", last.name, err))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("shut down: %w", errors.Join(errs...))
	}
	return nil
}

// do takes one step. The step's goroutine is waited for, but not for ever: one that hangs is left
// behind, because the process is about to end and the steps after it matter more.
func (s *stack) do(ctx context.Context, st step) error {
	done := make(chan error, 1)
	go func() { done <- st.stop(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(s.grace)
	defer grace.Stop()
	select {
	case err := <-done:
		return err
	case <-grace.C:
		return ctx.Err()
	}
}

// within gives a step at most a part of the time there is, so that those after it have theirs.
func within(most time.Duration, stop func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		return stop(ctx)
	}
}
