package rest

import (
	"iter"
	"net/url"
	"strings"
)

// query is what the query string of a request says, its signature aside.
type query struct {
	info   string
	prefix string // filter_by_prefix
	key    string // auth_key, where it has to tell the app
}

// readQuery reads a query string. The first auth_key counts, as in the signature's check. An info in
// several parts, as PHP (info[0]=…) and Ruby (info[]=…) send arrays, is joined.
func readQuery(raw string) query {
	var q query
	for key, value := range parameters(raw) {
		switch {
		case key == "filter_by_prefix":
			q.prefix = value
		case q.key == "" && strings.EqualFold(key, "auth_key"):
			q.key = value
		case key == "info" || strings.HasPrefix(key, "info["):
			if q.info != "" && value != "" {
				q.info += ","
			}
			q.info += value
		}
	}
	return q
}

// parameters yields what a query string holds, in order. Like the libraries, and unlike net/url, it
// separates at ampersands only: a channel's name, and so a prefix of it, may hold semicolons. Badly
// escaped parts don't get here: the signature's check refuses them.
func parameters(raw string) iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for pair := range strings.SplitSeq(raw, "&") {
			key, value, _ := strings.Cut(pair, "=")
			key, _ = url.QueryUnescape(key)
			value, _ = url.QueryUnescape(value)
			if !yield(key, value) {
				return
			}
		}
	}
}
