package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// console returns a command that talks to a node.
func (n *node) console(ctx context.Context, args ...string) *exec.Cmd {
	n.tb.Helper()
	cmd := exec.CommandContext(ctx, n.cfg.Binary, args...)
	cmd.Env = append(environment(), "PLAYHEAD_URL="+n.url(""), "GORACE=atexit_sleep_ms=0")
	dieWithTest(cmd)
	return cmd
}

// say runs a command to its end.
func (n *node) say(args ...string) (out, errs string) {
	n.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := n.console(ctx, args...)
	var o, e output
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil {
		n.tb.Fatalf("playhead %s: %v\n%s%s", strings.Join(args, " "), err, o.String(), e.String())
	}
	return o.String(), e.String()
}

// printed is an event as the commands print it with --json.
type printed struct {
	Channel  string `json:"channel"`
	Event    string `json:"event"`
	Data     string `json:"data"`
	Position string `json:"position"`
}

func readPrinted(tb testing.TB, text string) []printed {
	tb.Helper()
	var all []printed
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		var p printed
		if err := json.Unmarshal(s.Bytes(), &p); err != nil {
			tb.Fatalf("%s: %v", s.Text(), err)
		}
		all = append(all, p)
	}
	return all
}

// publishSurely publishes until the node has said that it is stored.
func publishSurely(tb testing.TB, p *publisher, channel, key, data string) {
	body := map[string]string{"name": "e", "channel": channel, "data": data, "idempotency_key": key}
	for deadline := time.Now().Add(2 * patience); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		a, err := p.post(ctx, "events", body)
		cancel()
		if err == nil && a.status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			tb.Errorf("publish %s: %d %s, %v", data, a.status, a.body, err)
			return
		}
		time.Sleep(5 * time.Millisecond) // the node is being restarted
	}
}

// TestTailOutlivesNode: `playhead tail` prints every event once and in order, and tells of no gap,
// while its node is killed and started again and a publisher goes on.
func TestTailOutlivesNode(t *testing.T) {
	t.Parallel()
	const events, kills = 900, 3
	n := startNode(t, nodeConfig{})
	channels := []string{"orders", "private-stock"}
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	tail := n.console(ctx, append([]string{"tail", "--json", "-v", "-n", fmt.Sprint(events)}, channels...)...)
	var out, errs output
	tail.Stdout, tail.Stderr = &out, &errs
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "tail follows", func() bool { return strings.Count(errs.String(), "following ") == len(channels) })

	want := map[string][]string{}
	var publishing sync.WaitGroup
	var mu sync.Mutex
	sent := 0 // guarded by mu
	publishing.Go(func() {
		p := n.publisher()
		for i := range events {
			ch := channels[i%len(channels)]
			publishSurely(t, p, ch, fmt.Sprint("key-", i), fmt.Sprint(i))
			want[ch] = append(want[ch], fmt.Sprint(i))
			mu.Lock()
			sent++
			mu.Unlock()
			time.Sleep(time.Millisecond) // it is to go on while the node is killed
		}
	})
	for k := range kills {
		await(t, "some are published", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return sent > (k+1)*events/(kills+1)-50
		})
		n.kill()
		n.start()
	}
	publishing.Wait()
	if err := tail.Wait(); err != nil {
		t.Fatalf("tail: %v\n%s", err, errs.String())
	}
	got := map[string][]string{}
	for _, e := range readPrinted(t, out.String()) {
		got[e.Channel] = append(got[e.Channel], e.Data)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
	if text := errs.String(); strings.Contains(text, "gap") || strings.Count(text, "following ") < len(channels)*(kills+1) {
		t.Errorf("standard error of tail:\n%s", text)
	}
}

// TestHistoryCommand: what was published is read back, both ways, all at once and page by page; a key
// is published with once; and what comes after a position that was printed is followed.
func TestHistoryCommand(t *testing.T) {
	t.Parallel()
	n := startNode(t, nodeConfig{})
	var positions, data []string
	for i := range 7 {
		out, _ := n.say("publish", "orders", "e", fmt.Sprint(i), "--idempotency-key", fmt.Sprint("key-", i))
		again, errs := n.say("publish", "orders", "e", "another", "--idempotency-key", fmt.Sprint("key-", i))
		if again != out || !strings.Contains(errs, "nothing was stored now") {
			t.Errorf("published twice: %q, %q, %s", out, again, errs)
		}
		positions = append(positions, strings.TrimSpace(out))
		data = append(data, fmt.Sprint(i))
	}
	all := func(from, step int) []printed {
		var all []printed
		for i := from; i >= 0 && i < len(data); i += step {
			all = append(all, printed{Channel: "orders", Event: "e", Data: data[i], Position: positions[i]})
		}
		return all
	}
	for _, way := range []struct {
		flags []string
		from  string // the flag that goes on
		want  []printed
	}{
		{nil, "--before", all(len(data)-1, -1)},
		{[]string{"--oldest-first"}, "--after", all(0, 1)},
	} {
		args := append([]string{"history", "orders", "--json", "--limit", "3"}, way.flags...)
		out, errs := n.say(append(args, "--all")...)
		if diff := cmp.Diff(way.want, readPrinted(t, out)); diff != "" || errs != "" {
			t.Errorf("all %v: %s%s", way.flags, errs, diff)
		}
		var got []printed
		for page := args; ; {
			out, errs := n.say(page...)
			got = append(got, readPrinted(t, out)...)
			_, rest, more := strings.Cut(errs, "go on with "+way.from+" ")
			if !more || len(got) > len(data) {
				break
			}
			at, _, _ := strings.Cut(rest, ",")
			page = append(args[:len(args):len(args)], way.from, at)
		}
		if diff := cmp.Diff(way.want, got); diff != "" {
			t.Errorf("by pages %v: %s", way.flags, diff)
		}
	}
	out, errs := n.say("tail", "orders", "--json", "--after", positions[4], "-n", "2")
	if diff := cmp.Diff(all(5, 1), readPrinted(t, out)); diff != "" || errs != "" {
		t.Errorf("tail: %s%s", errs, diff)
	}
}

// TestTailInterrupted: Ctrl-C ends a tail well, also while there is no server.
func TestTailInterrupted(t *testing.T) {
	t.Parallel()
	n := newNode(t, nodeConfig{})
	cmd := n.console(t.Context(), "tail", "orders")
	var errs output
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "tail tries again", func() bool { return strings.Count(errs.String(), "connection refused; trying again in") > 1 })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, errs.String())
	}
}
