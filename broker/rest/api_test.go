package rest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Checklist 98, and 101 with Python's: the protocol's signed requests.
func TestVectors(t *testing.T) {
	t.Parallel()
	const (
		q  = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0"
		b1 = `{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}`
		b2 = `{"name":"hi","channels":["#server-to-user-12345"],"data":"{\"n\":1}"}`
		b3 = `{"batch":[{"channel":"project-3","name":"foo","data":"{\"some\":\"data\"}"},{"channel":"presence-room","name":"bar","data":"hello","socket_id":"1234.1234","info":"user_count"}]}`
	)
	for _, v := range []struct{ name, method, path, query, signature, body, want string }{
		{"events", "POST", "/apps/3/events", "&body_md5=ec365a775a4cd0599faeb73354201b6f", "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c", b1, `{}`},
		{"events to a user", "POST", "/apps/3/events", "&body_md5=248f96d76ed2dc047eafc16d8cd1abfe", "a3ff6b91298ffeba1513c70e10c3368731ca14bf99b197b3a0264cea4a789a77", b2, `{}`},
		{"batch", "POST", "/apps/3/batch_events", "&body_md5=5c47088fcd8b12a66644ef28834a69e0", "c233ab65206d122d0890fcf54b19c5d2d5880c6525a2e02db0adcafa21e356d9", b3, `{"batch":[{},{"user_count":2}]}`},
		{"channels", "GET", "/apps/3/channels", "", "1cafa6382331c976588eb6bd3925a988e4158402be06c4626d0e97d2981f5382", "", `{"channels":{"presence-foobar":{},"presence-room":{}}}`},
		{"channels with filter", "GET", "/apps/3/channels", "&filter_by_prefix=presence-&info=user_count", "16819168891cb5dfd72b5c7a5d3d602605b26c6ba1930033b5e2eeeb65010291", "", `{"channels":{"presence-foobar":{"user_count":1},"presence-room":{"user_count":2}}}`},
		{"channel", "GET", "/apps/3/channels/presence-foobar", "&info=user_count,subscription_count", "377ee9260ea002a70c0d40cd887d55cb36db9f7f821297f5efacbcce66be356d", "", `{"occupied":true,"user_count":1,"subscription_count":1}`},
		{"users", "GET", "/apps/3/channels/presence-foobar/users", "", "5567dd30e7f8575e66be615d2aac3f608a0c311c31ddab8513a278b022e9597e", "", `{"users":[{"id":"10"}]}`},
		{"users, Python style", "GET", "/apps/3/channels/presence-foobar/users", "&body_md5=d41d8cd98f00b204e9800998ecf8427e", "3d68b512095fd42cb6741cc80616761b1c77d00fcc4d6d9740f09504a4b761b0", "", `{"users":[{"id":"10"}]}`},
		{"terminate", "POST", "/apps/3/users/12345/terminate_connections", "&body_md5=99914b932bd37a50b983c5e7c90ae93b", "01fa634edeb0cae84115307cad5c23f65a46cd286461b1c89637a3b5871a8f0e", `{}`, `{}`},
		{"terminate, no body", "POST", "/apps/3/users/12345/terminate_connections", "", "0bd2da4cd2c60cbe4627bea865cb306fda26121f3665d934db3e0f3f542a91f8", "", `{}`},
		{"terminate, escaped", "POST", "/apps/3/users/user%7C1%20x/terminate_connections", "&body_md5=99914b932bd37a50b983c5e7c90ae93b", "359b500eb9107c2e0ee9f7c11a1427a9b70c7bdda362ab528fee5233a617a74d", `{}`, `{}`},
		{"mixed-case parameter", "GET", "/apps/3/channels", "&Name=Something%20else", "e661e8bf75b3959cbeab2cee466c873b918e39bfd0980693aadf77d4da8ba77c", "", `{"channels":{"presence-foobar":{},"presence-room":{}}}`},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			s.join(t, "presence-foobar", "1.1", "10")
			s.join(t, "presence-room", "1.1", "10")
			s.join(t, "presence-room", "1.2", "11")
			w := s.send(httptest.NewRequest(v.method, v.path+"?"+q+v.query+"&auth_signature="+v.signature, strings.NewReader(v.body)))
			if w.Code != http.StatusOK || w.Body.String() != v.want {
				t.Errorf("%d %s, want 200 %s", w.Code, w.Body, v.want)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type %q", got)
			}
		})
	}
}

