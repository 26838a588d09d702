package pusher

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/playhead/playhead/broker"
)

func TestGoldenSignIn(t *testing.T) {
	t.Parallel()
	f := decoded(t, golden(t, "client", "signin"))
	got, err := f.SignIn()
	if string(f.Event) != EventSignIn || err != nil {
		t.Fatalf("%s, %v", f.Event, err)
	}
	want := SignIn{Auth: "KEY:HEX", UserData: `{"id":"12345","user_info":{"name":"Ada"},"watchlist":["67890"]}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if answer := string(AppendSignInSuccess(nil, got.UserData)); answer != golden(t, "server", "signin_success") {
		t.Errorf("answered with %s", answer)
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	const authFormat = "Invalid format: auth must have the format key:signature"
	for _, c := range []struct {
		data string
		want SignIn
		is   error
		text string
	}{
		{data: `{"auth":"a:b","user_data":"{}","x":1}`, want: SignIn{Auth: "a:b", UserData: "{}"}},
		{data: `"{\"auth\":\"a:b\",\"user_data\":\"\\u00e9\"}"`, want: SignIn{Auth: "a:b", UserData: "é"}},
		{data: `{"user_data":"x"}`, want: SignIn{UserData: "x"}}, // VerifyUser refuses it
		{data: `{"auth":null,"user_data":""}`, want: SignIn{}},
		{data: `[]`, is: ErrFrame, text: "Invalid parameter: data must be an object"},
		{data: `5`, is: ErrFrame, text: "Invalid parameter: data must be an object"},
		{data: `null`, is: ErrUserData, text: "Missing parameter: data.user_data"},
		{data: `{"auth":"a:b"}`, is: ErrUserData, text: "Missing parameter: data.user_data"},
		{data: `{"auth":"a:b","user_data":null}`, is: ErrUserData, text: "Missing parameter: data.user_data"},
		{data: `{"auth":"a:b","user_data":{"id":"1"}}`, is: ErrUserData, text: "Invalid parameter: data.user_data must be a string of JSON"},
		{data: `{"auth":["a:b"],"user_data":"{}"}`, is: ErrAuth, text: authFormat},
	} {
		got, err := decoded(t, `{"event":"pusher:signin","data":`+c.data+`}`).SignIn()
		checkFault(t, c.data, err, c.is, c.text)
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.data, got, c.want)
		}
	}
}

func TestUserSignatureVectors(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ data, hex string }{
		{`{"id":"12345"}`, "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"},
		{`{"id":"12345","user_info":{"name":"Ada"},"watchlist":["67890","24680"]}`, "8668fea0bcff4687cb6fc2492d7765ca3ceffb2de4d0ac227d20dc9474de5a2c"},
	} {
		auth := vectorKey + ":" + v.hex
		if got := SignUser(broker.Credential{Key: vectorKey, Secret: vectorSecret}, "1234.1234", v.data); got != auth {
			t.Errorf("%s signed as %s, want %s", v.data, got, auth)
		}
		if err := VerifyUser(vectorApp(), auth, "1234.1234", v.data); err != nil {
			t.Errorf("%s: %v", v.data, err)
		}
	}
	app := vectorApp()
	for _, c := range app.Credentials {
		if err := VerifyUser(app, SignUser(c, "1.2", "x"), "1.2", "x"); err != nil {
			t.Errorf("%s: %v", c.Key, err)
		}
	}
}

func TestVerifyUserRefuses(t *testing.T) {
	t.Parallel()
	const good = "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"
	const data = `{"id":"12345"}`
	const expected = "Invalid signature: Expected HMAC SHA256 hex digest of "
	for _, c := range []struct {
		auth, socket, data, text string
	}{
		{"", "1234.1234", data, "Missing parameter: data.auth"},
		{good, "1234.1234", data, "Invalid format: auth must have the format key:signature"},
		{"nokey:" + good, "1234.1234", data, "Invalid key in sign-in auth data: 'nokey'"},
		{"older:" + good, "1234.1234", data, expected + "1234.1234::user::" + data + ", but got " + good},
		{vectorKey + ":" + good, "1234.1235", data, expected + "1234.1235::user::" + data + ", but got " + good},
		{vectorKey + ":" + good, "1234.1234", `{"id": "12345"}`, expected + `1234.1234::user::{"id": "12345"}, but got ` + good},
		{vectorKey + ":" + strings.ToUpper(good), "1234.1234", data, expected + "1234.1234::user::" + data + ", but got " + strings.ToUpper(good)},
		{vectorKey + "::user::" + good, "1234.1234", data, expected + "1234.1234::user::" + data + ", but got :user::" + good},
	} {
		checkFault(t, c.auth, VerifyUser(vectorApp(), c.auth, broker.SocketID(c.socket), c.data), ErrAuth, c.text)
	}
}

// ids makes a JSON array of n different ids.
func ids(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%d"`, i)
	}
	return "[" + strings.TrimPrefix(b.String(), ",") + "]"
}

