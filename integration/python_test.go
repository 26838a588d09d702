package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pythonPackages makes a virtual environment with the official library when there is none or
// python/requirements.txt has changed since, and returns its interpreter.
var pythonPackages = sync.OnceValues(func() (string, error) {
	want, err := os.ReadFile("python/requirements.txt")
	if err != nil {
		return "", err
	}
	folder, err := filepath.Abs("python/.venv")
	if err != nil {
		return "", err
	}
	interpreter := filepath.Join(folder, "bin", "python")
	installed := filepath.Join(folder, "requirements.txt") // written last
	if got, err := os.ReadFile(installed); err == nil && bytes.Equal(got, want) {
		return interpreter, nil
	}
	if _, err := exec.LookPath("python3"); err != nil {
		return "", fmt.Errorf("python3 is not installed, and the official Python library needs it: run `task deps`")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", folder},
		{interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "python/requirements.txt"},
	} {
		if output, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w; `task deps` runs it too\n%s", strings.Join(args, " "), err, output)
		}
	}
	return interpreter, os.WriteFile(installed, want, 0o600)
})

// python is a process that calls the official Python library.
type python struct {
	tb      testing.TB
	calls   *json.Encoder
	answers *bufio.Scanner
}

// startPython starts one that talks to a node about an app.
func startPython(tb testing.TB, n *node, app string) *python {
	tb.Helper()
	interpreter, err := pythonPackages()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(interpreter, "call.py")
	cmd.Dir = "python"
	cmd.Env = append(n.clientEnvironment(), "PLAYHEAD_APP_ID="+app)
	cmd.Stderr = os.Stderr
	dieWithTest(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := in.Close(); err != nil {
			tb.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			tb.Errorf("call.py: %v", err)
		}
	})
	return &python{tb, json.NewEncoder(in), bufio.NewScanner(out)}
}

// outcome is what came of a call.
type outcome struct {
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
	Type   string          `json:"type"` // of the exception
}

func (p *python) try(method string, args ...any) outcome {
	p.tb.Helper()
	if args == nil {
		args = []any{}
	}
	if err := p.calls.Encode(map[string]any{"call": method, "args": args}); err != nil {
		p.tb.Fatalf("call %s: %v", method, err)
	}
	if !p.answers.Scan() {
		p.tb.Fatalf("call %s: no outcome: %v", method, p.answers.Err())
	}
	var o outcome
	if err := json.Unmarshal(p.answers.Bytes(), &o); err != nil {
		p.tb.Fatalf("call %s: %q: %v", method, p.answers.Bytes(), err)
	}
	return o
}

// call calls a method of the library that must not fail, and returns what it returns.
func (p *python) call(method string, args ...any) any {
	p.tb.Helper()
	o := p.try(method, args...)
	if o.Error != "" {
		p.tb.Fatalf("%s%v: %s: %s", method, args, o.Type, o.Error)
	}
	var result any
	if err := json.Unmarshal(o.Result, &result); err != nil {
		p.tb.Fatalf("%s%v: %v", method, args, err)
	}
	return result
}

