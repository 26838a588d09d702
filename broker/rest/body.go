package rest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

const (
	firstBytes = 2 << 10  // a buffer's first size, enough for nearly every body
	keptBytes  = 64 << 10 // the largest buffer kept: one huge body must not hold its memory for ever
)

// read reads the request's body into the buffer, which grows with what arrives, not with what was
// announced. A body that says it is too large isn't read at all, one that turns out to be is read
// up to the limit.
func (a *API) read(w http.ResponseWriter, r *http.Request, buf *[]byte) ([]byte, error) {
	most := a.cfg.MaxBodyBytes
	if r.ContentLength == 0 || r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > int64(most) {
		return nil, a.tooLarge(w)
	}
	b := (*buf)[:0]
	if cap(b) == 0 {
		b = make([]byte, 0, firstBytes)
	}
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		*buf = b
		switch {
		case len(b) > most:
			return nil, a.tooLarge(w)
		case err == nil:
		case errors.Is(err, io.EOF):
			return b, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, errSlow
		default:
			return nil, invalidf("Invalid request body: it can't be read to its end")
		}
	}
}

// tooLarge has the connection closed, so that the server doesn't read on to keep it.
func (a *API) tooLarge(w http.ResponseWriter) error {
	w.Header().Set("Connection", "close")
	return fmt.Errorf("%w: at most %d bytes are allowed", errBodySize, a.cfg.MaxBodyBytes)
}

// release gives a buffer back for the next body.
func (a *API) release(buf *[]byte) {
	if cap(*buf) <= keptBytes {
		a.bodies.Put(buf)
	}
}
