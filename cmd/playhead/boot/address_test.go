package boot

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// What a request says of its address is believed only as far as a proxy of ours stands behind it.
func TestAddresses(t *testing.T) {
	t.Parallel()
	ours := HTTPConfig{TrustedProxies: List{"10.0.0.0/8", "192.0.2.1", "2001:db8:ffff::/48"}}
	hops := func(n Count) HTTPConfig { return HTTPConfig{TrustedHops: n} }
	for name, tt := range map[string]struct {
		cfg       HTTPConfig
		peer      string
		forwarded []string // header lines
		real      string
		want      string
	}{
		"direct":                          {HTTPConfig{}, "198.51.100.7:99", nil, "", "198.51.100.7"},
		"nobody is trusted":               {HTTPConfig{}, "10.0.0.1:99", []string{"203.0.113.5"}, "203.0.113.6", "10.0.0.1"},
		"a stranger claims an address":    {ours, "198.51.100.7:99", []string{"203.0.113.5"}, "203.0.113.6", "198.51.100.7"},
		"behind a proxy":                  {ours, "10.0.0.1:99", []string{"203.0.113.5"}, "", "203.0.113.5"},
		"behind a single trusted one":     {ours, "192.0.2.1:99", []string{"203.0.113.5"}, "", "203.0.113.5"},
		"its neighbour":                   {ours, "192.0.2.2:99", []string{"203.0.113.5"}, "", "192.0.2.2"},
		"behind two":                      {ours, "10.0.0.1:99", []string{"203.0.113.5, 10.0.0.2"}, "", "203.0.113.5"},
		"behind two, in two lines":        {ours, "10.0.0.1:99", []string{"203.0.113.5", "10.0.0.2"}, "", "203.0.113.5"},
		"spoofed through a proxy":         {ours, "10.0.0.1:99", []string{"1.2.3.4, 203.0.113.5"}, "", "203.0.113.5"},
		"spoofed as a proxy":              {ours, "10.0.0.1:99", []string{"1.2.3.4, 10.9.9.9, 203.0.113.5, 10.0.0.2"}, "", "203.0.113.5"},
		"spoofed line before the proxy's": {ours, "10.0.0.1:99", []string{"1.2.3.4", "203.0.113.5"}, "", "203.0.113.5"},
		"all are proxies":                 {ours, "10.0.0.1:99", []string{"10.0.0.3, 10.0.0.2"}, "", "10.0.0.3"},
		"rubbish":                         {ours, "10.0.0.1:99", []string{"unknown"}, "203.0.113.5", "10.0.0.1"},
		"rubbish before an address":       {ours, "10.0.0.1:99", []string{"<script>, 203.0.113.5"}, "", "203.0.113.5"},
		"rubbish before a proxy":          {ours, "10.0.0.1:99", []string{"_hidden, 10.0.0.2"}, "", "10.0.0.2"},
		"X-Real-IP":                       {ours, "10.0.0.1:99", nil, "203.0.113.5", "203.0.113.5"},
		"X-Real-IP is rubbish":            {ours, "10.0.0.1:99", nil, "me", "10.0.0.1"},
		"X-Forwarded-For goes first":      {ours, "10.0.0.1:99", []string{"203.0.113.5"}, "203.0.113.6", "203.0.113.5"},
		"with a port":                     {ours, "10.0.0.1:99", []string{"203.0.113.5:1234"}, "", "203.0.113.5"},
		"IPv6":                            {ours, "[2001:db8:ffff::1]:99", []string{"2001:db8::5"}, "", "2001:db8::5"},
		"IPv6 with a port":                {ours, "[2001:db8:ffff::1]:99", []string{"[2001:db8::5]:80"}, "", "2001:db8::5"},
		"IPv6 in brackets":                {ours, "[2001:db8:ffff::1]:99", []string{"[2001:db8::5]"}, "", "2001:db8::5"},
		"IPv4 within IPv6":                {ours, "[::ffff:10.0.0.1]:99", []string{"::ffff:203.0.113.5"}, "", "203.0.113.5"},
		"with a zone":                     {HTTPConfig{}, "[fe80::1%eth0]:99", nil, "", "fe80::1"},
		"no address":                      {ours, "@", []string{"203.0.113.5"}, "", "invalid IP"},

		"one hop":                      {hops(1), "198.51.100.7:99", []string{"1.2.3.4, 203.0.113.5"}, "", "203.0.113.5"},
		"one hop, X-Real-IP":           {hops(1), "198.51.100.7:99", nil, "203.0.113.5", "203.0.113.5"},
		"two hops":                     {hops(2), "198.51.100.7:99", []string{"1.2.3.4, 203.0.113.5, 198.51.100.8"}, "", "203.0.113.5"},
		"two hops, X-Real-IP":          {hops(2), "198.51.100.7:99", nil, "203.0.113.5", "198.51.100.7"},
		"fewer hops than there are":    {hops(3), "198.51.100.7:99", []string{"203.0.113.5"}, "", "198.51.100.7"},
		"one hop, rubbish":             {hops(1), "198.51.100.7:99", []string{"203.0.113.5, unknown"}, "", "198.51.100.7"},
		"one hop, and nothing is said": {hops(1), "198.51.100.7:99", nil, "", "198.51.100.7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = tt.peer
			r.Header["X-Forwarded-For"] = tt.forwarded
			if tt.real != "" {
				r.Header.Set("X-Real-IP", tt.real)
			}
			a := tt.cfg.addresses()
			if got := a.of(r).String(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
