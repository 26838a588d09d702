package ws

import (
	"net/url"
	"slices"
	"strings"
)

// originAllowed reports whether a page of this origin may connect; see [broker.App].AllowedOrigins.
// Who sends none is no browser.
func originAllowed(allowed []string, origin string) bool {
	if len(allowed) == 0 || origin == "" {
		return true
	}
	origin = strings.ToLower(origin)
	return slices.ContainsFunc(allowed, func(pattern string) bool {
		return originMatches(strings.ToLower(pattern), origin)
	})
}

// originMatches compares an origin with one pattern, both in lower case.
func originMatches(pattern, origin string) bool {
	if pattern == "*" || pattern == origin {
		return true
	}
	scheme, host, ok := strings.Cut(origin, "://")
	if !ok {
		return false // "null", of a page without an origin
	}
	if wanted, rest, ok := strings.Cut(pattern, "://"); ok {
		// An origin leaves out the port that its scheme means anyway.
		return wanted == scheme && hostMatches(rest, host) && portOf(rest) == portOf(host)
	}
	return hostMatches(pattern, host) && (portOf(pattern) == "" || portOf(pattern) == portOf(host))
}

// hostMatches compares hosts without their ports.
func hostMatches(pattern, host string) bool {
	pattern, host = hostOf(pattern), hostOf(host)
	if parent, ok := strings.CutPrefix(pattern, "*."); ok {
		below, ok := strings.CutSuffix(host, "."+parent)
		return ok && below != ""
	}
	return pattern == host
}

// hostOf and portOf take host:port apart; the port may be missing.
func hostOf(hostport string) string { return (&url.URL{Host: hostport}).Hostname() }
func portOf(hostport string) string { return (&url.URL{Host: hostport}).Port() }
