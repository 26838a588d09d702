package boot

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/apps"
)

// health answers probes: /ready while the node serves and its medium carries events, /up likewise but with
// some patience, /up/{app} for one app, /live while the process is there; and /usage, what memory that takes. None is signed.
type health struct {
	down   func() error // why the node isn't ready, nil when it is
	up     func() error // why it isn't up, likewise
	apps   *apps.Apps
	memory func() memory
}

// memory is what of it there is, in bytes.
type memory struct {
	// Total is what the process may have: of the machine, or less where it is kept in a container. 0
	// when that isn't known.
	Total uint64 `json:"total"`
	Used  uint64 `json:"used"` // by the process
	Free  uint64 `json:"free"`
	// Percent is how much of it is used.
	Percent float64 `json:"percent"`
}

// filled returns a memory with what follows from the total and what is used.
func filled(total, used uint64) memory {
	m := memory{Total: total, Used: used}
	if total > 0 {
		m.Free = total - min(used, total)
		m.Percent = 100 * float64(used) / float64(total)
	}
	return m
}

// answers reports whether a path is for health.
func (h *health) answers(path string) bool {
	switch path {
	case "/up", "/ready", "/live", "/usage":
		return true
	}
	return strings.HasPrefix(path, "/up/")
}

func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Only GET and HEAD are served here.", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	switch path := r.URL.Path; path {
	case "/live":
		probed(w, http.StatusOK, nil)
	case "/up":
		answered(w, h.up())
	case "/ready":
		answered(w, h.down())
	case "/usage":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(struct { // whoever asked has gone
			Memory memory `json:"memory"`
		}{h.memory()})
	default:
		h.app(w, r, broker.AppID(strings.TrimPrefix(path, "/up/")))
	}
}

func answered(w http.ResponseWriter, err error) {
	if err != nil {
		probed(w, http.StatusServiceUnavailable, err)
		return
	}
	probed(w, http.StatusOK, nil)
}

// app answers for one app. One that isn't there isn't there whatever else is wrong.
func (h *health) app(w http.ResponseWriter, r *http.Request, id broker.AppID) {
	switch app, err := h.apps.ByID(r.Context(), id); {
	case errors.Is(err, broker.ErrNoApp):
		probed(w, http.StatusNotFound, errors.New("unknown app_id"))
	case err != nil:
		probed(w, http.StatusServiceUnavailable, errors.New("the app can't be looked up"))
	case app.Disabled:
		probed(w, http.StatusServiceUnavailable, errors.New("application disabled"))
	default:
		answered(w, h.up())
	}
}

// probed answers a probe. Some load balancers look at the status, some at the text, some at the
// header.
func probed(w http.ResponseWriter, status int, why error) {
	header, text := "OK", "OK"
	if why != nil {
		header, text = "ERROR", "ERROR: "+why.Error()
	}
	w.Header().Set("X-Health-Check", header)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // whoever asked has gone
}
