package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed assets
var assets embed.FS

// kinds are the content types of assets, which must not depend on what the machine knows.
var kinds = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// asset is a file of the page.
type asset struct {
	kind string
	tag  string // of this content, for browsers that have it already
	text []byte
}

// readAssets returns the files of the page by their names.
func readAssets() (map[string]*asset, error) {
	files, err := fs.ReadDir(assets, "assets")
	if err != nil {
		return nil, fmt.Errorf("list assets: %w", err)
	}
	all := make(map[string]*asset, len(files))
	for _, f := range files {
		text, err := assets.ReadFile("assets/" + f.Name())
		if err != nil {
			return nil, fmt.Errorf("read asset %s: %w", f.Name(), err)
		}
		kind, ok := kinds[path.Ext(f.Name())]
		if !ok {
			return nil, fmt.Errorf("asset %s: no content type", f.Name())
		}
		sum := sha256.Sum256(text)
		all[f.Name()] = &asset{kind: kind, tag: `"` + hex.EncodeToString(sum[:12]) + `"`, text: text}
	}
	return all, nil
}

// ServeHTTP serves the file. Browsers ask each time whether it has changed, so that a page and a
// server of different versions never meet.
func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", a.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.text))
}
