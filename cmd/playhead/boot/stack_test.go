package boot

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var discard = slog.New(slog.DiscardHandler)

func TestStackUnwindsBackwards(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStack(discard)
		var order []string
		for _, name := range []string{"server", "log", "node"} {
			s.start(name, func(ctx context.Context) error {
				<-ctx.Done()
				order = append(order, name)
				return nil
			})
		}
		s.push("door", func(context.Context) error {
			order = append(order, "door")
			return nil
		})
		if err := s.unwind(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"door", "node", "log", "server"}, order); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := s.unwind(t.Context()); err != nil {
			t.Errorf("unwinding again: %v", err)
		}
	})
}

// Steps that are late are named, and the others have their turn all the same.
func TestStackNamesLateSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStack(discard)
		var order []string
		var mu sync.Mutex // a late step and the one after it run side by side
		note := func(name string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
		}
		release := make(chan struct{})
		defer synctest.Wait()
		defer close(release)

		s.push("server", func(context.Context) error { note("server"); return nil })
		s.push("broken", func(context.Context) error { note("broken"); return errors.New("no luck") })
		s.start("stubborn", func(context.Context) error { note("stubborn"); <-release; return nil })
		s.push("hung", func(context.Context) error { note("hung"); <-release; return nil })
		s.push("polite", func(ctx context.Context) error { note("polite"); <-ctx.Done(); return ctx.Err() })

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		synctest.Wait()
		began := time.Now()
		err := s.unwind(ctx)
		if took := time.Since(began); took != 11*time.Second {
			t.Errorf("took %v, want the time there was and a moment for the hung step", took)
		}
		if diff := cmp.Diff([]string{"stubborn", "polite", "hung", "broken", "server"}, order); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		want := []string{"shut down: polite: not done in time", "hung: not done in time", "stubborn: not done in time", "broken: no luck"}
		if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A part that ends on its own is reported, and the first of them is why.
func TestStackReportsEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"with an error": {errors.New("no disk"), "log: no disk"},
		"without":       {nil, "log: ended by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStack(discard)
				s.start("log", func(context.Context) error { return tt.err })
				synctest.Wait()
				s.start("node", func(context.Context) error { return errors.New("no log") })
				synctest.Wait()
				if err := <-s.ended; err == nil || err.Error() != tt.want {
					t.Errorf("reported %v, want %s", err, tt.want)
				}
				if err := s.unwind(t.Context()); err != nil {
					t.Errorf("unwinding what has ended: %v", err)
				}
			})
		})
	}
}
