package pusher

import (
	"bytes"
	"encoding/json"
	"slices"
)

// members finds the named members of a JSON object and puts the JSON text of each in its place in
// raws, nil for what is absent or null. Other members are ignored. It returns false when b, which
// is valid UTF-8, is not an object. An ordinary object is sliced without allocating, an unusual one
// is given to encoding/json, with the same result.
func members(b []byte, names []string, raws [][]byte) bool {
	return scanMembers(b, names, raws) || parseMembers(b, names, raws)
}

// parseMembers is members by encoding/json. It uses a map and not a struct because names must match
// exactly; of members of one name the last counts.
func parseMembers(b []byte, names []string, raws [][]byte) bool {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil || m == nil {
		return false
	}
	for i, name := range names {
		raw := bytes.TrimSpace(m[name])
		if len(raw) == 0 || string(raw) == "null" {
			raw = nil
		}
		raws[i] = raw
	}
	return true
}

// text reads a JSON string; its text may be part of raw. Anything else, and nil, is none.
func text(raw []byte) ([]byte, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return nil, false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1 : len(raw)-1], true
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return []byte(s), err == nil
}

// What follows is a strict JSON scanner. It allocates nothing and does nothing clever: what it
// would rather not handle it declines, and encoding/json has the word.

// scanDepth is how deep values may nest before the scanner declines.
const scanDepth = 64

// scanMembers is members for ordinary objects. It declines (false) what is not JSON, what is not an
// object, a member whose name has an escape, a wanted member that appears twice.
func scanMembers(b []byte, names []string, raws [][]byte) bool {
	clear(raws)
	i := space(b, 0)
	if i == len(b) || b[i] != '{' {
		return false
	}
	i = space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return space(b, i+1) == len(b)
	}
	seen := 0 // a bit for each name
	for {
		name, end, ok := plain(b, i)
		if !ok {
			return false
		}
		i = space(b, end)
		if i == len(b) || b[i] != ':' {
			return false
		}
		i = space(b, i+1)
		if end = value(b, i, scanDepth); end < 0 {
			return false
		}
		if n := slices.Index(names, string(name)); n >= 0 {
			if seen&(1<<n) != 0 {
				return false
			}
			seen |= 1 << n
			if b[i] != 'n' {
				raws[n] = b[i:end:end]
			}
		}
		i = space(b, end)
		if i == len(b) || b[i] != ',' {
			return i < len(b) && b[i] == '}' && space(b, i+1) == len(b)
		}
		i = space(b, i+1)
	}
}

// space returns the index of the first byte at or after i that is not white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// plain reads a string without escapes that begins at i; end is the index after it.
func plain(b []byte, i int) (text []byte, end int, ok bool) {
	if i >= len(b) || b[i] != '"' {
		return nil, 0, false
	}
	for j := i + 1; j < len(b); j++ {
		if escapes[b[j]] != 0 {
			return b[i+1 : j : j], j + 1, b[j] == '"'
		}
	}
	return nil, 0, false
}

// value returns the index after the JSON value that begins at i, or -1 if there is none.
func value(b []byte, i, depth int) int {
	if i >= len(b) || depth == 0 {
		return -1
	}
	switch c := b[i]; {
	case c == '"':
		return str(b, i)
	case c == '{':
		return composite(b, i, depth, '}')
	case c == '[':
		return composite(b, i, depth, ']')
	case c == '-' || '0' <= c && c <= '9':
		return number(b, i)
	case c == 't':
		return literal(b, i, "true")
	case c == 'f':
		return literal(b, i, "false")
	case c == 'n':
		return literal(b, i, "null")
	}
	return -1
}

// composite reads an object or an array, as its closing bracket says.
func composite(b []byte, i, depth int, closing byte) int {
	i = space(b, i+1)
	if i < len(b) && b[i] == closing {
		return i + 1
	}
	for {
		if closing == '}' {
			if i >= len(b) || b[i] != '"' {
				return -1
			}
			if i = str(b, i); i < 0 {
				return -1
			}
			i = space(b, i)
			if i >= len(b) || b[i] != ':' {
				return -1
			}
			i = space(b, i+1)
		}
		if i = value(b, i, depth-1); i < 0 {
			return -1
		}
		i = space(b, i)
		if i >= len(b) {
			return -1
		}
		if b[i] == closing {
			return i + 1
		}
		if b[i] != ',' {
			return -1
		}
		i = space(b, i+1)
	}
}

func str(b []byte, i int) int {
	for i++; i < len(b); i++ {
		if escapes[b[i]] == 0 {
			continue
		}
		if b[i] == '"' {
			return i + 1
		}
		i++ // b[i] is a backslash, or a control character, which the switch declines
		if b[i-1] != '\\' || i == len(b) {
			return -1
		}
		switch b[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			for range 4 {
				if i++; i == len(b) || !hexDigit(b[i]) {
					return -1
				}
			}
		default:
			return -1
		}
	}
	return -1
}

func hexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func number(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	start := i
	if i = digits(b, i); i == start || b[start] == '0' && i > start+1 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = digits(b, start); i == start {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start = i
		if i = digits(b, start); i == start {
			return -1
		}
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	return i
}

func literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}