func TestReadUser(t *testing.T) {
	t.Parallel()
	var hundred []string
	for i := range 100 {
		hundred = append(hundred, fmt.Sprint(i))
	}
	for in, want := range map[string]User{
		`{"id":"12345"}`: {ID: "12345"},
		`{"id":"12345","user_info":{"name":"Ada"},"watchlist":["67890","24680"]}`: {
			ID: "12345", Info: json.RawMessage(`{"name":"Ada"}`), Watchlist: []string{"67890", "24680"},
		},
		`{"id":"a_-=@,.;Z","user_info":null,"watchlist":null,"x":{}}`: {ID: "a_-=@,.;Z"},
		`{"id":"\u0031","user_info":[ 1 , true ]}`:                    {ID: "1", Info: json.RawMessage(`[ 1 , true ]`)},
		`{"id":"1","watchlist":[]}`:                                   {ID: "1"},
		`{"id":"1","watchlist":["\u00e9 x","","a","a"]}`:              {ID: "1", Watchlist: []string{"é x", "", "a", "a"}},
		`{"id":"1","watchlist":` + ids(100) + `}`:                     {ID: "1", Watchlist: hundred},
		`{"id":"1","watchlist":` + ids(101) + `}`:                     {ID: "1", Watchlist: hundred, WatchlistCut: true},
		`{"id":"` + strings.Repeat("x", 200) + `"}`:                   {ID: strings.Repeat("x", 200)},
	} {
		got, err := ReadUser(in, broker.Limits{})
		if err != nil {
			t.Errorf("%.80s: %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.80s (-want +got):\n%s", in, diff)
		}
	}
}

func TestReadUserRefuses(t *testing.T) {
	t.Parallel()
	const notJSON = "Invalid user_data: it must be a JSON object"
	const lacks = "Invalid user_data: it lacks id"
	const wrong = "Invalid user_data: id must be a string that is not empty"
	const list = "Invalid user_data: watchlist must be an array of strings"
	for in, text := range map[string]string{
		"":                                  notJSON,
		"nonsense":                          notJSON,
		"null":                              notJSON,
		"[]":                                notJSON,
		`"1"`:                               notJSON,
		`{"id":"1"`:                         notJSON,
		"{\"id\":\"\xff\"}":                 "Invalid user_data: it is not valid UTF-8",
		`{}`:                                lacks,
		`{"user_id":"1"}`:                   lacks,
		`{"id":null}`:                       lacks,
		`{"id":""}`:                         wrong,
		`{"id":1}`:                          wrong,
		`{"id":["1"]}`:                      wrong,
		`{"id":{}}`:                         wrong,
		`{"id":true}`:                       wrong,
		`{"id":"a b"}`:                      "Invalid user id 'a b': character ' ' is not allowed",
		`{"id":"a/b"}`:                      "Invalid user id 'a/b': character '/' is not allowed",
		`{"id":"ü"}`:                        "Invalid user id 'ü': character 'ü' is not allowed",
		`{"id":"1","watchlist":"2"}`:        list,
		`{"id":"1","watchlist":{}}`:         list,
		`{"id":"1","watchlist":[2]}`:        list,
		`{"id":"1","watchlist":["2",null]}`: list,
		`{"id":"1","watchlist":[["2"]]}`:    list,
		`{"id":"` + strings.Repeat("x", 201) + `"}`:                        "User id too long: 201 characters, at most 200 are allowed",
		`{"id":"1","watchlist":` + strings.TrimSuffix(ids(101), "]") + `}`: notJSON,
	} {
		u, err := ReadUser(in, broker.Limits{})
		checkFault(t, in, err, ErrUserData, text)
		if diff := cmp.Diff(User{}, u); diff != "" {
			t.Errorf("%s: %+v beside an error", in, u)
		}
	}
}

