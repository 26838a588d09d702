package ws

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The suite of RFC 6455, after Autobahn's: what a client may write on the wire and must not, and
// exactly what it is answered. It runs twice, over the two ways in which input is read: plain TCP,
// where on Linux the poller names sessions that have some, and TLS, where a goroutine waits.

// masked makes a frame as a client must send it. The key is that of the RFC's examples.
func masked(head byte, payload string) []byte {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := clientFrame(head, payload)
	body := b[len(b)-len(payload):]
	copy(b[len(b)-len(payload)-4:], key[:])
	for i := range body {
		body[i] ^= key[i%4]
	}
	return b
}

// unmasked makes a frame as a client must not send it.
func unmasked(head byte, payload string) []byte {
	return append([]byte{head, byte(len(payload))}, payload...)
}

// closing makes the payload of a close frame.
func closing(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// of joins frames.
func of(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

const (
	text = final | opText
	blob = final | opBinary
	cont = final
	ping = final | opPing
	pong = final | opPong
	bye  = final | opClose
	rsv1 = 0x40
	rsv2 = 0x20
	rsv3 = 0x10
)

// asks is a message that is answered by name: [answered] is the answer.
func asks(name string) string { return fmt.Sprintf(`{"event":"%s"}`, name) }

func answered(name string) string {
	return fmt.Sprintf("error Unsupported event received on socket: '%s'", name)
}

// sized is a message of n bytes, which are checked: it is answered with a pusher:pong.
func sized(n int) string {
	const before, after = `{"padding":"`, `","event":"pusher:ping"}`
	return before + strings.Repeat("ä", (n-len(before)-len(after))/2) + strings.Repeat("x", (n-len(before)-len(after))%2) + after
}

// exchange is a row: what a client writes, and what it reads then. Where the last answer is no close
// the connection must be as good as new, and the client then takes its leave.
type exchange struct {
	name   string // begins with the section of RFC 6455
	writes []byte
	chop   int // bytes of a write; 0: all in one
	want   []string
	hangup bool   // the client ends the stream then
	ended  string // the reason, as metrics name it; default client_closed
}

const invalid = "error Invalid message: it must be a JSON object"

// framing: §5.2, §5.3.
func framing() (rows []exchange) {
	rows = []exchange{
		{name: "5.2 text of 0 bytes", writes: masked(text, ""), want: []string{invalid}},
		{name: "5.2 text of 1 byte", writes: masked(text, "x"), want: []string{invalid}},
		{name: "5.2 two messages in one write", writes: of(masked(text, asks("a")), masked(text, asks("b"))), want: []string{answered("a"), answered("b")}},
		{name: "5.2 byte by byte", writes: of(masked(text, asks("a")), masked(pong, "p"), masked(text, asks("b"))), chop: 1, want: []string{answered("a"), answered("b")}},
		{name: "5.2 65,536 bytes in small writes", writes: masked(text, sized(65_536)), chop: 1_021, want: []string{"pusher:pong"}},
		{name: "5.2 over the limit", writes: masked(text, sized(65_537)), want: []string{"close 1009"}, ended: "message_too_big"},
		{name: "5.2 over the limit in fragments", writes: of(masked(opText, sized(40_000)), masked(cont, sized(40_000))), want: []string{"close 1009"}, ended: "message_too_big"},
		{name: "5.2 over the limit in many fragments", writes: of(masked(opText, ""), bytes.Repeat(masked(0, sized(8_000)), 12)), want: []string{"close 1009"}, ended: "message_too_big"},
		{name: "5.2 length with the highest bit", writes: []byte{text, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4}, want: []string{"close 1002"}, ended: "protocol_error"},
		{name: "5.2 binary message", writes: masked(blob, asks("a")), want: []string{"close 1003"}, ended: "binary_message"},
		{name: "5.2 empty binary message", writes: masked(blob, ""), want: []string{"close 1003"}, ended: "binary_message"},
		{name: "5.2 fragmented binary message", writes: of(masked(opBinary, "\x00"), masked(cont, "\x01")), want: []string{"close 1003"}, ended: "binary_message"},
		{name: "5.3 zeroes as a mask", writes: clientFrame(text, asks("a")), want: []string{answered("a")}},
		{name: "5.1 text without a mask", writes: unmasked(text, asks("a")), want: []string{"close 1002"}, ended: "protocol_error"},
		{name: "5.1 ping without a mask", writes: unmasked(ping, "p"), want: []string{"close 1002"}, ended: "protocol_error"},
		{name: "5.1 close without a mask", writes: unmasked(bye, closing(1000, "")), want: []string{"close 1002"}, ended: "protocol_error"},
		{name: "5.1 message before one without a mask", writes: of(masked(text, asks("a")), unmasked(text, asks("b")), masked(ping, "p")), want: []string{answered("a"), "close 1002"}, ended: "protocol_error"},
	}
	for _, n := range []int{125, 126, 127, 128, 65_535, 65_536} {
		rows = append(rows, exchange{name: fmt.Sprintf("5.2 text of %d bytes", n), writes: masked(text, sized(n)), want: []string{"pusher:pong"}})
	}
	for _, bits := range []byte{rsv1, rsv2, rsv3, rsv1 | rsv2 | rsv3} {
		for name, head := range map[string]byte{"text": text, "continuation": cont, "ping": ping, "pong": pong, "close": bye} {
			rows = append(rows, exchange{
				name:   fmt.Sprintf("5.2 reserved bits %#x on %s", bits, name),
				writes: of(masked(text, asks("a")), masked(head|bits, ""), masked(ping, "not answered any more")),
				want:   []string{answered("a"), "close 1002"}, ended: "protocol_error",
			})
		}
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		rows = append(rows, exchange{
			name:   fmt.Sprintf("5.2 reserved opcode %d", op),
			writes: of(masked(text, asks("a")), masked(final|op, "x"), masked(ping, "not answered any more")),
			want:   []string{answered("a"), "close 1002"}, ended: "protocol_error",
		})
	}
	return rows
}

// fragments: §5.4.
func fragments() []exchange {
	message := asks("abcdef")
	every := func(between []byte) []byte {
		frames := [][]byte{masked(opText, "")}
		for i := range len(message) {
			frames = append(frames, masked(0, message[i:i+1]), between)
		}
		return of(append(frames, masked(cont, ""))...)
	}
	pongs := func(n int) (answers []string) {
		for range n {
			answers = append(answers, `pong "p"`)
		}
		return append(answers, answered("abcdef"))
	}
	half, rest := message[:9], message[9:]
	return []exchange{
		{name: "5.4 two fragments", writes: of(masked(opText, half), masked(cont, rest)), want: []string{answered("abcdef")}},
		{name: "5.4 two fragments byte by byte", writes: of(masked(opText, half), masked(cont, rest)), chop: 1, want: []string{answered("abcdef")}},
		{name: "5.4 fragments of one byte and empty ones", writes: every(nil), want: []string{answered("abcdef")}},
		{name: "5.4 only empty fragments", writes: of(masked(opText, ""), masked(0, ""), masked(0, ""), masked(cont, "")), want: []string{invalid}},
		{name: "5.4 65,536 bytes in fragments", writes: of(masked(opText, sized(65_536)[:30_001]), masked(0, sized(65_536)[30_001:60_000]), masked(cont, sized(65_536)[60_000:])), want: []string{"pusher:pong"}},
		{name: "5.4 ping between fragments", writes: of(masked(opText, half), masked(ping, "p"), masked(cont, rest)), want: pongs(1)},
		{name: "5.4 pings between all fragments", writes: every(masked(ping, "p")), want: pongs(len(message))},
		{name: "5.4 pings between all fragments, byte by byte", writes: every(masked(ping, "p")), chop: 1, want: pongs(len(message))},
		{name: "5.4 pong between fragments", writes: of(masked(opText, half), masked(pong, "p"), masked(cont, rest)), want: []string{answered("abcdef")}},
		{name: "5.4 one fragmented message after another", writes: of(masked(opText, half), masked(cont, rest), masked(opText, half), masked(cont, rest)), want: []string{answered("abcdef"), answered("abcdef")}},
		{name: "5.4 continuation of nothing", writes: masked(0, half), want: []string{"close 1002"}, ended: "protocol_error"},
		{name: "5.4 last continuation of nothing", writes: masked(cont, message), want: []string{"close 1002"}, ended: "protocol_error"},
		{name: "5.4 continuation of a message that was whole", writes: of(masked(text, asks("a")), masked(cont, "x")), want: []string{answered("a"), "close 1002"}, ended: "protocol_error"},
		{name: "5.4 text within a message", writes: of(masked(opText, half), masked(text, message)), want: []string{"close 1002"}, ended: "protocol_error"},
		{name: "5.4 first fragment within a message", writes: of(masked(opText, half), masked(opText, half), masked(cont, rest)), want: []string{"close 1002"}, ended: "protocol_error"},
		{name: "5.4 binary within a message", writes: of(masked(opText, half), masked(blob, "x")), want: []string{"close 1002"}, ended: "protocol_error"},
		{name: "5.4 close within a message", writes: of(masked(opText, half), masked(bye, closing(1000, ""))), want: []string{"close 1000"}},
		{name: "5.4 reserved opcode within a message", writes: of(masked(opText, half), masked(final|3, "")), want: []string{"close 1002"}, ended: "protocol_error"},
	}
}

// control: §5.5.
func control() (rows []exchange) {
	many, pongs := []byte(nil), []string(nil)
	for i := range 1_000 {
		many = append(many, masked(ping, fmt.Sprint(i))...)
		pongs = append(pongs, fmt.Sprintf("pong %q", fmt.Sprint(i)))
	}
	all := make([]byte, maxControl)
	for i := range all {
		all[i] = byte(255 - i) // no text: any bytes will do
	}
	rows = []exchange{
		{name: "5.5.2 many pings in one write", writes: many, want: pongs},
		{name: "5.5.2 many pings in writes of any size", writes: many, chop: 13, want: pongs},
		{name: "5.5.2 ping of any bytes", writes: masked(ping, string(all)), want: []string{fmt.Sprintf("pong %q", all)}},
		{name: "5.5.2 ping of 125 bytes, byte by byte", writes: masked(ping, string(all)), chop: 1, want: []string{fmt.Sprintf("pong %q", all)}},
		{name: "5.5.3 pong nobody asked for", writes: of(masked(pong, ""), masked(pong, "p"), masked(ping, "q")), want: []string{`pong "q"`}},
		{name: "5.5.3 pongs before and behind a message", writes: of(masked(pong, "p"), masked(text, asks("a")), masked(pong, "p")), want: []string{answered("a")}},
	}
	for n := 0; n <= maxControl; n += 25 {
		payload := strings.Repeat("p", n)
		rows = append(rows, exchange{name: fmt.Sprintf("5.5.2 ping of %d bytes", n), writes: masked(ping, payload), want: []string{fmt.Sprintf("pong %q", payload)}})
	}
	for name, head := range map[string]byte{"ping": ping, "pong": pong, "close": bye} {
		rows = append(rows,
			exchange{name: "5.5 " + name + " of 126 bytes", writes: of(masked(head, closing(1000, strings.Repeat("x", 124))), masked(ping, "")), want: []string{"close 1002"}, ended: "protocol_error"},
			exchange{name: "5.5 " + name + " of 65,536 bytes", writes: masked(head, closing(1000, strings.Repeat("x", 65_534))), want: []string{"close 1002"}, ended: "protocol_error"},
			exchange{name: "5.5 fragmented " + name, writes: of(masked(head&^final, closing(1000, "")), masked(cont, ""), masked(ping, "")), want: []string{"close 1002"}, ended: "protocol_error"},
		)
	}
	return rows
}

// goodbyes: §5.5.1, §7.
func goodbyes() (rows []exchange) {
	rows = []exchange{
		{name: "5.5.1 close without a code", writes: masked(bye, ""), want: []string{"close"}},
		{name: "5.5.1 close of one byte", writes: masked(bye, "\x03"), want: []string{"close 1002"}, ended: "protocol_error"},
		{name: "5.5.1 close byte by byte", writes: masked(bye, closing(1001, "going")), chop: 1, want: []string{"close 1001 going"}},
		{name: "5.5.1 close with a reason of 123 bytes", writes: masked(bye, closing(1000, strings.Repeat("x", 123))), want: []string{"close 1000 " + strings.Repeat("x", 123)}},
		{name: "5.5.1 close with a reason in UTF-8", writes: masked(bye, closing(1000, "κόσμε")), want: []string{"close 1000 κόσμε"}},
		{name: "5.5.1 close with a reason that is no UTF-8", writes: masked(bye, closing(1000, "no\xffpe")), want: []string{"close 1007"}, ended: "invalid_utf8"},
		{name: "5.5.1 close with half a character", writes: masked(bye, closing(4000, "\xe2\x82")), want: []string{"close 1007"}, ended: "invalid_utf8"},
		{name: "5.5.1 message and close", writes: of(masked(text, asks("a")), masked(bye, closing(1000, ""))), want: []string{answered("a"), "close 1000"}},
		{name: "5.5.1 ping and close", writes: of(masked(ping, "p"), masked(bye, closing(1000, ""))), want: []string{`pong "p"`, "close 1000"}},
		{name: "5.5.1 message behind the close", writes: of(masked(bye, closing(1000, "")), masked(text, asks("a"))), want: []string{"close 1000"}},
		{name: "5.5.1 ping behind the close", writes: of(masked(bye, closing(1000, "")), masked(ping, "p")), want: []string{"close 1000"}},
		{name: "5.5.1 two closes", writes: of(masked(bye, closing(1000, "")), masked(bye, closing(1001, ""))), want: []string{"close 1000"}},
		{name: "5.5.1 much behind the close", writes: of(masked(bye, closing(1000, "")), bytes.Repeat(masked(text, sized(9_000)), 20)), want: []string{"close 1000"}},
		{name: "7.1.7 anything behind an error", writes: of(masked(final|3, ""), masked(text, asks("a")), masked(bye, closing(1000, ""))), want: []string{"close 1002"}, ended: "protocol_error"},
	}
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		rows = append(rows, exchange{name: fmt.Sprintf("7.4 close with %d", code), writes: masked(bye, closing(code, "")), want: []string{fmt.Sprintf("close %d", code)}})
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535} {
		rows = append(rows, exchange{name: fmt.Sprintf("7.4 close with %d", code), writes: masked(bye, closing(code, "")), want: []string{"close 1002"}, ended: "protocol_error"})
	}
	return rows
}

// texts: §8.1.
func texts() (rows []exchange) {
	for _, s := range []string{"κόσμε", "日本語", "🚀", "\u007f\u0080\u07ff\u0800\ufffd\U0010ffff", "\ufffe\uffff", "\U0001fffe"} {
		whole := asks(s)
		rows = append(rows, exchange{name: fmt.Sprintf("8.1 %+q", s), writes: masked(text, whole), want: []string{answered(s)}})
		for cut := 1; cut < len(s); cut++ {
			at := strings.Index(whole, s) + cut
			rows = append(rows, exchange{
				name:   fmt.Sprintf("8.1 %+q cut after byte %d, ping between", s, cut),
				writes: of(masked(opText, whole[:at]), masked(ping, "p"), masked(cont, whole[at:])),
				want:   []string{`pong "p"`, answered(s)},
			})
		}
	}
	wrong := func(name string, writes ...[]byte) {
		rows = append(rows, exchange{name: "8.1 " + name, writes: of(writes...), want: []string{"close 1007"}, ended: "invalid_utf8"})
	}
	for _, s := range []string{
		"\x80", "\xbf", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xf0\x80\x80\xaf", "\xf0\x8f\xbf\xbf", // overlong, and alone
		"\xed\xa0\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80", // surrogates
		"\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff", // too large
		"\xce", "\xe2\x82", "\xf0\x9f\x9a", "\xe2\x28\xa1", // incomplete
	} {
		wrong(fmt.Sprintf("%+q in JSON", s), masked(text, asks("a"+s)))
		wrong(fmt.Sprintf("%+q alone", s), masked(text, s))
	}
	wrong("bad first fragment", masked(opText, "a\xff"), masked(cont, "b"))
	wrong("bad last fragment", masked(opText, "a"), masked(cont, "\xff"))
	wrong("character without its end in the next fragment", masked(opText, "a\xe2\x82"), masked(cont, "b"))
	wrong("character without its end in a last, empty fragment", masked(opText, "a\xe2\x82"), masked(cont, ""))
	return rows
}

// ends: §7.1.5, streams that end without a close.
func ends() (rows []exchange) {
	for name, writes := range map[string][]byte{
		"between messages":  masked(pong, ""),
		"within a header":   masked(text, sized(1_000))[:3],
		"within a mask":     masked(text, asks("a"))[:4],
		"within a payload":  masked(text, sized(1_000))[:500],
		"between fragments": masked(opText, asks("a")), // what would do for a message isn't one yet
		"within a ping":     masked(ping, "ping")[:8],
		"within a close":    masked(bye, closing(1000, "bye"))[:7],
	} {
		rows = append(rows, exchange{name: "7.1.5 end " + name, writes: writes, hangup: true, ended: "connection_lost"})
	}
	return rows
}

func TestRFC6455(t *testing.T) {
	t.Parallel()
	rows := map[string][]exchange{
		"framing": framing(), "fragments": fragments(), "control": control(), "goodbyes": goodbyes(), "texts": texts(), "ends": ends(),
	}
	stands(t, func(t *testing.T, at stand) {
		for group, exchanges := range rows {
			for _, row := range exchanges {
				t.Run(group+"/"+row.name, func(t *testing.T) { at.exchange(t, row) })
			}
		}
	})
}

// exchange plays a row, and sees to it that nothing of the session is left.
func (at stand) exchange(t *testing.T, row exchange) {
	c := at.connect(t)
	want := append([]string(nil), row.want...)
	writes := row.writes
	if !row.hangup && !strings.HasPrefix(want[len(want)-1], "close") {
		writes = append(writes[:len(writes):len(writes)], masked(bye, closing(1000, "done"))...)
		want = append(want, "close 1000 done")
	}
	want = append(want, "end")
	why := row.ended
	if why == "" {
		why = "client_closed"
	}
	before := at.metric("playhead_closes_total", "reason="+why)
	if row.chop == 0 {
		c.write(writes)
	}
	for row.chop > 0 && len(writes) > 0 {
		n := min(row.chop, len(writes))
		c.write(writes[:n])
		writes = writes[n:]
	}
	if row.hangup {
		if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
	}
	got := c.answers(len(want) + 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	_ = c.Close() // the client's turn
	// The server counts a session out when it has closed its socket and ended its goroutine.
	await(t, "the session is gone", func() bool { return at.server.Count() == 0 })
	if got := at.metric("playhead_closes_total", "reason="+why) - before; got != 1 {
		t.Errorf("%v sessions ended with %s, want 1", got, why)
	}
}
