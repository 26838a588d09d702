package ws

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// Idle sessions can be closed: nothing has to come in for it.
func TestCloseOfIdleSessions(t *testing.T) {
	t.Parallel()
	h := start(t, func(_ *harness, cfg *Config) { cfg.DrainTime = -1 })
	addr := h.listen()
	var clients []*client
	for range 50 {
		c := h.dialTCP(addr)
		c.subscribe("feed")
		clients = append(clients, c)
	}
	var reading sync.WaitGroup
	for _, c := range clients {
		reading.Go(func() {
			if code, _, before := c.ended(); code != 4200 || len(before) != 1 {
				t.Errorf("closed with %d after %d frames, want 4200 after its error", code, len(before))
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.server.Drain(ctx); err != nil {
		t.Error(err)
	}
	reading.Wait()
}

// Clients come, send, and go, so that descriptors are used again at once; every message is answered
// once, in order, however its bytes are cut.
func TestMessagesAreReadOnce(t *testing.T) {
	t.Parallel()
	h := start(t, func(h *harness, _ *Config) { h.app.Limits.ClientEventsPerSecond = 1 << 20 })
	addr := h.listen()
	var visiting sync.WaitGroup
	for n := range 16 {
		visiting.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(n)))
			for range 20 {
				visit(t, h, addr, random)
				if t.Failed() {
					return
				}
			}
		})
	}
	visiting.Wait()
	await(t, "all have gone", func() bool { return h.metric("playhead_connections") == 0 })
}

func visit(t *testing.T, h *harness, addr string, random *rand.Rand) {
	const messages = 12
	var stream []byte
	for i := range messages {
		stream = append(stream, clientFrame(final|opPing, fmt.Sprint(i))...)
		text := fmt.Sprintf(`{"event":"pusher:unsubscribe","data":{"channel":"%d","padding":"%s"}}`, i, strings.Repeat("x", random.IntN(9000)))
		half := random.IntN(len(text))
		stream = append(stream, clientFrame(opText, text[:half])...)
		stream = append(stream, clientFrame(final|opPong, "")...)
		stream = append(stream, clientFrame(final, text[half:])...)
	}
	cut := random.IntN(200)
	c := h.openRawTCP(addr, stream[:cut])
	defer func() { _ = c.Close() }()
	stream = stream[cut:]
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		for len(stream) > 0 {
			n := min(len(stream), 1+random.IntN(6000))
			c.write(stream[:n])
			stream = stream[n:]
		}
	})
	c.text("pusher:connection_established")
	pongs, answers := 0, 0
	for pongs < messages || answers < messages {
		op, payload, err := c.read()
		switch {
		case err != nil:
			t.Errorf("after %d pongs and %d answers: %v", pongs, answers, err)
			return
		case op == opPong && string(payload) == fmt.Sprint(pongs):
			pongs++
		case op == opText && strings.Contains(string(payload), fmt.Sprintf("channel %d,", answers)):
			answers++
		default:
			t.Errorf("after %d pongs and %d answers: opcode %d %q", pongs, answers, op, payload)
			return
		}
	}
}

// sifted runs a stream through a sieve in pieces.
func sifted(stream []byte, pieces func(left int) int) (passed string, pings []string) {
	var s sieve
	var out []byte
	for len(stream) > 0 {
		n := pieces(len(stream))
		out = s.sift(out, stream[:n], func(p []byte) { pings = append(pings, string(p)) })
		stream = stream[n:]
	}
	return string(out) + string(s.held), pings
}

// However a stream is cut, pings and pongs go, and nothing else does.
func TestSieve(t *testing.T) {
	t.Parallel()
	masked := func(b []byte) []byte {
		b = append([]byte(nil), b...)
		head, _, _ := clientHeader(b)
		copy(b[head-4:], "\x01\x02\x03\x04")
		for i := range b[head:] {
			b[head+i] ^= byte(i%4 + 1)
		}
		return b
	}
	var stream, want []byte
	keep := func(b []byte) { stream, want = append(stream, b...), append(want, b...) }
	drop := func(b []byte) { stream = append(stream, b...) }
	drop(masked(clientFrame(final|opPing, "first")))
	keep(clientFrame(opText, "hello"))
	drop(masked(clientFrame(final|opPing, strings.Repeat("p", maxControl))))
	drop(clientFrame(final|opPong, "x"))
	keep(clientFrame(final, strings.Repeat("y", 200)))
	keep(clientFrame(final|opText, ""))
	drop(clientFrame(final|opPing, ""))
	keep(clientFrame(final|opText, strings.Repeat("z", 66_000)))
	keep(clientFrame(final|opPing, strings.Repeat("p", maxControl+1))) // malformed, the library's to answer
	keep(clientFrame(opPing, "fragment"))                              // this too
	keep(clientFrame(final|opClose, "\x03\xe8"))
	wantPings := fmt.Sprint([]string{"first", strings.Repeat("p", maxControl), ""})
	for _, size := range []int{1, 2, 3, 7, 64, 1000, len(stream)} {
		passed, pings := sifted(stream, func(left int) int { return min(size, left) })
		if passed != string(want) || fmt.Sprint(pings) != wantPings {
			t.Errorf("%d bytes at a time: %d bytes passed, want %d; pings %q", size, len(passed), len(want), pings)
		}
	}
}

// FuzzSieve: cut in pieces or not, any stream gives the same; what passes is what came, less the
// pings and pongs.
func FuzzSieve(f *testing.F) {
	f.Add(append(clientFrame(final|opPing, "a"), clientFrame(final|opText, "{}")...), uint64(1))
	f.Add([]byte{final | opText, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5}, uint64(2))
	f.Add([]byte{final | opPing, 2, 'h', 'i'}, uint64(3))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		whole, pings := sifted(stream, func(left int) int { return left })
		cut, cutPings := sifted(stream, func(left int) int { return 1 + random.IntN(left) })
		if whole != cut || fmt.Sprint(pings) != fmt.Sprint(cutPings) {
			t.Errorf("whole %q %q, cut %q %q", whole, pings, cut, cutPings)
		}
		if len(whole) > len(stream) {
			t.Errorf("%d bytes passed of %d", len(whole), len(stream))
		}
	})
}

// BenchmarkMessage is what a message costs that finds the session idle: named by the poller, read,
// handled, answered, and armed again.
func BenchmarkMessage(b *testing.B) {
	h := start(b, func(_ *harness, cfg *Config) { cfg.FlushInterval = -1 })
	c := h.openRawTCP(h.listen(), nil)
	c.text("pusher:connection_established")
	message := clientFrame(final|opText, `{"event":"pusher:ping","data":{}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Conn.Write(message); err != nil {
			b.Fatal(err)
		}
		var head [2]byte
		if _, err := c.br.Read(head[:1]); err != nil {
			b.Fatal(err)
		}
		head[1], _ = c.br.ReadByte()
		if _, err := c.br.Discard(int(head[1])); err != nil || head[0] != final|opText {
			b.Fatal(err, binary.BigEndian.Uint16(head[:]))
		}
	}
}
