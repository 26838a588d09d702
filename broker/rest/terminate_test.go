package rest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// connection is one that keeps what it is closed for.
type connection struct {
	mu     sync.Mutex
	closed []broker.Reason
}

func (*connection) Deliver(*broker.Delivery) {}

func (c *connection) Close(why broker.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = append(c.closed, why)
}

func (c *connection) why() []broker.Reason {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Checklist 96 and 122: all connections that are signed in as the user are ended, and no others.
func TestTerminate(t *testing.T) {
	t.Parallel()
	ended := []broker.Reason{broker.Terminated}
	for name, v := range map[string]struct {
		path, body string
		want       []broker.Reason // of the connections of user|1 x
	}{
		"with a body":       {"/apps/3/users/user%7C1%20x/terminate_connections", "{}", ended},
		"without a body":    {"/apps/3/users/user%7C1%20x/terminate_connections", "", ended},
		"some other body":   {"/apps/3/users/user%7C1%20x/terminate_connections", "null", ended},
		"without an app":    {"/users/user%7C1%20x/terminate_connections", "{}", ended},
		"unknown user":      {"/apps/3/users/nobody/terminate_connections", "{}", nil},
		"user of the other": {"/apps/3/users/user/terminate_connections", "{}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			var one, two, other, foreign connection
			s.presence.SignIn("3", "user|1 x", &one)
			s.presence.SignIn("3", "user|1 x", &two)
			s.presence.SignIn("3", "10", &other)
			s.presence.SignIn("4", "user|1 x", &foreign)
			s.join(t, "presence-a", "1.1", "user|1 x")
			w := s.send(s.request(t, "POST", v.path, "", v.body))
			if w.Code != http.StatusOK || w.Body.String() != "{}" || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%d %s, %s", w.Code, w.Body, w.Header().Get("Content-Type"))
			}
			for name, c := range map[string]*connection{"one": &one, "two": &two} {
				if diff := cmp.Diff(v.want, c.why()); diff != "" {
					t.Errorf("connection %s of the user (-want +got):\n%s", name, diff)
				}
			}
			if got := append(other.why(), foreign.why()...); got != nil {
				t.Errorf("others were closed: %v", got)
			}
			if got := s.presence.Users("3", "presence-a"); len(got) != 1 {
				t.Errorf("a member that only shares the id has gone: %v", got)
			}
		})
	}
}

// Who isn't the app ends nothing, and learns nothing.
func TestTerminateUnauthenticated(t *testing.T) {
	t.Parallel()
	s := open(t)
	var c connection
	s.presence.SignIn("3", "1", &c)
	sign := func(path string, by broker.Credential) string {
		r := pusher.Request{Method: "POST", Path: path}
		q, err := r.Sign(by, vectorTime)
		if err != nil {
			t.Fatal(err)
		}
		return path + "?" + q
	}
	const short = "/users/1/terminate_connections"
	good := sign(short, credential)
	for name, v := range map[string]struct{ target, want string }{
		"nothing":            {short, "Missing parameter: auth_key"},
		"empty key":          {short + "?auth_key=", "Unknown auth_key"},
		"unknown key":        {sign(short, broker.Credential{Key: "x", Secret: "y"}), "Unknown auth_key"},
		"wrong secret":       {sign(short, broker.Credential{Key: credential.Key, Secret: "y"}), "Invalid signature: "},
		"other user":         {strings.Replace(good, "/users/1/", "/users/2/", 1), "Invalid signature: "},
		"long path's":        {"/apps/3" + good, "Invalid signature: "},
		"short path's":       {strings.Replace(sign("/apps/3"+short, credential), "/apps/3", "", 1), "Invalid signature: "},
		"key in second":      {strings.Replace(good, "?", "?auth_key=x&", 1), "Unknown auth_key"},
		"key in other case":  {strings.Replace(good, "auth_key", "Auth_Key", 1), ""},
		"as it should be":    {good, ""},
		"its other spelling": {sign("/apps/3"+short, credential), ""},
	} {
		w := s.send(httptest.NewRequest(http.MethodPost, v.target, nil))
		want := http.StatusUnauthorized
		if v.want == "" {
			want = http.StatusOK
		}
		if w.Code != want || !strings.HasPrefix(w.Body.String(), v.want) {
			t.Errorf("%s: %d %s, want %d %s", name, w.Code, w.Body, want, v.want)
		}
		c.mu.Lock()
		if ended := c.closed != nil; ended != (v.want == "") {
			t.Errorf("%s: connection closed: %v", name, ended)
		}
		c.closed = nil
		c.mu.Unlock()
	}
}

func TestTerminateOfDisabledAppIs403(t *testing.T) {
	t.Parallel()
	s := open(t, func(_ *Config, app *broker.App) { app.Disabled = true })
	for _, path := range []string{"/apps/3/users/1/terminate_connections", "/users/1/terminate_connections"} {
		if status, body := s.do(t, "POST", path, "", "{}"); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}
