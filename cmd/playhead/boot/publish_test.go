package boot

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// request is what a server got.
type request struct {
	path, body string
	err        error // what is wrong with its signature
}

// serveSigned starts a server that answers signed publishes with a status and "{}", and returns
// its address and what it gets.
func serveSigned(t *testing.T, app broker.App, status int) (string, <-chan request) {
	t.Helper()
	got := make(chan request, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			signed := pusher.Request{Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Body: body}
			err = signed.Verify(&app, time.Now())
		}
		got <- request{r.URL.EscapedPath(), string(body), err}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "{}\n")
	}))
	t.Cleanup(srv.Close)
	return srv.URL, got
}

func TestPublish(t *testing.T) {
	t.Parallel()
	cfg := Config{Apps: []AppConfig{
		{ID: "first", Key: "k1", Secret: "s1"},
		{ID: "odd/app", Credentials: []CredentialConfig{{Key: "k2", Secret: "s2"}, {Key: "k3", Secret: "s3"}}},
	}}
	for name, tt := range map[string]struct {
		p      PublishConfig
		path   string // of the server
		app    broker.App
		status int
		want   string // the request's path
		err    string
	}{
		"first app": {
			app:  broker.App{Credentials: []broker.Credential{{Key: "k1", Secret: "s1"}}},
			want: "/apps/first/events",
		},
		"named app": {
			p:    PublishConfig{AppID: "odd/app"},
			app:  broker.App{Credentials: []broker.Credential{{Key: "k2", Secret: "s2"}}},
			want: "/apps/odd%2Fapp/events",
		},
		"named key": {
			p:    PublishConfig{AppID: "odd/app", Key: "k3"},
			app:  broker.App{Credentials: []broker.Credential{{Key: "k3", Secret: "s3"}}},
			want: "/apps/odd%2Fapp/events",
		},
		"app of the server's": {
			p:    PublishConfig{AppID: "other", Key: "k", Secret: "s"},
			path: "/pusher/",
			app:  broker.App{Credentials: []broker.Credential{{Key: "k", Secret: "s"}}},
			want: "/pusher/apps/other/events",
		},
		"refused": {
			app:    broker.App{Credentials: []broker.Credential{{Key: "k1", Secret: "s1"}}},
			status: http.StatusServiceUnavailable,
			want:   "/apps/first/events",
			err:    "503 Service Unavailable: {}",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.status == 0 {
				tt.status = http.StatusOK
			}
			url, requests := serveSigned(t, tt.app, tt.status)
			var out strings.Builder
			p := tt.p
			p.URL, p.Channel, p.Event, p.Data, p.Output = url+tt.path, "a@b;c", `App\Event`, `it's <"x">`, &out
			err := Publish(t.Context(), cfg, p)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one with %s", err, tt.err)
				}
			} else if err != nil || out.String() != "{}\n" {
				t.Errorf("answer %q, %v", out.String(), err)
			}
			want := request{path: tt.want, body: `{"name":"App\\Event","channel":"a@b;c","data":"it's \u003c\"x\"\u003e"}`}
			if got := <-requests; got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// The printed command does what Publish does, quotes and all.
func TestPublishPrintsCurl(t *testing.T) {
	t.Parallel()
	app := broker.App{Credentials: []broker.Credential{{Key: "app-key", Secret: "app-secret"}}}
	url, requests := serveSigned(t, app, http.StatusOK)
	var out strings.Builder
	err := Publish(t.Context(), Config{}, PublishConfig{
		URL: url, Channel: "c", Event: "e", Data: "it's $HOME `x`", PrintCurl: true, Output: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-requests:
		t.Error("something was published")
	default:
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("no curl to try it with; `task deps` installs it")
	}
	answer, err := exec.CommandContext(t.Context(), "sh", "-c", out.String()).CombinedOutput()
	if err != nil || string(answer) != "{}\n" {
		t.Fatalf("%s: %s, %v", out.String(), answer, err)
	}
	want := request{path: "/apps/app-id/events", body: "{\"name\":\"e\",\"channel\":\"c\",\"data\":\"it's $HOME `x`\"}"}
	if got := <-requests; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPublishProblems(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, tt := range map[string]struct {
		p    PublishConfig
		want string
	}{
		"no server":     {PublishConfig{URL: closed.URL}, "connection refused; is the server running?"},
		"no URL":        {PublishConfig{URL: "localhost:6001"}, `"localhost:6001" is not the URL of a server`},
		"with a query":  {PublishConfig{URL: "http://h/?a=b"}, "not the URL of a server"},
		"unknown app":   {PublishConfig{AppID: "x"}, `no credentials for app "x"`},
		"unknown key":   {PublishConfig{Key: "x"}, "give --key and --secret"},
		"app no secret": {PublishConfig{AppID: "x", Key: "k"}, "give --key and --secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := Publish(t.Context(), Config{}, tt.p); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %s", err, tt.want)
			}
		})
	}
}
