package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/cmd/playhead/boot"
	"github.com/playhead/playhead/replay/client"
)

// patience bounds waits for conditions; it only passes when a test has failed.
const patience = 30 * time.Second

// text is output that grows while it is looked at.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *text) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *text) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// serve runs a node until the test ends.
func serve(t *testing.T) Server {
	t.Helper()
	n, err := boot.New(boot.Config{
		Host: "127.0.0.1", Port: boot.AnyPort, DataDir: filepath.Join(t.TempDir(), "data"), Node: "node-1",
		Sync:     boot.SyncConfig{Mode: "interval"},
		Metrics:  boot.MetricsConfig{Host: "127.0.0.1", Port: boot.AnyPort},
		Shutdown: boot.ShutdownConfig{Drain: boot.None},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})
	return Server{URL: "http://" + n.Addr().String()}
}

// command is one that talks to a server.
type command interface {
	Run(ctx context.Context, std Stdio) error
}

// do runs a command to its end.
func do(t *testing.T, c command, in string) (out, errs string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var o, e text
	err = c.Run(ctx, Stdio{In: strings.NewReader(in), Out: &o, Err: &e})
	if ctx.Err() != nil {
		t.Fatalf("it did not end: %s %s", o.String(), e.String())
	}
	return o.String(), e.String(), err
}

// must is do for a command that does well.
func must(t *testing.T, c command, in string) (out, errs string) {
	t.Helper()
	out, errs, err := do(t, c, in)
	if err != nil {
		t.Fatal(err)
	}
	return out, errs
}

// columns cuts lines into the columns after the first.
func columns(t *testing.T, out string) [][]string {
	t.Helper()
	var all [][]string
	for l := range strings.Lines(out) {
		words := strings.Split(strings.TrimSuffix(l, "\n"), "\t")
		if _, err := time.Parse(time.RFC3339, words[0]); err != nil {
			t.Errorf("line %q: %v", l, err)
		}
		all = append(all, words[1:])
	}
	return all
}

// A day at the console: publish, once and again with a key, from standard input; look back, both ways
// and page by page; follow from wherever.
func TestCommands(t *testing.T) {
	t.Parallel()
	s := serve(t)
	positions := []string{}
	publish := func(p Publish, in string) string {
		t.Helper()
		p.Server, p.Channel, p.Event = s, "orders", "updated"
		out, errs := must(t, &p, in)
		if !p.JSON && errs == "" {
			positions = append(positions, strings.TrimSpace(out))
		}
		return out
	}
	for _, data := range []string{"0", "1"} {
		publish(Publish{Data: data}, "")
	}
	first := publish(Publish{Data: "2", IdempotencyKey: "k"}, "")
	again, errs := must(t, &Publish{Server: s, Channel: "orders", Event: "updated", Data: "2", IdempotencyKey: "k"}, "")
	if again != first || !strings.Contains(errs, "nothing was stored now") {
		t.Errorf("again: %q, %q; first %q", again, errs, first)
	}
	publish(Publish{Data: "-"}, "from\nelsewhere")
	told := publish(Publish{Data: "4", JSON: true}, "")
	var one struct {
		Channel, ID, Position string
		Duplicate             *bool
	}
	if err := json.Unmarshal([]byte(told), &one); err != nil || one.Channel != "orders" || one.ID == "" || one.Duplicate == nil || *one.Duplicate {
		t.Errorf("told %s, %v", told, err)
	}
	positions = append(positions, one.Position)
	data := []string{"0", "1", "2", `"from\nelsewhere"`, "4"}
	rows := func(from, to int) [][]string { // the places of events, in an order
		var all [][]string
		step := 1
		if to < from {
			step = -1
		}
		for i := from; i != to+step; i += step {
			all = append(all, []string{"orders", "updated", data[i], positions[i]})
		}
		return all
	}
	for name, tt := range map[string]struct {
		command command
		want    [][]string
		errs    string
	}{
		"newest first":   {&History{Verbose: true}, rows(4, 0), ""},
		"oldest first":   {&History{Verbose: true, OldestFirst: true}, rows(0, 4), ""},
		"a page":         {&History{Verbose: true, Limit: 2}, rows(4, 3), "go on with --before " + positions[3]},
		"a page forward": {&History{Verbose: true, Limit: 2, OldestFirst: true}, rows(0, 1), "go on with --after " + positions[1]},
		"before":         {&History{Verbose: true, Before: positions[2]}, rows(1, 0), ""},
		"after":          {&History{Verbose: true, After: positions[2]}, rows(4, 3), ""},
		"all":            {&History{Verbose: true, All: true, Limit: 2}, rows(4, 0), ""},
		"since":          {&History{Verbose: true, Since: When{ago: time.Hour}}, rows(4, 0), ""},
		"until":          {&History{Until: When{ago: time.Hour}}, nil, ""},
		"tail after":     {&Tail{Verbose: true, After: positions[1], Number: 3}, rows(2, 4), "following orders from "},
		"tail since":     {&Tail{Verbose: true, Since: When{ago: time.Hour}, Number: 5}, rows(0, 4), "5 replayed"},
		"tail from then": {&Tail{Verbose: true, Since: When{at: time.Now().Add(-time.Hour)}, Number: 4}, rows(0, 3), ""},
		"tail last":      {&Tail{Verbose: true, Count: 2, Number: 2}, rows(3, 4), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			switch c := tt.command.(type) {
			case *History:
				c.Server, c.Channel = s, "orders"
			case *Tail:
				c.Server, c.Channels = s, []broker.Channel{"orders"}
			}
			out, errs := must(t, tt.command, "")
			got := columns(t, out)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(errs, tt.errs) {
				t.Errorf("standard error %q, want %q", errs, tt.errs)
			}
		})
	}
}