// TestPythonLibrary: the official Python library triggers, asks, signs, terminates and verifies
// webhooks, with requests of the form it has by default.
func TestPythonLibrary(t *testing.T) {
	t.Parallel()
	const app = "4711" // the library takes digits only
	r := receive(t, nil)
	n := startNode(t, nodeConfig{
		Config: fmt.Sprintf(`{default_app: {id: %q, webhooks: [{url: %q, batch: true}]}}`, app, r.url),
		Env:    []string{"SHUTDOWN_DRAIN=none"},
	})
	p := startPython(t, n, app)
	is := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	type object = map[string]any

	// Signatures.
	ada, bob := mustDial(t, n, false), mustDial(t, n, false)
	user := p.call("authenticate_user", ada.socket, object{"id": "ada", "user_info": object{"name": "Ada å"}}).(object)
	ada.mustAsk(t, "pusher:signin", user)
	if f := ada.mustRead(t); f.Event != "pusher:signin_success" {
		t.Fatalf("sign-in answered %s %s", f.Event, f.Data)
	}
	ada.mustAsk(t, "pusher:subscribe", object{"channel": "#server-to-user-ada"})
	ada.mustRead(t)
	for i, c := range []*client{ada, bob} {
		id := []string{"ada", "bob"}[i]
		for _, ch := range []string{"private-orders", "presence-room"} {
			args := []any{ch, c.socket}
			if ch == "presence-room" {
				args = append(args, object{"user_id": id, "user_info": object{"name": strings.ToUpper(id)}})
			}
			data := p.call("authenticate", args...).(object)
			data["channel"] = ch
			c.mustAsk(t, "pusher:subscribe", data)
		}
		c.mustAsk(t, "pusher:subscribe", object{"channel": "news"})
		c.alive(t)
	}
	ada.alive(t) // it has heard of bob

	// Publishing.
	is("trigger", p.call("trigger", "news", "hi", object{"n": 1}), object{})
	is("trigger to several", p.call("trigger", []string{"news", "private-orders"}, "hi", "text å"), object{})
	is("trigger with socket_id", p.call("trigger", "news", "echo", object{}, ada.socket), object{})
	is("trigger_batch", p.call("trigger_batch", []object{
		{"channel": "news", "name": "one", "data": object{"n": 1}},
		{"channel": "presence-room", "name": "two", "data": "2", "socket_id": bob.socket},
	}), object{})
	is("send_to_user", p.call("send_to_user", "ada", "for you", object{"n": 2}), object{})
	for c, want := range map[*client][]string{
		ada: {`news hi {"n": 1}`, `news hi text å`, `private-orders hi text å`, `news one {"n": 1}`, `presence-room two 2`, `#server-to-user-ada for you {"n": 2}`},
		bob: {`news hi {"n": 1}`, `news hi text å`, `private-orders hi text å`, `news echo {}`, `news one {"n": 1}`},
	} {
		var got []string
		for len(got) < len(want) {
			if f := c.mustRead(t); !strings.HasPrefix(f.Event, "pusher") {
				got = append(got, f.Channel+" "+f.Event+" "+f.text())
			}
		}
		is("events", got, want)
		is("frames behind them", c.alive(t), []frame(nil))
	}

	// Questions.
	is("channels_info", p.call("channels_info", "presence-", []string{"user_count"}),
		object{"channels": object{"presence-room": object{"user_count": 2.0}}})
	is("channels_info of all", p.call("channels_info"),
		object{"channels": object{"news": object{}, "presence-room": object{}, "private-orders": object{}}})
	is("channel_info", p.call("channel_info", "presence-room", []string{"user_count", "subscription_count"}),
		object{"occupied": true, "user_count": 2.0, "subscription_count": 2.0})
	is("channel_info of nobody's", p.call("channel_info", "cache-rate", []string{"cache"}), object{"occupied": false, "cache": nil})
	users := p.call("users_info", "presence-room").(object)["users"].([]any)
	if len(users) != 2 {
		t.Errorf("users_info: %v", users)
	}

	// Refusals, as the library raises them.
	for _, o := range []outcome{p.try("users_info", "news"), p.try("channels_info", "", []string{"user_count"})} {
		if o.Type != "PusherBadRequest" || o.Error == "" {
			t.Errorf("refused with %+v", o)
		}
	}

	// Termination.
	is("terminate_user_connections", p.call("terminate_user_connections", "ada"), object{})
	if code := ada.closed(t); code != 4009 {
		t.Errorf("closed with %d", code)
	}
	bob.alive(t)

	// Webhooks of what happened above.
	await(t, "ada's departure is told", func() bool {
		for _, e := range r.accepted() {
			if e.Name == "member_removed" && e.UserID == "ada" {
				return true
			}
		}
		return false
	})
	for _, post := range r.all() {
		key, sign := post.header.Get("X-Pusher-Key"), post.header.Get("X-Pusher-Signature")
		if content, _ := p.call("validate_webhook", key, sign, post.body).(object); content == nil || content["events"] == nil {
			t.Errorf("%s is not valid", post.body)
		}
		is("a changed body", p.call("validate_webhook", key, sign, post.body+" "), nil)
	}
}
