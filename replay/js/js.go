// Package js is the browsers' side of replay: one module that adds it to pusher-js, served by the node
// that it talks to.
package js

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	//go:embed replay.js
	module string
	//go:embed replay.d.ts
	declarations string
)

// Handler serves the module at /replay.js, the same as a classic script that defines PlayheadReplay at
// /replay.classic.js, and the module's types at /replay.d.ts; whatever else is asked for is not found.
// Pages of every origin may load them. They are compressed for whoever takes that, and kept by browsers,
// which ask each time whether they are still the same. It is safe for concurrent use.
func Handler() http.Handler {
	const script = "text/javascript; charset=utf-8"
	mux := http.NewServeMux()
	mux.Handle("GET /replay.js", newFile(script, module))
	mux.Handle("GET /replay.classic.js", newFile(script, classic(module)))
	mux.Handle("GET /replay.d.ts", newFile("application/typescript; charset=utf-8", declarations))
	return mux
}

// classic makes a script of a module: what that exports is in one global.
func classic(module string) string {
	return "var PlayheadReplay = (() => {\n" +
		strings.Replace(module, "export function", "function", 1) +
		"return { withReplay };\n})();\n"
}

// file is what is served at one path.
type file struct {
	contentType   string
	plain, zipped []byte
	etag          string // without quotes
}

func newFile(contentType, text string) *file {
	var zipped bytes.Buffer
	// A buffer takes everything, and the level is one that there is.
	w, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	sum := sha256.Sum256([]byte(text))
	return &file{contentType: contentType, plain: []byte(text), zipped: zipped.Bytes(), etag: hex.EncodeToString(sum[:8])}
}

// ServeHTTP implements [http.Handler].
func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Vary", "Accept-Encoding")
	body := f.plain
	tag := f.etag
	if takesGzip(r.Header.Values("Accept-Encoding")) {
		body = f.zipped
		tag += "-gzip" // other bytes, so another tag
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// takesGzip reads the values of Accept-Encoding.
func takesGzip(values []string) bool {
	for _, coding := range strings.Split(strings.Join(values, ","), ",") {
		name, weight, weighted := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		if !weighted {
			return true
		}
		_, q, _ := strings.Cut(weight, "=")
		n, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
		return err == nil && n > 0
	}
	return false
}