const plainBody = `{"name":"foo","channels":["project-3"],"data":"x"}`

// Checklist 99 and 100.
func TestUnauthenticatedIs401(t *testing.T) {
	t.Parallel()
	// signed makes a query, signed for a time, of plainBody.
	signed := func(at time.Time, c broker.Credential) string {
		r := pusher.Request{Method: "POST", Path: "/apps/3/events", Body: []byte(plainBody)}
		q, err := r.Sign(c, at)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	good := signed(vectorTime, credential)
	for name, v := range map[string]struct {
		query, body string
		accepted    bool
	}{
		"as it should be":     {query: good, body: plainBody, accepted: true},
		"590 s slow":          {query: signed(vectorTime.Add(-590*time.Second), credential), body: plainBody, accepted: true},
		"590 s fast":          {query: signed(vectorTime.Add(590*time.Second), credential), body: plainBody, accepted: true},
		"601 s slow":          {query: signed(vectorTime.Add(-601*time.Second), credential), body: plainBody},
		"601 s fast":          {query: signed(vectorTime.Add(601*time.Second), credential), body: plainBody},
		"nothing":             {body: plainBody},
		"unknown key":         {query: signed(vectorTime, broker.Credential{Key: "other", Secret: credential.Secret}), body: plainBody},
		"wrong secret":        {query: signed(vectorTime, broker.Credential{Key: credential.Key, Secret: "wrong"}), body: plainBody},
		"no key":              {query: strings.Replace(good, "auth_key=", "x=", 1), body: plainBody},
		"no signature":        {query: strings.Replace(good, "auth_signature=", "x=", 1), body: plainBody},
		"other version":       {query: strings.Replace(good, "auth_version=1.0", "auth_version=1.1", 1), body: plainBody},
		"parameter added":     {query: good + "&info=user_count", body: plainBody},
		"other body":          {query: good, body: strings.Replace(plainBody, "foo", "bar", 1)},
		"body cut off":        {query: good, body: plainBody[:10]},
		"no body":             {query: good},
		"body without digest": {query: strings.Replace(good, "body_md5=", "x=", 1), body: plainBody},
		"badly escaped":       {query: good + "&x=%zz", body: plainBody},
		"malformed body":      {query: good, body: "{"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			w := s.send(httptest.NewRequest(http.MethodPost, "/apps/3/events?"+v.query, strings.NewReader(v.body)))
			want := http.StatusUnauthorized
			if v.accepted {
				want = http.StatusOK
			}
			if w.Code != want {
				t.Errorf("%d %s, want %d", w.Code, w.Body, want)
			}
			if published := s.node.published(t) != nil; published != v.accepted {
				t.Errorf("published: %v", published)
			}
			if v.accepted {
				return
			}
			if got := w.Header().Get("Content-Type"); got != "text/plain; charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
			if w.Body.Len() < 5 {
				t.Errorf("answer %q explains nothing", w.Body)
			}
		})
	}
}

