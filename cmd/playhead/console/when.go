package console

import (
	"fmt"
	"time"
)

// When is a time on the command line: so long ago, "10m", or a moment, "2026-01-31T12:00:00Z" or
// "2026-01-31", the day's begin by the local clock. Zero is none.
type When struct {
	ago time.Duration
	at  time.Time
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (w *When) UnmarshalText(text []byte) error {
	s := string(text)
	if d, err := time.ParseDuration(s); err == nil {
		if d <= 0 {
			return fmt.Errorf("%q is not in the past", s)
		}
		*w = When{ago: d}
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			*w = When{at: t}
			return nil
		}
	}
	return fmt.Errorf("%q is neither so long ago, as 10m, nor a time, as 2026-01-31T12:00:00Z", s)
}

// time returns the moment, as seen now.
func (w When) time(now time.Time) time.Time {
	if w.ago > 0 {
		return now.Add(-w.ago)
	}
	return w.at
}
