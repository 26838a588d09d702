package console

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/playhead/playhead/replay/client"
)

// line writes one event to a line.
type line struct {
	json      bool // an object with all that is known
	positions bool // with the position, where it isn't JSON
}

// write writes e: time, channel, name and data between tabs, in local time.
func (l line) write(w io.Writer, e client.Event) error {
	if l.json {
		b, err := json.Marshal(struct {
			Time     *time.Time      `json:"time,omitempty"`
			Channel  string          `json:"channel"`
			Event    string          `json:"event"`
			Data     string          `json:"data"`
			UserID   string          `json:"user_id,omitempty"`
			ID       string          `json:"id,omitempty"`
			Position client.Position `json:"position,omitempty"`
		}{known(e.Time), string(e.Channel), e.Name, e.Data, e.UserID, e.ID, e.Position})
		if err != nil {
			return err
		}
		_, err = w.Write(append(b, '\n'))
		return err
	}
	words := []string{"-", string(e.Channel), printable(e.Name), printable(e.Data)}
	if !e.Time.IsZero() {
		words[0] = e.Time.Local().Format("2006-01-02T15:04:05.000Z07:00")
	}
	if l.positions {
		words = append(words, string(e.Position))
	}
	_, err := io.WriteString(w, strings.Join(words, "\t")+"\n")
	return err
}

// known returns nil for a time that isn't known.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// printable returns s, in quotes when it has what would break the line or do something to a terminal.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	return strconv.Quote(s)
}