// Checklist 102 and 103: what may differ between what is signed and what is sent.
func TestSpellings(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.join(t, "presence-a@b;c", "1.1", "10")
	sign := func(path, query string) string {
		r := pusher.Request{Method: "GET", Path: path, RawQuery: query}
		q, err := r.Sign(credential, vectorTime)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	signature := func(query string) string {
		return query[strings.Index(query, "auth_signature="):]
	}
	auth := "auth_version=1.0&auth_timestamp=1353088179&auth_key=" + credential.Key
	plain := sign("/apps/3/channels/presence-a@b;c", "info=user_count,subscription_count")
	const occupied = `{"occupied":true,"user_count":1,"subscription_count":1}`
	for name, v := range map[string]struct{ target, want string }{
		"as signed":         {"/apps/3/channels/presence-a@b;c?" + plain, occupied},
		"other order":       {"/apps/3/channels/presence-a@b;c?" + signature(plain) + "&info=user_count,subscription_count&" + auth, occupied},
		"escaped value":     {"/apps/3/channels/presence-a@b;c?info=user_count%2Csubscription_count&" + auth + "&" + signature(plain), occupied},
		"mixed-case keys":   {"/apps/3/channels/presence-a@b;c?info=user_count,subscription_count&" + strings.Replace(auth, "auth_key", "Auth_Key", 1) + "&" + signature(plain), occupied},
		"escaped path":      {"/apps/3/channels/presence-a%40b%3bc?" + plain, occupied},
		"escaped user path": {"/apps/3/channels/presence-a%40b%3Bc/users?" + sign("/apps/3/channels/presence-a@b;c/users", ""), `{"users":[{"id":"10"}]}`},
		"escaped app":       {"/apps/%33/channels/presence-a@b;c?" + plain, occupied},
		"PHP array": {
			"/apps/3/channels/presence-a@b;c?info%5B0%5D=user_count&info%5B1%5D=subscription_count&" + auth + "&" + signature(plain), occupied,
		},
		"Ruby array": {
			"/apps/3/channels/presence-a@b;c?" + sign("/apps/3/channels/presence-a@b;c", "info%5B%5D=user_count&info%5B%5D=subscription_count"), occupied,
		},
		"prefix with a semicolon": {
			"/apps/3/channels?" + sign("/apps/3/channels", "filter_by_prefix=presence-a@b;"), `{"channels":{"presence-a@b;c":{}}}`,
		},
		"user's own channel": {
			"/apps/3/channels/%23server-to-user-1?" + sign("/apps/3/channels/%23server-to-user-1", ""), `{"occupied":false}`,
		},
		"dots": {
			"/apps/3/channels/%2e%2e?" + sign("/apps/3/channels/%2e%2e", ""), `{"occupied":false}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := s.send(httptest.NewRequest(http.MethodGet, v.target, nil))
			if w.Code != http.StatusOK || w.Body.String() != v.want {
				t.Errorf("%s: %d %s, want 200 %s", v.target, w.Code, w.Body, v.want)
			}
		})
	}
}

func TestPathPrefix(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *Config, _ *broker.App) { c.PathPrefix = "/some/where" })
	if status, body := s.do(t, "GET", "/apps/3/channels", "", ""); status != 200 {
		t.Errorf("path signed as sent: %d %s", status, body)
	}
	inner := pusher.Request{Method: "GET", Path: "/apps/3/channels"}
	q, err := inner.Sign(credential, vectorTime)
	if err != nil {
		t.Fatal(err)
	}
	if w := s.send(httptest.NewRequest(http.MethodGet, "/some/where/apps/3/channels?"+q, nil)); w.Code != 200 {
		t.Errorf("path signed without the prefix: %d %s", w.Code, w.Body)
	}
	if w := s.send(httptest.NewRequest(http.MethodGet, "/apps/3/channels?"+q, nil)); w.Code != 404 {
		t.Errorf("path without the prefix: %d %s", w.Code, w.Body)
	}
}

// Checklist 104.
func TestUnknownIs404AndTellsNothing(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		method, path string
		want         int
	}{
		"unknown app":            {"GET", "/apps/4/channels", 404},
		"empty app":              {"GET", "/apps//channels", 307},
		"publish to unknown app": {"POST", "/apps/4/events", 404},
		"root":                   {"GET", "/", 404},
		"unknown path":           {"GET", "/apps/3/secrets", 404},
		"trailing slash":         {"POST", "/apps/3/events/", 404},
		"below a path":           {"GET", "/apps/3/channels/a/b", 404},
		"terminate unsigned":     {"POST", "/apps/3/users/1/terminate_connections", 401},
		"terminate without app":  {"POST", "/users/1/terminate_connections", 401},
		"terminate, unknown key": {"POST", "/users/1/terminate_connections?auth_key=nobody", 401},
		"terminate by GET":       {"GET", "/users/1/terminate_connections", 405},
		"no user":                {"POST", "/apps/3/users//terminate_connections", 307},
		"a user":                 {"GET", "/apps/3/users/1", 404},
		"users without app":      {"GET", "/users/1", 404},
		"wrong method":           {"PUT", "/apps/3/events", 405},
		"publishing by GET":      {"GET", "/apps/3/events", 405},
		"unsigned question":      {"GET", "/apps/3/channels", 401},
		"unsigned channel":       {"GET", "/apps/3/channels/presence-secret", 401},
		"unsigned bad channel":   {"GET", "/apps/3/channels/not%20valid", 401},
		"unsigned users":         {"GET", "/apps/3/channels/presence-secret/users", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			s.join(t, "presence-secret", "1.1", "somebody")
			w := s.send(httptest.NewRequest(v.method, v.path, nil))
			if w.Code != v.want {
				t.Errorf("%d %s, want %d", w.Code, w.Body, v.want)
			}
			if strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "somebody") {
				if !strings.Contains(w.Body.String(), "you should have sent") {
					t.Errorf("answer %q tells of the channel", w.Body)
				}
			}
			if v.want == 405 && w.Header().Get("Allow") != "POST" {
				t.Errorf("Allow %q", w.Header().Get("Allow"))
			}
		})
	}
}

func TestDisabledAppIs403OnlyToItsOwner(t *testing.T) {
	t.Parallel()
	s := open(t, func(_ *Config, app *broker.App) { app.Disabled = true })
	for path, method := range map[string]string{"/apps/3/events": "POST", "/apps/3/channels": "GET"} {
		if status, body := s.do(t, method, path, "", ""); status != http.StatusForbidden || body != "Application disabled" {
			t.Errorf("%s: %d %s, want 403", path, status, body)
		}
		if w := s.send(httptest.NewRequest(method, path, nil)); w.Code != http.StatusUnauthorized {
			t.Errorf("%s, unsigned: %d %s, want 401", path, w.Code, w.Body)
		}
	}
}

func TestAnyCredentialSigns(t *testing.T) {
	t.Parallel()
	s := open(t, func(_ *Config, app *broker.App) {
		app.Credentials = []broker.Credential{{Key: "old", Secret: "older"}, credential}
	})
	if status, body := s.do(t, "POST", "/apps/3/events", "", plainBody); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestNewReportsEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := New(Config{MaxBodyBytes: -1, PublishTimeout: -2, PathPrefix: "x/"})
	if err == nil {
		t.Fatal("accepted")
	}
	want := []string{
		"rest: apps: required",
		"node: required",
		"presence: required",
		"max body bytes: -1 is negative",
		"publish timeout: -2ns is negative; -1 means none",
		`path prefix: "x/" must begin with a slash, not end with one, and hold no '{', '}', '%' or ' '`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.do(t, "POST", "/apps/3/events", "", plainBody)
	s.do(t, "POST", "/apps/3/events", "", "{")
	s.do(t, "GET", "/apps/3/channels/x", "", "")
	s.send(httptest.NewRequest(http.MethodGet, "/wp-login.php", nil))
	s.send(httptest.NewRequest(http.MethodPatch, "/apps/3/events", nil))
	want := `
# HELP playhead_http_requests_total Requests to the HTTP API, by endpoint and status (499: the caller left before the answer).
# TYPE playhead_http_requests_total counter
playhead_http_requests_total{endpoint="channel",status="200"} 1
playhead_http_requests_total{endpoint="events",status="200"} 1
playhead_http_requests_total{endpoint="events",status="400"} 1
playhead_http_requests_total{endpoint="events",status="405"} 1
playhead_http_requests_total{endpoint="unknown",status="404"} 1
# HELP playhead_http_requests_in_flight Requests to the HTTP API that have no answer yet.
# TYPE playhead_http_requests_in_flight gauge
playhead_http_requests_in_flight 0
# HELP playhead_http_body_bytes_total Bytes of request bodies read by the HTTP API.
# TYPE playhead_http_body_bytes_total counter
playhead_http_body_bytes_total 51
`
	if err := testutil.GatherAndCompare(s.registry, strings.NewReader(want),
		"playhead_http_requests_total", "playhead_http_requests_in_flight", "playhead_http_body_bytes_total"); err != nil {
		t.Error(err)
	}
}
