package pusher

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
)

const (
	bodyB1 = `{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}`
	bodyB2 = `{"name":"hi","channels":["#server-to-user-12345"],"data":"{\"n\":1}"}`
	bodyB3 = `{"batch":[{"channel":"project-3","name":"foo","data":"{\"some\":\"data\"}"},{"channel":"presence-room","name":"bar","data":"hello","socket_id":"1234.1234","info":"user_count"}]}`

	vectorQuery = "auth_key=" + vectorKey + "&auth_timestamp=1353088179&auth_version=1.0"
)

var vectorTime = time.Unix(1353088179, 0)

var requestVectors = []struct {
	name, method, path, query, body, signature string
}{
	{"POST events B1", "POST", "/apps/3/events", "&body_md5=ec365a775a4cd0599faeb73354201b6f", bodyB1, "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"},
	{"POST events B2", "POST", "/apps/3/events", "&body_md5=248f96d76ed2dc047eafc16d8cd1abfe", bodyB2, "a3ff6b91298ffeba1513c70e10c3368731ca14bf99b197b3a0264cea4a789a77"},
	{"POST batch B3", "POST", "/apps/3/batch_events", "&body_md5=5c47088fcd8b12a66644ef28834a69e0", bodyB3, "c233ab65206d122d0890fcf54b19c5d2d5880c6525a2e02db0adcafa21e356d9"},
	{"GET channels", "GET", "/apps/3/channels", "", "", "1cafa6382331c976588eb6bd3925a988e4158402be06c4626d0e97d2981f5382"},
	{"GET channels filtered", "GET", "/apps/3/channels", "&filter_by_prefix=presence-&info=user_count", "", "16819168891cb5dfd72b5c7a5d3d602605b26c6ba1930033b5e2eeeb65010291"},
	{"GET channel raw comma", "GET", "/apps/3/channels/presence-foobar", "&info=user_count,subscription_count", "", "377ee9260ea002a70c0d40cd887d55cb36db9f7f821297f5efacbcce66be356d"},
	{"GET channel escaped comma", "GET", "/apps/3/channels/presence-foobar", "&info=user_count%2Csubscription_count", "", "377ee9260ea002a70c0d40cd887d55cb36db9f7f821297f5efacbcce66be356d"},
	{"GET channel PHP array", "GET", "/apps/3/channels/presence-foobar", "&info%5B0%5D=user_count&info%5B1%5D=subscription_count", "", "377ee9260ea002a70c0d40cd887d55cb36db9f7f821297f5efacbcce66be356d"},
	{"GET channel PHP array, other order", "GET", "/apps/3/channels/presence-foobar", "&info[1]=subscription_count&info[0]=user_count", "", "377ee9260ea002a70c0d40cd887d55cb36db9f7f821297f5efacbcce66be356d"},
	{"GET users", "GET", "/apps/3/channels/presence-foobar/users", "", "", "5567dd30e7f8575e66be615d2aac3f608a0c311c31ddab8513a278b022e9597e"},
	{"GET users Python", "GET", "/apps/3/channels/presence-foobar/users", "&body_md5=d41d8cd98f00b204e9800998ecf8427e", "", "3d68b512095fd42cb6741cc80616761b1c77d00fcc4d6d9740f09504a4b761b0"},
	{"POST terminate", "POST", "/apps/3/users/12345/terminate_connections", "&body_md5=99914b932bd37a50b983c5e7c90ae93b", "{}", "01fa634edeb0cae84115307cad5c23f65a46cd286461b1c89637a3b5871a8f0e"},
	{"POST terminate without body", "POST", "/apps/3/users/12345/terminate_connections", "", "", "0bd2da4cd2c60cbe4627bea865cb306fda26121f3665d934db3e0f3f542a91f8"},
	{"POST terminate escaped path", "POST", "/apps/3/users/user%7C1%20x/terminate_connections", "&body_md5=99914b932bd37a50b983c5e7c90ae93b", "{}", "359b500eb9107c2e0ee9f7c11a1427a9b70c7bdda362ab528fee5233a617a74d"},
	{"GET mixed-case key", "GET", "/apps/3/channels", "&Name=Something%20else", "", "e661e8bf75b3959cbeab2cee466c873b918e39bfd0980693aadf77d4da8ba77c"},
	{"GET plus for space", "GET", "/apps/3/channels", "&Name=Something+else", "", "e661e8bf75b3959cbeab2cee466c873b918e39bfd0980693aadf77d4da8ba77c"},
	{"lower-case method", "get", "/apps/3/channels", "", "", "1cafa6382331c976588eb6bd3925a988e4158402be06c4626d0e97d2981f5382"},
}

func TestRequestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range requestVectors {
		signed := vectorQuery + v.query
		for _, query := range []string{
			signed + "&auth_signature=" + v.signature,
			"auth_signature=" + v.signature + "&" + signed,                                              // .NET
			strings.TrimPrefix(v.query+"&", "&") + "auth_signature=" + v.signature + "&&" + vectorQuery, // any order
		} {
			r := Request{Method: v.method, Path: v.path, RawQuery: query, Body: []byte(v.body)}
			if err := r.Verify(vectorApp(), vectorTime); err != nil {
				t.Errorf("%s: %s: %v", v.name, query, err)
			}
		}
		r := Request{Method: v.method, Path: v.path, RawQuery: signed + "x&auth_signature=" + v.signature, Body: []byte(v.body)}
		if err := r.Verify(vectorApp(), vectorTime); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: verified with another query: %v", v.name, err)
		}
		r = Request{Method: v.method, Path: v.path + "x", RawQuery: signed + "&auth_signature=" + v.signature, Body: []byte(v.body)}
		if err := r.Verify(vectorApp(), vectorTime); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: verified with another path: %v", v.name, err)
		}
	}
}

// handSigned returns the query for the text a library signed, with the wire's own parameters.
func handSigned(method, path, signedParams, wireParams string) string {
	signed := method + "\n" + path + "\n" + signedParams
	return vectorQuery + wireParams + "&auth_signature=" + string(sign(nil, vectorSecret, []byte(signed)))
}

