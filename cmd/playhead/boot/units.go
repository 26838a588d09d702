package boot

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// None switches off what a setting bounds, in every unit of this file. In the text of a
// configuration it is written "none" or 0; in Go 0 is the default instead.
const None = -1

// AnyPort asks the system for a free port. In the text it is written 0 or "any".
const AnyPort Port = -1

// Duration is a span of time, written with its unit: "500ms", "5s", "2m", "24h".
type Duration time.Duration

// UnmarshalText reads what [Duration.String] writes, and anything [time.ParseDuration] takes.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if isNone(s) {
		*d = None
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration; write it with its unit, like 500ms, 30s or 24h", s)
	}
	if v < 0 {
		return fmt.Errorf("%s is negative", s)
	}
	if v == 0 {
		v = None
	}
	*d = Duration(v)
	return nil
}

// String writes the duration without parts that are zero: "24h", not "24h0m0s".
func (d Duration) String() string {
	if d == None {
		return "none"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Size is a number of bytes, written with its unit: "64KiB", "1MiB", "1GiB" (powers of 1,024),
// "10MB" (powers of 1,000), or a plain number of bytes.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes float64
}{
	// Longest first, so that "KiB" isn't taken for "B"; the binary ones first for String.
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText reads what [Size.String] writes; a fraction ("1.5GiB") is accepted too.
func (s *Size) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	if isNone(in) {
		*s = None
		return nil
	}
	number, factor := in, 1.0
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(in, u.name); ok {
			number, factor = strings.TrimSpace(n), u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(v) {
		return fmt.Errorf("%q is not a size; write bytes or a unit, like 64KiB, 1MiB or 1GiB", in)
	}
	v *= factor
	switch {
	case v < 0:
		return fmt.Errorf("%s is negative", in)
	case v >= math.MaxInt64:
		return fmt.Errorf("%s is too large", in)
	case v != math.Trunc(v):
		return fmt.Errorf("%s is not a whole number of bytes", in)
	}
	*s = Size(v)
	if v == 0 {
		*s = None
	}
	return nil
}

// String writes the size in the largest binary unit that leaves a whole number.
func (s Size) String() string {
	if s == None {
		return "none"
	}
	if s > 0 {
		for _, u := range sizeUnits[:4] {
			if n := int64(u.bytes); int64(s)%n == 0 {
				return strconv.FormatInt(int64(s)/n, 10) + u.name
			}
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Count is a whole number of things.
type Count int64

// UnmarshalText reads a decimal number; "10_000" is accepted as in Go.
func (c *Count) UnmarshalText(text []byte) error {
	s := string(text)
	if isNone(s) {
		*c = None
		return nil
	}
	v, err := parseWhole(s)
	if err != nil {
		return err
	}
	if v == 0 {
		v = None
	}
	*c = Count(v)
	return nil
}

// String writes the number, or "none".
func (c Count) String() string {
	if c == None {
		return "none"
	}
	return strconv.FormatInt(int64(c), 10)
}

// Milliseconds is a span of time, written as a plain number of milliseconds, for keys that other
// servers have like that.
type Milliseconds int64

// UnmarshalText reads a whole number.
func (m *Milliseconds) UnmarshalText(text []byte) error {
	s := string(text)
	v, err := parseWhole(s)
	switch {
	case err != nil:
		return fmt.Errorf("%w; write milliseconds without a unit, like 10000", err)
	case v > int64(math.MaxInt64/time.Millisecond):
		return fmt.Errorf("%s is too large", s)
	case v == 0:
		v = None
	}
	*m = Milliseconds(v)
	return nil
}

// String writes the number.
func (m Milliseconds) String() string { return strconv.FormatInt(int64(m), 10) }

// Duration returns the span.
func (m Milliseconds) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// Port is a TCP port, 1 to 65535.
type Port int

// UnmarshalText reads a port's number; 0 and "any" are [AnyPort].
func (p *Port) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "0" || s == "any" {
		*p = AnyPort
		return nil
	}
	v, err := parseWhole(s)
	if err != nil {
		return err
	}
	if v < 1 || v > math.MaxUint16 {
		return fmt.Errorf("%s is not a port; ports go from 1 to 65535, and 0 picks a free one", s)
	}
	*p = Port(v)
	return nil
}

// String writes the number, or "any".
func (p Port) String() string {
	if p == AnyPort {
		return "any"
	}
	return strconv.Itoa(int(p))
}

// number returns what to give net.Listen.
func (p Port) number() int { return max(int(p), 0) }

// Switch is on or off, written true or false. The zero Switch is the key's default.
type Switch int8

// The settings of a Switch.
const (
	On  Switch = 1
	Off Switch = -1
)

// UnmarshalText reads true or false; on, off, yes, no, 1 and 0 are understood too.
func (s *Switch) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "true", "on", "yes", "1":
		*s = On
	case "false", "off", "no", "0":
		*s = Off
	default:
		return fmt.Errorf("%q is neither true nor false", text)
	}
	return nil
}

// String writes true or false.
func (s Switch) String() string { return strconv.FormatBool(s == On) }

// List is several words. In a file it is a list; in a variable, or where a file has a single value,
// they stand between commas or spaces.
type List []string

// UnmarshalText reads words between commas or spaces.
func (l *List) UnmarshalText(text []byte) error {
	*l = strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' || r == ' ' })
	return nil
}

func isNone(s string) bool { return s == "none" || s == "-1" }

func parseWhole(s string) (int64, error) {
	v, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is too large", s)
	case err != nil:
		return 0, fmt.Errorf("%q is not a whole number", s)
	case v < 0:
		return 0, fmt.Errorf("%s is negative", s)
	}
	return v, nil
}
