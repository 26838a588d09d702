package pusher

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/playhead/playhead/broker"
)

// Request is what of an HTTP API request is signed.
type Request struct {
	Method   string
	Path     string // as on the wire: escaped, with the mount
	Mount    string // the prefix of Path under which the API is mounted, for example "/pusher"; usually empty
	RawQuery string // as on the wire: escaped, without "?"
	Body     []byte
}

// authWindow is how far a request's clock may be from ours, either way.
const authWindow = 600 * time.Second

// param is one parameter of a query: the key unescaped and in lower case, the value unescaped.
type param struct {
	key, value string
	index      int // of an element of a PHP array, see joined
}

// Verify checks that the request was signed with one of the app's credentials, that its clock is
// within ten minutes of now, and that the body is the one that was signed. Do it before looking
// into the body. Error: [ErrRequest], to be answered with status 401.
func (r *Request) Verify(app *broker.App, now time.Time) error {
	var few [12]param
	all, err := parseQuery(few[:0], r.RawQuery)
	if err != nil {
		return err
	}
	var key, version, timestamp, bodyMD5, signature given
	params := all[:0]
	for i := range all {
		p := all[i]
		switch p.key {
		case "auth_key":
			key.take(p.value)
		case "auth_version":
			version.take(p.value)
		case "auth_timestamp":
			timestamp.take(p.value)
		case "body_md5":
			bodyMD5.take(p.value)
		case "auth_signature":
			signature.take(p.value)
			continue
		}
		params = append(params, p)
	}
	if !key.ok {
		return faultf(ErrRequest, "Missing parameter: auth_key")
	}
	secret, ok := app.Secret(key.value)
	if !ok {
		return faultf(ErrRequest, "Unknown auth_key")
	}
	if !version.ok {
		return faultf(ErrRequest, "Version required")
	}
	if version.value != "1.0" {
		return faultf(ErrRequest, "Version not supported")
	}
	if err := checkTimestamp(timestamp, now); err != nil {
		return err
	}
	if err := checkBody(bodyMD5, r.Body); err != nil {
		return err
	}
	if !signature.ok {
		return faultf(ErrRequest, "Missing parameter: auth_signature")
	}
	return r.verifySignature(secret, params, signature.value)
}

// given is a parameter's value, if it was given.
type given struct {
	value string
	ok    bool
}

// take keeps the first value of a parameter that came more than once; all are signed.
func (g *given) take(value string) {
	if !g.ok {
		g.value, g.ok = value, true
	}
}