func TestWhatLibrariesSign(t *testing.T) {
	t.Parallel()
	const path = "/apps/3/channels/a%20b"
	for name, r := range map[string]Request{
		"Ruby's arrays in the order they came": {Path: path,
			RawQuery: handSigned("GET", "/apps/3/channels/a b", vectorQuery+"&name[]=b&name[]=a", "&name[]=b&name[]=a")},
		"the path as it was sent": {Path: path,
			RawQuery: handSigned("GET", path, vectorQuery, "")},
		"a path that can't be unescaped": {Path: "/apps/3/%zz",
			RawQuery: handSigned("GET", "/apps/3/%zz", vectorQuery, "")},
		"the path without its mount": {Path: "/pusher" + path, Mount: "/pusher",
			RawQuery: handSigned("GET", "/apps/3/channels/a b", vectorQuery, "")},
		"the path with its mount": {Path: "/pusher" + path, Mount: "/pusher",
			RawQuery: handSigned("GET", "/pusher/apps/3/channels/a b", vectorQuery, "")},
		"the path as sent without its mount, PHP's arrays": {Path: "/pusher" + path, Mount: "/pusher",
			RawQuery: handSigned("GET", path, vectorQuery+"&info=a,b,c", "&info[0]=a&info[1]=b&info[2]=c")},
		"more than nine elements": {Path: path,
			RawQuery: handSigned("GET", path, vectorQuery+"&i=0,1,2,3,4,5,6,7,8,9,10&ix=1",
				"&ix=1&i[0]=0&i[1]=1&i[2]=2&i[3]=3&i[4]=4&i[5]=5&i[6]=6&i[7]=7&i[8]=8&i[9]=9&i[10]=10")},
		"a parameter without a value": {Path: path,
			RawQuery: handSigned("GET", path, vectorQuery+"&flag=&semi;colon=1;2", "&flag&semi;colon=1;2")},
		"a plus in the path is a plus": {Path: "/apps/3/channels/a+b",
			RawQuery: handSigned("GET", "/apps/3/channels/a+b", vectorQuery, "")},
	} {
		r.Method = "GET"
		if err := r.Verify(vectorApp(), vectorTime); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := Request{Method: "GET", Path: "/pusherapps/3", Mount: "/pusher", RawQuery: handSigned("GET", "apps/3", vectorQuery, "")}
	if err := r.Verify(vectorApp(), vectorTime); !errors.Is(err, ErrRequest) {
		t.Errorf("a path without its slash: %v", err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	const good = "&auth_signature=1cafa6382331c976588eb6bd3925a988e4158402be06c4626d0e97d2981f5382"
	const bad = "1cafa6382331c976588eb6bd3925a988e4158402be06c4626d0e97d2981f5383"
	at := "auth_key=" + vectorKey + "&auth_version=1.0&auth_timestamp="
	for _, c := range []struct {
		name, query, body, text string
	}{
		{"nothing", "", "", "Missing parameter: auth_key"},
		{"unknown key", "auth_key=x", "", "Unknown auth_key"},
		{"no version", "auth_key=" + vectorKey, "", "Version required"},
		{"other version", "auth_key=" + vectorKey + "&auth_version=1", "", "Version not supported"},
		{"no timestamp", "auth_key=" + vectorKey + "&auth_version=1.0", "", "Timestamp required"},
		{"no number", at + "now", "", "Timestamp invalid: auth_timestamp must be Unix time in seconds"},
		{"out of range", at + "99999999999999999999", "", "Timestamp invalid: auth_timestamp must be Unix time in seconds"},
		{"old", at + "1353087579", "", "Timestamp expired: Given timestamp (2012-11-16T17:39:39Z) not within 600s of server time (2012-11-16T17:49:39Z)"},
		{"early", at + "1353088779", "", "Timestamp expired: Given timestamp (2012-11-16T17:59:39Z) not within 600s of server time (2012-11-16T17:49:39Z)"},
		{"body without digest", vectorQuery + good, "{}", "Missing parameter: body_md5"},
		{"other body", vectorQuery + "&body_md5=x" + good, "{}", `Invalid body_md5: the body's is 99914b932bd37a50b983c5e7c90ae93b, but you sent "x"`},
		{"digest of a body that is missing", vectorQuery + "&body_md5=99914b932bd37a50b983c5e7c90ae93b" + good, "", `Invalid body_md5: the body's is d41d8cd98f00b204e9800998ecf8427e, but you sent "99914b932bd37a50b983c5e7c90ae93b"`},
		{"no signature", vectorQuery, "", "Missing parameter: auth_signature"},
		{"wrong signature", vectorQuery + "&auth_signature=" + bad, "", `Invalid signature: you should have sent HmacSHA256Hex("GET\n/apps/3/channels\n` + vectorQuery + `", your_secret_key), but you sent "` + bad + `"`},
		{"bad escape", vectorQuery + "&x=%zz" + good, "", "Invalid query string: x=%zz is badly escaped"},
	} {
		r := Request{Method: "GET", Path: "/apps/3/channels", RawQuery: c.query, Body: []byte(c.body)}
		checkFault(t, c.name, r.Verify(vectorApp(), vectorTime), ErrRequest, c.text)
	}
	r := Request{Method: "GET", Path: "/" + strings.Repeat("x", 100_000), RawQuery: vectorQuery + "&auth_signature=" + strings.Repeat("x", 100_000)}
	if err := r.Verify(vectorApp(), vectorTime); len(err.Error()) > 4000 {
		t.Errorf("a complaint of %d bytes", len(err.Error()))
	}
}

func TestClocksMayDiffer(t *testing.T) {
	t.Parallel()
	r := Request{Method: "GET", Path: "/apps/3/channels", RawQuery: vectorQuery + "&auth_signature=1cafa6382331c976588eb6bd3925a988e4158402be06c4626d0e97d2981f5382"}
	for off, ok := range map[int]bool{-601: false, -600: false, -599: true, 0: true, 599: true, 600: false, 601: false} {
		if err := r.Verify(vectorApp(), vectorTime.Add(time.Duration(off)*time.Second)); (err == nil) != ok {
			t.Errorf("%d s off: %v", off, err)
		}
	}
	for _, at := range []int64{-1 << 63, 1<<63 - 1} {
		r := Request{Method: "GET", Path: "/", RawQuery: "auth_key=" + vectorKey + "&auth_version=1.0&auth_timestamp=" + strconv.FormatInt(at, 10)}
		if err := r.Verify(vectorApp(), vectorTime); !errors.Is(err, ErrRequest) || !strings.HasPrefix(err.Error(), "Timestamp expired") {
			t.Errorf("%d: %v", at, err)
		}
	}
}

func TestSignRequest(t *testing.T) {
	t.Parallel()
	app := vectorApp()
	r := Request{Method: "POST", Path: "/apps/3/events", Body: []byte(bodyB1)}
	query, err := r.Sign(app.Credentials[1], vectorTime)
	want := vectorQuery + "&body_md5=ec365a775a4cd0599faeb73354201b6f&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
	if err != nil || query != want {
		t.Errorf("%s, %v; want %s", query, err, want)
	}
	odd := broker.Credential{Key: "a&b =+ü", Secret: "s"}
	app.Credentials = append(app.Credentials, odd)
	r.RawQuery = "B=%26&a=1"
	if r.RawQuery, err = r.Sign(odd, vectorTime); err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(app, vectorTime); err != nil {
		t.Error(err)
	}
	for _, r := range []Request{{RawQuery: "%zz"}, {Path: "/%zz"}, {RawQuery: "Auth_Key=x"}, {RawQuery: "body_md5="}} {
		if query, err := r.Sign(odd, vectorTime); err == nil {
			t.Errorf("%+v signed: %s", r, query)
		}
	}
}

// FuzzVerifyRequest throws anything at Verify, and checks that what Sign signs is accepted and
// is no longer when the body changes.
func FuzzVerifyRequest(f *testing.F) {
	for _, v := range requestVectors {
		f.Add(v.method, v.path, "", strings.TrimPrefix(v.query, "&"), []byte(v.body))
		f.Add(v.method, v.path, "/apps", vectorQuery+v.query+"&auth_signature="+v.signature, []byte(v.body))
	}
	f.Add("", "", "", "a[0]=1&a[]=2&a[-1]=3&a[x=4&[0]=5&&=&%00=%ff", []byte(nil))
	f.Fuzz(func(t *testing.T, method, path, mount, query string, body []byte) {
		app := vectorApp()
		r := Request{Method: method, Path: path, Mount: mount, RawQuery: query, Body: body}
		if err := r.Verify(app, vectorTime); err != nil && !errors.Is(err, ErrRequest) {
			t.Fatal(err)
		}
		signed, err := r.Sign(app.Credentials[0], vectorTime)
		if err != nil || path == "" {
			return
		}
		if _, err := url.PathUnescape(path); err != nil {
			t.Fatalf("signed a path that is badly escaped: %q", path)
		}
		r.RawQuery = signed
		if err := r.Verify(app, vectorTime); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		r.Body = append([]byte("x"), body...)
		if err := r.Verify(app, vectorTime); err == nil {
			t.Fatalf("%+v: verified with another body", r)
		}
	})
}

func BenchmarkVerifyRequest(b *testing.B) {
	app := vectorApp()
	for _, v := range []int{0, 4, 13} {
		r := Request{Method: requestVectors[v].method, Path: requestVectors[v].path, Body: []byte(requestVectors[v].body),
			RawQuery: vectorQuery + requestVectors[v].query + "&auth_signature=" + requestVectors[v].signature}
		b.Run(strings.ReplaceAll(requestVectors[v].name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Verify(app, vectorTime); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerifyChannel(b *testing.B) {
	app := vectorApp()
	auth := SignChannel(app.Credentials[1], "1234.1234", "private-foobar", nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := VerifyChannel(app, auth, "1234.1234", "private-foobar", nil); err != nil {
			b.Fatal(err)
		}
	}
}

// A request that is as it should be is verified without memory of its own.
func TestVerifyDoesNotAllocate(t *testing.T) {
	app := vectorApp()
	for _, v := range requestVectors[:4] {
		r := Request{Method: v.method, Path: v.path, Body: []byte(v.body),
			RawQuery: vectorQuery + v.query + "&auth_signature=" + v.signature}
		if n := testing.AllocsPerRun(100, func() {
			if err := r.Verify(app, vectorTime); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", v.name, n)
		}
	}
}
