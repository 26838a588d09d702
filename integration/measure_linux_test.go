package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// settle waits until the node has given back what it doesn't need, which it does by itself once it is
// quiet, and returns its resident bytes and what heap and stacks have in use.
func (n *node) settle(b *testing.B) (resident int64, inUse float64) {
	b.Helper()
	least := n.resident(b)
	for quiet := time.Now(); time.Since(quiet) < 12*time.Second; {
		time.Sleep(200 * time.Millisecond)
		if now := n.resident(b); now < least-least/100 {
			least, quiet = now, time.Now()
		}
	}
	least = min(least, n.resident(b))
	inUse = n.metric(b, "go_memstats_heap_inuse_bytes") + n.metric(b, "go_memstats_stack_inuse_bytes")
	return least, inUse
}

// metric returns the value of a metric without labels.
func (n *node) metric(b testing.TB, name string) float64 {
	b.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", n.metrics))
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				b.Fatal(err)
			}
			return value
		}
	}
	b.Fatalf("no metric %s", name)
	return 0
}

// resident returns the bytes of memory the node has in RAM.
func (n *node) resident(b testing.TB) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib << 10
}

// cpu returns the processor time the node has used.
func (n *node) cpu() time.Duration { return cpuOf(n.tb, n.cmd.Process.Pid) }

// cpuOf returns the processor time a process has used, in steps of 10 ms.
func cpuOf(tb testing.TB, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	// The name, in parentheses, may hold spaces; utime and stime are the 12th and 13th after it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * (time.Second / 100)
}

// wire is a keep-alive HTTP connection that costs its process little.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
}

func newWire(b *testing.B, n *node) *wire {
	b.Helper()
	conn, err := net.Dial("tcp", n.addr())
	if err != nil {
		b.Fatal(err)
	}
	return &wire{conn, bufio.NewReader(conn)}
}

// do sends a request and returns an error unless the answer is 200.
func (w *wire) do(request []byte) error {
	if _, err := w.conn.Write(request); err != nil {
		return err
	}
	status, length := "", 0
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			break
		}
		if status == "" {
			status = text
		}
		if value, ok := strings.CutPrefix(text, "Content-Length: "); ok {
			if length, err = strconv.Atoi(value); err != nil {
				return err
			}
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(w.in, body); err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 200 ") {
		return errors.New(status + ": " + string(body))
	}
	return nil
}
