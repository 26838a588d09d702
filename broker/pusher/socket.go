package pusher

import (
	"crypto/rand"
	"encoding/binary"
	"strconv"

	"github.com/playhead/playhead/broker"
)

// socketIDBytes is the longest socket id accepted. Ours have 26 bytes at most; the protocol sets
// no bound, but an id travels with its event and must not be a payload of its own.
const socketIDBytes = 64

// NewSocketID makes a socket id, random enough (82 bits) to be unique in any cluster. Both numbers
// can be read by JavaScript without rounding.
func NewSocketID() broker.SocketID {
	var r [16]byte
	rand.Read(r[:]) // never returns an error
	b := make([]byte, 0, 32)
	b = strconv.AppendUint(b, binary.LittleEndian.Uint64(r[:8])%1_000_000_000, 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, binary.LittleEndian.Uint64(r[8:])>>11, 10)
	return broker.SocketID(b)
}

// CheckSocketID says whether id has the form of a socket id: two unsigned decimal numbers joined
// by a dot, 64 bytes at most. Error: [ErrSocketID].
func CheckSocketID(id broker.SocketID) error {
	dot := -1
	ok := len(id) <= socketIDBytes
	for i := 0; i < len(id) && ok; i++ {
		switch c := id[i]; {
		case '0' <= c && c <= '9':
		case c == '.' && dot < 0:
			dot = i
		default:
			ok = false
		}
	}
	if !ok || dot <= 0 || dot == len(id)-1 {
		return faultf(ErrSocketID, "Invalid socket id '%s': it must be two numbers joined by a dot", clip(string(id), socketIDBytes))
	}
	return nil
}
