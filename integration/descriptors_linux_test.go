package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// limited returns a node's binary that runs with so many descriptors, and can't have more.
func limited(tb testing.TB, descriptors int) string {
	tb.Helper()
	script := filepath.Join(tb.TempDir(), "playhead")
	text := fmt.Sprintf("#!/bin/sh\nulimit -n %d && exec %s \"$@\"\n", descriptors, testBinary(tb))
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		tb.Fatal(err)
	}
	return script
}

// turnedAway connects, and returns the code that the node closes the connection with.
func turnedAway(tb testing.TB, n *node) websocket.StatusCode {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+n.addr()+"/app/"+appKey+"?protocol=7", nil)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	defer conn.CloseNow()
	for {
		if _, _, err := conn.Read(ctx); err != nil {
			if code := websocket.CloseStatus(err); code >= 0 {
				return code
			}
			tb.Fatalf("not closed with a code: %v", err)
		}
	}
}

// TestDescriptorLimit fills a node up that may only have a few descriptors. Whoever is too many is told
// so, nothing spins, what isn't a client goes on, and places that are given up are given away again.
func TestDescriptorLimit(t *testing.T) {
	t.Parallel()
	const descriptors, tooMany = 200, 20
	n := startNode(t, nodeConfig{
		Binary: limited(t, descriptors),
		Env:    []string{"SHUTDOWN_DRAIN=none", "HTTP_READ_HEADER_TIMEOUT=2s"}, // which bounds those who connect and say nothing
	})
	said := regexp.MustCompile(`limit=200 connections=(\d+)`).FindStringSubmatch(n.out.String())
	if said == nil {
		t.Fatal("the node doesn't say how many connections it takes")
	}
	capacity, _ := strconv.Atoi(said[1]) // digits
	if capacity < descriptors/2 || capacity >= descriptors {
		t.Fatalf("%d connections with %d descriptors", capacity, descriptors)
	}

	var clients []*client
	for range capacity {
		clients = append(clients, mustDial(t, n, false))
	}
	listener := clients[0]
	listener.mustSubscribe(t, "news", nil)

	before := n.cpu()
	for range tooMany {
		if code := turnedAway(t, n); code != 4100 {
			t.Fatalf("closed with %d, want 4100", code)
		}
	}
	refusing := n.cpu() - before
	n.publisher().mustPublish(t, "news", "n", "still")
	if f := listener.mustRead(t); f.text() != "still" {
		t.Errorf("got %s %s", f.Event, f.Data)
	}
	if open := n.metric(t, "process_open_fds"); open > descriptors {
		t.Errorf("%v descriptors are open", open)
	}

	// Those who connect and say nothing take all other places. Who comes next waits until they are hung up
	// on, and the node waits too: it doesn't ask again and again.
	for range 30 {
		conn, err := net.Dial("tcp", n.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	before, began := n.cpu(), time.Now()
	if code := turnedAway(t, n); code != 4100 {
		t.Errorf("closed with %d, want 4100", code)
	}
	waited, used := time.Since(began), n.cpu()-before
	if used > waited/2 {
		t.Errorf("%v of CPU while a client waited %v for its place", used, waited)
	}
	t.Logf("%d connections; %v of CPU for %d refusals, %v in the %v that a client waited", capacity, refusing, tooMany, used, waited)
	if resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", n.metrics)); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("metrics: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}

	const leave = 5
	for _, c := range clients[1 : 1+leave] {
		c.conn.CloseNow()
	}
	come := 0
	await(t, "places that were given up are taken", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := dial(ctx, n, false)
		if err == nil {
			t.Cleanup(func() { c.conn.CloseNow() })
			come++
		}
		return come == leave
	})
	if code := turnedAway(t, n); code != 4100 {
		t.Errorf("closed with %d, want 4100", code)
	}
	if strings.Contains(n.out.String(), "too many open files") {
		t.Error("the node ran out of descriptors")
	}
}
