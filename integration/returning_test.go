package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// returner is js/returning.js: a page's client with replay.
type returner struct {
	tb    testing.TB
	cmd   *exec.Cmd
	stdin io.Writer
	lines *bufio.Scanner
	heard []string // what its application was told on the channel
}

// returned is a line that js/returning.js prints.
type returned struct {
	Subscribed string          `json:"subscribed"`
	Refused    json.RawMessage `json:"refused"`
	State      string          `json:"state"`
	Event      string          `json:"event"`
	Count      int             `json:"count"`
	Reason     string          `json:"reason"`
}

// told is what the application was told, as heard lists it.
func (r returned) told() string {
	switch r.Event {
	case "playhead:replayed":
		return fmt.Sprintf("%d replayed", r.Count)
	case "playhead:gap":
		return "gap: " + r.Reason
	}
	return r.Event
}

// see reads on until a line is accepted.
func (r *returner) see(what string, accept func(returned) bool) {
	r.tb.Helper()
	for r.lines.Scan() {
		var line returned
		if err := json.Unmarshal(r.lines.Bytes(), &line); err != nil {
			r.tb.Fatalf("returning.js printed %q: %v", r.lines.Text(), err)
		}
		if line.Refused != nil {
			r.tb.Fatalf("subscription refused: %s", line.Refused)
		}
		if line.Event != "" {
			r.heard = append(r.heard, line.told())
		}
		if accept(line) {
			return
		}
	}
	r.tb.Fatalf("returning.js ended before: %s; heard %q", what, r.heard)
}

func (r *returner) seeTold(told string) {
	r.tb.Helper()
	r.see(told, func(line returned) bool { return line.told() == told })
}

// seeState waits until the client's connection is in a state.
func (r *returner) seeState(state string) {
	r.tb.Helper()
	r.see(state, func(line returned) bool { return line.State == state })
}

// do has the client connect or disconnect.
func (r *returner) do(command string) {
	r.tb.Helper()
	if _, err := fmt.Fprintln(r.stdin, command); err != nil {
		r.tb.Fatal(err)
	}
}

// TestReplayModuleOutlivesNode: a page's client with the replay module keeps its place over restarts
// and crashes of its node, and is told when its place is gone: forgotten by retention, or with all data.
func TestReplayModuleOutlivesNode(t *testing.T) {
	t.Parallel()
	for _, build := range []string{"pusher-js 7", "pusher-js 8"} {
		t.Run(build, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, nodeConfig{Env: []string{"SHUTDOWN_DRAIN=100ms"}})
			const ch = "presence-room"
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			r := &returner{tb: t, cmd: javascript(ctx, t, n, "returning.js", ch, build)}
			r.cmd.Stderr = os.Stderr
			stdout, err := r.cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if r.stdin, err = r.cmd.StdinPipe(); err != nil {
				t.Fatal(err)
			}
			if err := r.cmd.Start(); err != nil {
				t.Fatal(err)
			}
			r.lines = bufio.NewScanner(stdout)

			p := n.publisher()
			publish := func(names ...string) {
				t.Helper()
				for _, name := range names {
					p.mustPublish(t, ch, name, "{}")
				}
			}
			// away does something while the client isn't connected.
			away := func(what func()) {
				t.Helper()
				r.do("disconnect")
				r.seeState("disconnected")
				what()
				r.do("connect")
			}

			r.see("subscribed", func(line returned) bool { return line.Subscribed != "" })
			publish("1", "2")
			r.seeTold("2")

			// It returns by itself, and what was published before it did is missed.
			n.stop()
			n.start()
			publish("3")
			r.seeTold("3")
			away(func() {
				n.kill()
				n.start()
				publish("4", "5")
			})
			r.seeTold("2 replayed")

			away(func() {
				n.stop()
				n.cfg.Env = append(n.cfg.Env, "STREAMS_MAX_EVENTS=2")
				n.start()
				publish("6", "7", "8")
			})
			r.seeTold("gap: expired")
			publish("9")
			r.seeTold("9")

			away(func() {
				n.stop()
				if err := os.RemoveAll(n.cfg.Data); err != nil {
					t.Fatal(err)
				}
				n.start()
				publish("10")
			})
			r.seeTold("gap: reset")
			away(func() { publish("11") })
			r.seeTold("1 replayed")
			publish("goodbye")
			r.seeTold("goodbye")
			if err := r.cmd.Wait(); err != nil {
				t.Errorf("returning.js: %v", err)
			}

			// How many were still missed when it returned by itself is a matter of luck.
			var heard []string
			for _, told := range r.heard {
				if len(heard) < 4 && (told == "0 replayed" || told == "1 replayed") {
					continue
				}
				heard = append(heard, told)
			}
			want := []string{"1", "2", "3", "4", "5", "2 replayed", "gap: expired", "9", "gap: reset", "11", "1 replayed", "goodbye"}
			if diff := cmp.Diff(want, heard); diff != "" {
				t.Errorf("heard (-want +got):\n%s", diff)
			}
		})
	}
}