func checkTimestamp(timestamp given, now time.Time) error {
	if !timestamp.ok {
		return faultf(ErrRequest, "Timestamp required")
	}
	at, err := strconv.ParseInt(timestamp.value, 10, 64)
	if err != nil {
		return faultf(ErrRequest, "Timestamp invalid: auth_timestamp must be Unix time in seconds")
	}
	const window = int64(authWindow / time.Second)
	if at <= now.Unix()-window || at >= now.Unix()+window {
		return faultf(ErrRequest, "Timestamp expired: Given timestamp (%s) not within %ds of server time (%s)",
			time.Unix(at, 0).UTC().Format(time.RFC3339), window, now.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkBody compares the body with its digest. An empty body needs none, but one that came counts:
// some libraries sign that of the empty body.
func checkBody(bodyMD5 given, body []byte) error {
	if !bodyMD5.ok {
		if len(body) > 0 {
			return faultf(ErrRequest, "Missing parameter: body_md5")
		}
		return nil
	}
	var hexed [2 * md5.Size]byte
	sum := md5.Sum(body)
	hex.Encode(hexed[:], sum[:])
	if bodyMD5.value != string(hexed[:]) {
		return faultf(ErrRequest, "Invalid body_md5: the body's is %s, but you sent %q", string(hexed[:]), clip(bodyMD5.value, quoted))
	}
	return nil
}

// verifySignature tries what libraries sign for one and the same request: the path unescaped, as
// it came, or without the mount; PHP's arrays element by element or joined. Nearly always the
// first attempt is right.
func (r *Request) verifySignature(secret string, params []param, signature string) error {
	sortParams(params)
	paths := r.paths()
	var room [512]byte
	wanted := "" // the text of the first attempt, to show
	for attempt := range 2 {
		if attempt == 1 {
			var arrays bool
			if params, arrays = joined(params); !arrays {
				break
			}
		}
		for _, path := range paths {
			if path == "" {
				continue
			}
			signed := r.appendSigned(room[:0], path, params)
			if right(signature, secret, signed) {
				return nil
			}
			if wanted == "" {
				wanted = clip(string(signed), explained)
			}
		}
	}
	return faultf(ErrRequest, "Invalid signature: you should have sent HmacSHA256Hex(%q, your_secret_key), but you sent %q",
		wanted, clip(signature, quoted))
}

// paths returns the spellings of the path that may have been signed, the likeliest first, without
// repetition.
func (r *Request) paths() [4]string {
	var paths [4]string
	n := 0
	add := func(path string) {
		if path != "" && !slices.Contains(paths[:n], path) {
			paths[n] = path
			n++
		}
	}
	for i := range 2 {
		path := r.Path
		if i == 1 {
			rest, ok := strings.CutPrefix(path, r.Mount)
			if !ok || !strings.HasPrefix(rest, "/") {
				break
			}
			path = rest
		}
		if plain, err := url.PathUnescape(path); err == nil {
			add(plain)
		}
		add(path)
	}
	return paths
}

// appendSigned adds the text that is signed.
func (r *Request) appendSigned(b []byte, path string, params []param) []byte {
	b = append(b, strings.ToUpper(r.Method)...)
	b = append(b, '\n')
	b = append(b, path...)
	for i, p := range params {
		if i == 0 {
			b = append(b, '\n')
		} else {
			b = append(b, '&')
		}
		b = append(b, p.key...)
		b = append(b, '=')
		b = append(b, p.value...)
	}
	return b
}

// Sign returns the query to send the request with: its own, and the parameters that authenticate
// it at the given time. It signs the unescaped path. An error means that Path or RawQuery is badly
// escaped or that the query has such parameters already.
func (r *Request) Sign(c broker.Credential, now time.Time) (string, error) {
	params, err := parseQuery(nil, r.RawQuery)
	if err != nil {
		return "", fmt.Errorf("sign %s %s: %w", r.Method, r.Path, err)
	}
	path, err := url.PathUnescape(r.Path)
	if err != nil {
		return "", fmt.Errorf("sign %s %s: %w", r.Method, r.Path, err)
	}
	auth := []param{
		{key: "auth_key", value: c.Key},
		{key: "auth_timestamp", value: strconv.FormatInt(now.Unix(), 10)},
		{key: "auth_version", value: "1.0"},
	}
	if len(r.Body) > 0 {
		sum := md5.Sum(r.Body)
		auth = append(auth, param{key: "body_md5", value: hex.EncodeToString(sum[:])})
	}
	for _, p := range params {
		switch p.key {
		case "auth_key", "auth_timestamp", "auth_version", "auth_signature", "body_md5":
			return "", fmt.Errorf("sign %s %s: the query has %s already", r.Method, r.Path, p.key)
		}
	}
	params = append(params, auth...)
	sortParams(params)
	signature := sign(nil, c.Secret, r.appendSigned(nil, path, params))
	query := strings.Builder{}
	if r.RawQuery != "" {
		query.WriteString(r.RawQuery)
		query.WriteByte('&')
	}
	for _, p := range auth {
		query.WriteString(p.key + "=" + url.QueryEscape(p.value) + "&")
	}
	query.WriteString("auth_signature=")
	query.Write(signature)
	return query.String(), nil
}

// parseQuery appends the parameters of a query in the order they came. It takes no notice of
// semicolons: Pusher's libraries separate by ampersand only, and names may hold semicolons.
func parseQuery(params []param, query string) ([]param, error) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(key)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if err != nil {
			return nil, faultf(ErrRequest, "Invalid query string: %s is badly escaped", clip(pair, quoted))
		}
		params = append(params, param{key: strings.ToLower(key), value: value})
	}
	return params, nil
}

// sortParams sorts by key; what has the same key, as in Ruby's name[]=a&name[]=b, keeps its order.
func sortParams(params []param) {
	slices.SortStableFunc(params, func(a, b param) int { return cmp.Compare(a.key, b.key) })
}

// joined returns sorted params with PHP's arrays as PHP's library signs them, info[0]=a&info[1]=b
// as info=a,b, and whether there are any.
func joined(params []param) ([]param, bool) {
	var elements, others []param
	for _, p := range params {
		if name, i, ok := element(p.key); ok {
			elements = append(elements, param{key: name, value: p.value, index: i})
		} else {
			others = append(others, p)
		}
	}
	if elements == nil {
		return params, false
	}
	slices.SortStableFunc(elements, func(a, b param) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.index, b.index))
	})
	for len(elements) > 0 {
		key := elements[0].key
		n := 1
		for n < len(elements) && elements[n].key == key {
			n++
		}
		values := make([]string, n)
		for i, e := range elements[:n] {
			values[i] = e.value
		}
		others = append(others, param{key: key, value: strings.Join(values, ",")})
		elements = elements[n:]
	}
	sortParams(others)
	return others, true
}

// element takes info[7] apart.
func element(key string) (name string, index int, ok bool) {
	name, rest, ok := strings.Cut(key, "[")
	if !ok || !strings.HasSuffix(rest, "]") {
		return "", 0, false
	}
	index, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
	return name, index, err == nil && index >= 0
}
