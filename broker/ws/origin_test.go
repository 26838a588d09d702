package ws

import "testing"

func TestOriginAllowed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		allowed string // one pattern; empty for no list
		origin  string
		want    bool
	}{
		{"", "https://anywhere.example", true},
		{"", "null", true},
		{"", "", true},
		{"*", "https://anywhere.example", true},
		{"*", "null", true},
		{"https://example.com", "", true}, // no browser
		{"https://example.com", "https://example.com", true},
		{"https://Example.com", "HTTPS://example.COM", true},
		{"https://example.com", "http://example.com", false},
		{"https://example.com", "https://example.com:8443", false},
		{"https://example.com:8443", "https://example.com:8443", true},
		{"https://example.com:8443", "https://example.com", false},
		{"https://example.com", "https://www.example.com", false},
		{"https://example.com", "https://example.com.evil.example", false},
		{"https://example.com", "https://evil.example/https://example.com", false},
		{"https://*.example.com", "https://a.b.example.com", true},
		{"https://*.example.com", "http://a.example.com", false},
		{"example.com", "http://example.com", true},
		{"example.com", "https://example.com:3000", true},
		{"example.com", "https://notexample.com", false},
		{"example.com", "https://example.com.evil.example", false},
		{"example.com:3000", "http://example.com:3000", true},
		{"example.com:3000", "http://example.com:3001", false},
		{"example.com:3000", "http://example.com", false},
		{"*.example.com", "https://a.example.com", true},
		{"*.example.com", "https://a.b.example.com:8080", true},
		{"*.example.com", "https://example.com", false},
		{"*.example.com", "https://.example.com", false},
		{"*.example.com", "https://aexample.com", false},
		{"*.example.com:8080", "https://a.example.com", false},
		{"localhost", "http://localhost:5173", true},
		{"[::1]", "http://[::1]:5173", true},
		{"127.0.0.1", "http://127.0.0.1", true},
		{"example.com", "null", false},
		{"null", "null", true},
		{"example.com", "file://", false},
		{"example.com", "nonsense", false},
	} {
		var allowed []string
		if tt.allowed != "" {
			allowed = []string{"https://other.example", tt.allowed}
		}
		if got := originAllowed(allowed, tt.origin); got != tt.want {
			t.Errorf("%q for %q: %v, want %v", tt.allowed, tt.origin, got, tt.want)
		}
	}
}
