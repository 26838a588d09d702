//go:build linux

package ws

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/playhead/playhead/broker"
	dto "github.com/prometheus/client_model/go"
)

// The benchmarks' clients are a process of their own, this binary run again, so that what is
// measured here is the server's alone. They subscribe, read, and keep nothing.

// clientsEnv holds what the clients' process is to do: address, connections, channels.
const clientsEnv = "WS_BENCH_CLIENTS"

func TestMain(m *testing.M) {
	if job := os.Getenv(clientsEnv); job != "" {
		if err := beClients(job); err != nil {
			fmt.Fprintln(os.Stderr, "clients:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beClients connects, reads, and ends when its standard input does.
func beClients(job string) error {
	var addr string
	var connections, channels int
	if _, err := fmt.Sscan(job, &addr, &connections, &channels); err != nil {
		return err
	}
	debug.SetGCPercent(400)
	places := make(chan int)
	errs := make(chan error, 16)
	for range cap(errs) {
		go func() {
			for i := range places {
				if err := beClient(addr, i%channels); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for i := range connections {
		select {
		case places <- i:
		case err := <-errs:
			return err
		}
	}
	close(places)
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	return nil
}

// buffers are what clients read into; nobody looks at it.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

func beClient(addr string, channel int) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	request := "GET /app/key?protocol=7 HTTP/1.1\r\nHost: playhead\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	subscribe := clientFrame(final|opText, fmt.Sprintf(`{"event":"pusher:subscribe","data":{"channel":"bench-%d"}}`, channel))
	if _, err := conn.Write(append([]byte(request), subscribe...)); err != nil {
		return err
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		_ = raw.Read(func(fd uintptr) bool {
			b := buffers.Get().(*[]byte)
			defer buffers.Put(b)
			for {
				n, err := syscall.Read(int(fd), *b)
				if err == syscall.EAGAIN {
					return false
				}
				if n <= 0 && err != syscall.EINTR {
					return true
				}
			}
		})
	}()
	return nil
}

// crowd runs a server with clients in another process, all subscribed. Nothing closes or holds back.
func crowd(b *testing.B, connections, channels int) *harness {
	b.Helper()
	return crowdWith(b, connections, channels, func(_ *harness, cfg *Config) {
		cfg.QueueBytes, cfg.TotalQueueBytes, cfg.Pace = 64<<20, -1, nil
	})
}

// crowdWith is crowd with a configuration of one's own.
func crowdWith(b *testing.B, connections, channels int, edit func(*harness, *Config)) *harness {
	b.Helper()
	h := start(b, edit)
	addr := h.listen()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	clients := exec.Command(exe)
	clients.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", clientsEnv, addr, connections, channels))
	clients.Stderr = os.Stderr
	stdin, err := clients.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := clients.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = clients.Wait()
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		subscribed := 0
		for i := range channels {
			subscribed += h.presence.Occupancy("1", broker.Channel(fmt.Sprint("bench-", i))).Subscriptions
		}
		if subscribed == connections && value(b, h) == float64(2*connections) {
			return h
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d clients are subscribed", subscribed, connections)
		}
	}
}

// value returns how many frames were written.
func value(b *testing.B, h *harness) float64 {
	var m dto.Metric
	if err := h.server.metrics.frames.Write(&m); err != nil {
		b.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// cpu returns the processor time this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFanOut publishes 200-byte events. The clock stops when the last frame is written. With
// a window of one event, nothing can be merged; with many, frames gather while others are written.
func BenchmarkFanOut(b *testing.B) {
	for _, shape := range []struct{ channels, subscribers int }{{1, 1_000}, {1, 10_000}, {1_000, 10}} {
		for _, window := range []int{1, 16, 1_000} {
			perEvent := shape.subscribers
			if window == 1 && shape.channels > 1 || window > 16 && shape.channels == 1 {
				continue
			}
			b.Run(fmt.Sprintf("%dx%d/window=%d", shape.channels, shape.subscribers, window), func(b *testing.B) {
				h := crowd(b, shape.channels*shape.subscribers, shape.channels)
				data := strings.Repeat("x", 200)
				start, used := value(b, h), cpu(b)
				written := h.metric("playhead_socket_writes_total")
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					h.publish(broker.Channel(fmt.Sprint("bench-", i%shape.channels)), "e", data)
					for value(b, h)-start < float64((i+2-window)*perEvent) || i+1 == b.N && value(b, h)-start < float64(b.N*perEvent) {
						time.Sleep(50 * time.Microsecond)
					}
				}
				b.StopTimer()
				runtime.ReadMemStats(&after)
				deliveries := float64(b.N * perEvent)
				b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/deliveries, "B/delivery")
				b.ReportMetric(float64(after.Mallocs-before.Mallocs)/deliveries, "allocs/delivery")
				b.ReportMetric(deliveries/b.Elapsed().Seconds(), "deliveries/s")
				b.ReportMetric(float64((cpu(b)-used).Microseconds())/deliveries, "cpu-µs/delivery")
				b.ReportMetric(deliveries/(h.metric("playhead_socket_writes_total")-written), "frames/write")
			})
		}
	}
}

// BenchmarkIdleMemory reports what a connection that is subscribed to one channel and silent costs,
// after a collection: resident bytes of this process, before the connections and with them.
func BenchmarkIdleMemory(b *testing.B) {
	const connections = 10_000
	before := settled(b)
	h := crowd(b, connections, 100)
	with := settled(b)
	b.ReportMetric(0, "ns/op") // one crowd is enough, whatever b.N
	b.ReportMetric(float64(with.resident-before.resident)/connections, "resident-B/conn")
	b.ReportMetric(float64(with.heap-before.heap)/connections, "heap-B/conn")
	b.ReportMetric(float64(with.stack-before.stack)/connections, "stack-B/conn")
	b.ReportMetric(float64(runtime.NumGoroutine())/connections, "goroutines/conn")
	runtime.KeepAlive(h)
}

type usage struct{ resident, heap, stack int }

func settled(b *testing.B) usage {
	for range 3 {
		debug.FreeOSMemory()
		time.Sleep(50 * time.Millisecond)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	var size, resident int
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return usage{resident: resident * os.Getpagesize(), heap: int(m.HeapInuse), stack: int(m.StackInuse)}
}

// BenchmarkConnect measures the handshake, subscribe included, one connection after the other.
func BenchmarkConnect(b *testing.B) {
	h := start(b, nil)
	addr := h.listen()
	used := cpu(b)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		c := h.openRawTCP(addr, clientFrame(final|opText, `{"event":"pusher:subscribe","data":{"channel":"bench"}}`))
		c.text("pusher:connection_established")
		c.text("pusher_internal:subscription_succeeded")
		_ = c.Close()
	}
	b.ReportMetric(float64((cpu(b)-used).Microseconds())/float64(b.N), "cpu-µs/connect")
}

// BenchmarkWriteFloor writes the same bytes on the same sockets with nothing in between: what a
// delivery can cost at best on this machine now, one by one and sixteen to a write.
func BenchmarkWriteFloor(b *testing.B) {
	for _, connections := range []int{1_000, 10_000} {
		for _, merged := range []int{1, 16} {
			b.Run(fmt.Sprintf("%d/merged=%d", connections, merged), func(b *testing.B) {
				h := crowd(b, connections, 1)
				e := &broker.Event{Channel: "bench-0", Name: "e", Data: []byte(strings.Repeat("x", 200))}
				frames := []byte(strings.Repeat(string(encodeDelivery(&broker.Delivery{Event: e}, broker.Plain)), merged))
				all := h.server.heartbeat.sessions()
				used := cpu(b)
				b.ResetTimer()
				for range b.N {
					for _, s := range all {
						_ = s.conn.raw.Write(func(fd uintptr) bool {
							_, full, _ := writeDescriptor(fd, frames)
							return !full
						})
					}
				}
				b.StopTimer()
				deliveries := float64(b.N * connections * merged)
				b.ReportMetric(deliveries/b.Elapsed().Seconds(), "deliveries/s")
				b.ReportMetric(float64((cpu(b)-used).Microseconds())/deliveries, "cpu-µs/delivery")
			})
		}
	}
}
