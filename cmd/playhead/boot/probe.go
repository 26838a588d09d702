package boot

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Probe asks a node's /up, as a load balancer does: for images that have no shell and no curl. The URL
// is the node's; without one it is that of the node on this machine that cfg is of. Error: the node isn't
// there or isn't ready, and why.
func Probe(ctx context.Context, cfg Config, base string) error {
	if base == "" {
		cfg.fill()
		base = "http://" + hostPort(loopback(cfg.Host), cfg.Port)
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is not a node's URL; write it like http://127.0.0.1:6001", base)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath("/up").String(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the node: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	switch {
	case err != nil:
		return fmt.Errorf("ask %s: %w", u, err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s is not ready: %s", u, strings.TrimPrefix(string(text), "ERROR: "))
	}
	return nil
}

// probeTimeout is how long a node may take to say how it is.
const probeTimeout = 5 * time.Second

// loopback is where a node that listens on a host's addresses is reached from the same host.
func loopback(host string) string {
	switch host {
	case "", "0.0.0.0":
		return "127.0.0.1"
	case "::":
		return "::1"
	}
	return host
}
