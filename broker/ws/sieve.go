package ws

import (
	"encoding/binary"
	"math"
)

// sieve takes pings and pongs out of what a client sends, before the library sees it. The library
// reads on after a control frame until a message comes; with the control frames gone it is only
// called when there is a message, and a client that is merely alive costs no goroutine. All else
// passes, malformed control frames too: the library knows what to answer. Behind a frame that ends
// the connection everything passes: a ping there must not be answered any more.
type sieve struct {
	left uint64 // bytes that still belong to the frame that is passing; behind the last one, without end
	held []byte // the beginning of a header, or of a control frame; nil most of the time
}

// maxControl is the longest payload of a control frame.
const maxControl = 125

// sift appends to out what passes of in, and calls pinged with the payload of each ping.
func (s *sieve) sift(out, in []byte, pinged func(payload []byte)) []byte {
	if s.held != nil {
		in = append(s.held, in...)
		s.held = nil
	}
	for len(in) > 0 {
		if s.left > 0 {
			n := min(s.left, uint64(len(in)))
			out = append(out, in[:n]...)
			in = in[n:]
			s.left -= n
			continue
		}
		head, payload, whole := clientHeader(in)
		control := whole && isHeartbeat(in)
		if !whole || control && len(in) < head+int(payload) {
			s.held = append([]byte(nil), in...)
			return out
		}
		if !control {
			out = append(out, in[:head]...)
			s.left = payload
			if isLast(in) {
				s.left = math.MaxUint64
			}
			in = in[head:]
			continue
		}
		if in[0]&0xf == opPing {
			pinged(unmask(in[head-4:head], in[head:head+int(payload)]))
		}
		in = in[head+int(payload):]
	}
	return out
}

// clientHeader returns the length of the frame header that b begins with, and that of the payload
// behind it; not whole means that more bytes are needed to tell.
func clientHeader(b []byte) (head int, payload uint64, whole bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	head = 2
	payload = uint64(b[1] & 0x7f)
	switch payload {
	case 126:
		head += 2
	case 127:
		head += 8
	}
	length := b[2:]
	if b[1]&0x80 != 0 {
		head += 4
	}
	if len(b) < head {
		return head, 0, false
	}
	switch payload {
	case 126:
		payload = uint64(binary.BigEndian.Uint16(length))
	case 127:
		payload = binary.BigEndian.Uint64(length)
	}
	return head, payload, true
}

// isHeartbeat reports whether b begins with the header of a well-formed ping or pong.
func isHeartbeat(b []byte) bool {
	return (b[0] == final|opPing || b[0] == final|opPong) && b[1]&0x80 != 0 && b[1]&0x7f <= maxControl
}

// isLast reports whether the frame that b begins with, which is no heartbeat, ends the connection: it
// is a close, or its header is malformed.
func isLast(b []byte) bool {
	return b[0]&reserved != 0 || b[0]&0xf > opBinary || b[1]&0x80 == 0
}

// unmask returns a copy of a masked payload in clear.
func unmask(key, payload []byte) []byte {
	plain := make([]byte, len(payload))
	for i, c := range payload {
		plain[i] = c ^ key[i%4]
	}
	return plain
}