// Whoever can sign in has a channel of its own that can be subscribed and published to.
func TestEveryUserHasAChannel(t *testing.T) {
	t.Parallel()
	limits := broker.Limits{ChannelNameChars: 10}
	for _, id := range []string{"", "a", "a_-=@,.;Z", "0123456789", "01234567890", "a b", "a#b", "é", "a:b", "#"} {
		signIn, channel := CheckUserID(id, limits), CheckChannel(broker.Channel(serverToUser+id), limits)
		if (signIn == nil) != (channel == nil) {
			t.Errorf("%q: sign-in %v, channel %v", id, signIn, channel)
		}
	}
}

func TestUserAsMember(t *testing.T) {
	t.Parallel()
	limits := broker.Limits{PresenceUserIDChars: 3, PresenceUserInfoBytes: 4}
	m, err := User{ID: "abc", Info: []byte(`"ab"`), Watchlist: []string{"x"}}.Member(limits)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(broker.Member{UserID: "abc", Info: []byte(`"ab"`)}, m); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = User{ID: "abcd"}.Member(limits)
	checkFault(t, "id", err, ErrMemberSize, "user_id too long: 4 characters, at most 3 are allowed")
	_, err = User{ID: "abc", Info: []byte(`"abc"`)}.Member(limits)
	checkFault(t, "info", err, ErrMemberSize, "user_info too large: 5 bytes, at most 4 are allowed")
}

func TestOddTextSurvivesSignIn(t *testing.T) {
	t.Parallel()
	const odd = "a\"b\\c\nd\x01e</script>ü\u2028😀"
	var success struct {
		UserData string `json:"user_data"`
	}
	f := twice(t, AppendSignInSuccess(nil, odd), &success)
	if success.UserData != odd || f["event"] != "pusher:signin_success" || len(f) != 2 {
		t.Errorf("%+v in %v", success, f)
	}
	n := &broker.Notice{Kind: broker.WatchedUsers, Online: []string{odd, ""}, Offline: []string{"x"}}
	var watched struct {
		Events []struct {
			Name    string
			UserIDs []string `json:"user_ids"`
		}
	}
	f = twice(t, AppendDelivery(nil, &broker.Delivery{Notice: n}, broker.Positioned), &watched)
	if len(f) != 2 || len(watched.Events) != 2 {
		t.Fatalf("%+v in %v", watched, f)
	}
	if diff := cmp.Diff([]string{odd, ""}, watched.Events[0].UserIDs); diff != "" || watched.Events[1].Name != "offline" {
		t.Errorf("%+v\n%s", watched, diff)
	}
}

func TestSignInAnswersStaySmall(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 50_000)
	_, err := ReadUser(`{"id":"`+long+`"}`, broker.Limits{})
	for _, s := range []string{err.Error(), AlreadySignedIn(long), NotSignedIn(broker.Channel(long)), VerifyUser(vectorApp(), vectorKey+":"+long, "1.2", long).Error()} {
		if len(s) > 3000 {
			t.Errorf("an answer of %d bytes: %.80s…", len(s), s)
		}
	}
}

// FuzzUserData checks that an accepted user has a channel, comes out of the success frame as it went
// in, and that its signature is good for nothing else.
func FuzzUserData(f *testing.F) {
	for _, s := range []string{
		`{"id":"12345","user_info":{"name":"Ada"},"watchlist":["67890","24680"]}`,
		`{"id":"1","watchlist":` + ids(101) + `}`, `{"id":"\ud800","watchlist":[null]}`, `{"id":1}`, "nonsense",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		app := vectorApp()
		auth := SignUser(app.Credentials[0], "1.2", data)
		if err := VerifyUser(app, auth, "1.2", data); err != nil {
			t.Fatal(err)
		}
		if err := VerifyUser(app, auth, "1.2", data+" "); !errors.Is(err, ErrAuth) {
			t.Fatalf("%q: good for other data: %v", data, err)
		}
		u, err := ReadUser(data, broker.Limits{})
		if err != nil {
			if !errors.Is(err, ErrUserData) {
				t.Fatal(err)
			}
			return
		}
		if err := CheckChannel(broker.Channel(serverToUser+u.ID), broker.Limits{}); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if len(u.Watchlist) > 100 || u.WatchlistCut && len(u.Watchlist) < 100 || u.Info != nil && !json.Valid(u.Info) {
			t.Fatalf("%q: %+v", data, u)
		}
		for _, id := range u.Watchlist {
			if !utf8.ValidString(id) {
				t.Fatalf("%q: watches %q", data, id)
			}
		}
		var success struct {
			UserData string `json:"user_data"`
		}
		twice(t, AppendSignInSuccess(nil, data), &success)
		if success.UserData != data {
			t.Fatalf("%q answered with %q", data, success.UserData)
		}
	})
}