// A tail goes on until it is interrupted, tells gaps apart from events, and is whoever it is told to be.
func TestTailGoesOn(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs text
	var wait sync.WaitGroup
	wait.Go(func() {
		c := Tail{Server: s, Channels: []broker.Channel{"a", "private-b", "presence-c"}, After: "gone", JSON: true, Verbose: true, UserID: "7"}
		if err := c.Run(ctx, Stdio{Out: &out, Err: &errs}); err != nil {
			t.Error(err)
		}
	})
	defer wait.Wait()
	until := func(what string, o *text, n int) {
		t.Helper()
		for deadline := time.Now().Add(patience); strings.Count(o.String(), what) < n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				cancel()
				t.Fatalf("no %d × %q in %q", n, what, o.String())
			}
		}
	}
	until("following", &errs, 3)
	until("gap in", &errs, 3)
	must(t, &Publish{Server: s, Channel: "presence-c", Event: "e", Data: "\x1b[2J"}, "")
	until("\n", &out, 1)
	cancel()
	wait.Wait()
	var e struct {
		Time                               time.Time
		Channel, Event, Data, ID, Position string
	}
	if err := json.Unmarshal([]byte(out.String()), &e); err != nil || e.Channel != "presence-c" || e.Data != "\x1b[2J" || e.ID == "" || e.Position == "" || time.Since(e.Time) > time.Hour {
		t.Errorf("printed %q, %v", out.String(), err)
	}
	if !strings.Contains(errs.String(), "not a position of this server (invalid)") {
		t.Errorf("standard error %q", errs.String())
	}
}

// The printed command does what Publish does.
func TestPublishPrintsCurl(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("no curl to try it with; `task deps` installs it")
	}
	s := serve(t)
	command, _ := must(t, &Publish{Server: s, Channel: "c", Event: `App\Event`, Data: "it's $HOME `x`", PrintCurl: true}, "")
	if out, _ := must(t, &History{Server: s, Channel: "c"}, ""); out != "" {
		t.Errorf("something was published: %s", out)
	}
	answer, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput()
	if err != nil || strings.TrimSpace(string(answer)) != "{}" {
		t.Fatalf("%s: %s, %v", command, answer, err)
	}
	out, _ := must(t, &History{Server: s, Channel: "c"}, "")
	if diff := cmp.Diff([][]string{{"c", `App\Event`, "it's $HOME `x`"}}, columns(t, out)); diff != "" {
		t.Error(diff)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	away := Server{URL: closed.URL}
	here := serve(t)
	for name, tt := range map[string]struct {
		command command
		want    string
	}{
		"publish, no server":   {&Publish{Server: away, Channel: "c", Event: "e"}, "connection refused; is the server running?"},
		"history, no server":   {&History{Server: away, Channel: "c"}, "connection refused; is the server running?"},
		"no URL":               {&Publish{Server: Server{URL: "localhost:6001"}, Channel: "c"}, `"localhost:6001" is not the URL of a server`},
		"no configuration":     {&Tail{Server: Server{Config: "/nowhere.yml"}, Channels: []broker.Channel{"c"}}, "/nowhere.yml"},
		"unknown app":          {&Publish{Server: Server{AppID: "x"}, Channel: "c"}, `no credentials for app "x"`},
		"unknown key":          {&History{Server: Server{Key: "x"}, Channel: "c"}, `no secret of key "x" of app "app-id" in the configuration; give --secret`},
		"wrong secret":         {&Publish{Server: Server{URL: here.URL, Secret: "x"}, Channel: "c", Event: "e"}, "401 Unauthorized"},
		"no such app there":    {&Tail{Server: Server{URL: here.URL, Key: "x"}, Channels: []broker.Channel{"c"}}, "4001"},
		"bad channel":          {&Publish{Server: here, Channel: "a b", Event: "e"}, "400 Bad Request"},
		"bad limit":            {&History{Server: here, Channel: "a", Limit: 5_000}, "400 Bad Request: Invalid limit"},
		"presence, nobody":     {&Tail{Server: here, Channels: []broker.Channel{"presence-a"}}, "give --user-id"},
		"private, no secret":   {&Tail{Server: Server{URL: here.URL, Key: "x"}, Channels: []broker.Channel{"private-a"}}, "private-a: secret: required"},
		"negative":             {&Tail{Server: here, Channels: []broker.Channel{"a"}, Number: -1}, "can't be negative"},
		"too many at once":     {&Tail{Server: here, Channels: []broker.Channel{"a"}, Count: 1_001}, "not between 1 and 1,000"},
		"a position elsewhere": {&History{Server: here, Channel: "a", After: "1-other-1-1"}, "410 Gone: reset"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := do(t, tt.command, ""); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %s", err, tt.want)
			}
		})
	}
}

