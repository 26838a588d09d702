package ws

import (
	"encoding/binary"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/pusher"
)

// WebSocket frames as a server writes them: whole messages, never masked. Because nothing in a
// frame depends on who gets it, one encoded frame serves every connection.

// The first byte of a frame: final, and its kind.
const (
	final     = 0x80
	reserved  = 0x70 // for extensions, of which there are none
	opText    = 0x1
	opBinary  = 0x2
	opClose   = 0x8
	opPing    = 0x9
	opPong    = 0xA
	headBytes = 10 // the longest header of an unmasked frame
)

// pingFrame is the ping of the heartbeat, the same for all.
var pingFrame = []byte{final | opPing, 0}

// encodeDelivery encodes a delivery as a complete frame; it is what [broker.Delivery.Encoded]
// calls once per form.
func encodeDelivery(d *broker.Delivery, form broker.Form) []byte {
	room := 256
	if e := d.Event; e != nil {
		room += len(e.Name) + len(e.Channel) + len(e.Data)*5/4
	}
	return textFrame(pusher.AppendDelivery(reserve(room), d, form))
}

// reserve returns an empty payload with room for n bytes and, before them, for a header. What is
// appended to it is given to [textFrame].
func reserve(n int) []byte { return make([]byte, headBytes, headBytes+n) }

// textFrame puts the header before a payload that was begun with [reserve].
func textFrame(b []byte) []byte {
	n := len(b) - headBytes
	switch {
	case n < 126:
		b = b[headBytes-2:]
		b[1] = byte(n)
	case n < 1<<16:
		b = b[headBytes-4:]
		b[1] = 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
	default:
		b[1] = 127
		binary.BigEndian.PutUint64(b[2:], uint64(n))
	}
	b[0] = final | opText
	return b
}

// appendCloseFrame appends a close frame; text is at most [pusher.CloseReasonBytes] long.
func appendCloseFrame(b []byte, code pusher.Code, text string) []byte {
	b = append(b, final|opClose, byte(2+len(text)))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, text...)
}

// frameLen returns the length of the first frame in b, header included, or false when b doesn't
// hold all of it. It is for frames of the library's making, which are unmasked.
func frameLen(b []byte) (int, bool) {
	if len(b) < 2 {
		return 0, false
	}
	head, payload := 2, uint64(b[1]&0x7f)
	switch payload {
	case 126:
		head = 4
		if len(b) < head {
			return 0, false
		}
		payload = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		head = 10
		if len(b) < head {
			return 0, false
		}
		payload = binary.BigEndian.Uint64(b[2:])
	}
	if payload > uint64(len(b)-head) {
		return 0, false
	}
	return head + int(payload), true
}
