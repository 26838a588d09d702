package streams

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// Error codes of JetStream that are told apart here.
const (
	codeNotAvailable         = 10008
	codeNotLeader            = 10009
	codeNoMessage            = 10037
	codeNotEnabledForAccount = 10039
	codeNoStream             = 10059
	codeSerialMismatch       = 10063
	codeNotEnabled           = 10076
	codeRollupRefused        = 10111
	codeDuplicateInFlight    = 10158
	codeTooManyRequests      = 10167
	codeBatchIncomplete      = 10176
	codeBatchDuplicate       = 10201
	codeTooManyBatches       = 10210
)

// ack is a stream's answer to a publish.
type ack struct {
	Serial    uint64    `json:"seq"`
	Duplicate bool      `json:"duplicate"`
	Count     int       `json:"count"` // of a batch
	Error     *apiError `json:"error"`
}

// apiError is an error as JetStream answers it.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// transient reports whether the same publish may be stored when it is sent again. The other errors
// are refusals.
func (e *apiError) transient() bool {
	switch e.ErrCode {
	case codeNotAvailable, codeNotLeader, codeDuplicateInFlight, codeTooManyRequests,
		codeBatchIncomplete, codeTooManyBatches, codeSerialMismatch, codeNotEnabled, codeNotEnabledForAccount:
		return true
	}
	return false
}

// parseAck reads an answer. Its error is [nats.ErrNoResponders] when nobody stores the subject.
func parseAck(m *nats.Msg) (ack, error) {
	if len(m.Data) == 0 && header(m.Header, "Status") == "503" {
		return ack{}, nats.ErrNoResponders
	}
	if a, ok := scanAck(m.Data); ok {
		return a, nil
	}
	var a ack
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return ack{}, fmt.Errorf("read an acknowledgement: %w", err)
	}
	if a.Error == nil && a.Serial == 0 {
		return ack{}, fmt.Errorf("acknowledgement without serial: %q", m.Data)
	}
	return a, nil
}

// scanAck reads the two answers that come by the hundred thousand, as the server writes them: a
// stored message or batch. The rest is left to encoding/json.
func scanAck(b []byte) (ack, bool) {
	_, rest, ok := bytes.Cut(b, []byte(`","seq":`))
	if !ok || b[0] != '{' || bytes.HasPrefix(b, []byte(`{"error"`)) {
		return ack{}, false
	}
	n := 0
	for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
		n++
	}
	serial, err := strconv.ParseUint(string(rest[:n]), 10, 64)
	if err != nil || serial == 0 {
		return ack{}, false
	}
	rest = rest[n:]
	if len(rest) == 1 && rest[0] == '}' {
		return ack{Serial: serial}, true
	}
	if !bytes.HasPrefix(rest, []byte(`,"batch":"`)) {
		return ack{}, false
	}
	_, count, ok := bytes.Cut(rest, []byte(`","count":`))
	if !ok || len(count) < 2 || count[len(count)-1] != '}' {
		return ack{}, false
	}
	c, err := strconv.Atoi(string(count[:len(count)-1]))
	if err != nil || c < 1 {
		return ack{}, false
	}
	return ack{Serial: serial, Count: c}, true
}