// Output that can't be written ends a command.
func TestOutputGone(t *testing.T) {
	t.Parallel()
	s := serve(t)
	must(t, &Publish{Server: s, Channel: "c", Event: "e", Data: "d"}, "")
	for _, c := range []command{
		&Tail{Server: s, Channels: []broker.Channel{"c"}, Count: 1},
		&History{Server: s, Channel: "c"},
		&History{Server: s, Channel: "c", All: true},
		&Publish{Server: s, Channel: "c", Event: "e", Data: "d"},
	} {
		if err := c.Run(t.Context(), Stdio{Out: brokenPipe{}, Err: io.Discard}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%T: %v", c, err)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWhen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"10m":                       now.Add(-10 * time.Minute),
		"1h30m":                     now.Add(-90 * time.Minute),
		"2026-01-30T12:00:00Z":      time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC),
		"2026-01-30T12:00:00+02:00": time.Date(2026, 1, 30, 10, 0, 0, 0, time.UTC),
		"2026-01-30":                time.Date(2026, 1, 30, 0, 0, 0, 0, time.Local),
		"":                          {},
		"0s":                        {},
		"-1h":                       {},
		"yesterday":                 {},
	} {
		var w When
		err := w.UnmarshalText([]byte(text))
		if want.IsZero() {
			if err == nil {
				t.Errorf("%q: no error", text)
			}
			continue
		}
		if err != nil || !w.time(now).Equal(want) {
			t.Errorf("%q: %v, %v; want %v", text, w.time(now), err, want)
		}
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 12, 0, 0, 7e6, time.UTC)
	stamp := at.Local().Format("2006-01-02T15:04:05.000Z07:00")
	for name, tt := range map[string]struct {
		line  line
		event client.Event
		want  string
	}{
		"plain":           {line{}, client.Event{Time: at, Channel: "c", Name: "e", Data: `{"ü":1}`}, stamp + "\tc\te\t{\"ü\":1}\n"},
		"with a position": {line{positions: true}, client.Event{Time: at, Channel: "c", Name: "e", Position: "P"}, stamp + "\tc\te\t\tP\n"},
		"no time":         {line{}, client.Event{Channel: "c", Name: "e", Data: "d"}, "-\tc\te\td\n"},
		"several lines":   {line{}, client.Event{Channel: "c", Name: "e\tf", Data: "d\ne \x1b[0m"}, "-\tc\t\"e\\tf\"\t\"d\\ne \\x1b[0m\"\n"},
		"JSON":            {line{json: true}, client.Event{Time: at, Channel: "c", Name: "e", Data: "d\n", ID: "i", Position: "P", UserID: "u"}, `{"time":"2026-01-31T12:00:00.007Z","channel":"c","event":"e","data":"d\n","user_id":"u","id":"i","position":"P"}` + "\n"},
		"JSON, no memory": {line{json: true}, client.Event{Channel: "c", Name: "e"}, `{"channel":"c","event":"e","data":""}` + "\n"},
	} {
		var b strings.Builder
		if err := tt.line.write(&b, tt.event); err != nil || b.String() != tt.want {
			t.Errorf("%s: %q, %v; want %q", name, b.String(), err, tt.want)
		}
	}
}
