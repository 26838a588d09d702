package bench

import (
	"bytes"
	"strconv"
	"time"
)

// event is one that is published. Its data is plain text that needs no escaping in JSON, so that
// finding it in a frame costs little: "playhead-bench RUN LANE NUMBER DUE " and dots up to the size.
type event struct {
	lane   int
	number uint64
	due    time.Duration // since the run began
}

const mark = `playhead-bench `

// appendData writes an event's data of a size.
func (e event) appendData(b []byte, run string, size int) []byte {
	from := len(b)
	b = append(append(append(b, mark...), run...), ' ')
	b = append(strconv.AppendInt(b, int64(e.lane), 10), ' ')
	b = append(strconv.AppendUint(b, e.number, 10), ' ')
	b = append(strconv.AppendInt(b, int64(e.due), 10), ' ')
	for len(b)-from < size {
		b = append(b, '.')
	}
	return b
}

// findEvent finds the data in a frame. ours is whether it is of this run, ok whether it is whole.
func findEvent(frame []byte, run string, size int) (e event, ours, ok bool) {
	_, rest, found := bytes.Cut(frame, []byte(mark))
	if !found || !bytes.HasPrefix(rest, []byte(run)) {
		return e, false, false
	}
	data, _, _ := bytes.Cut(rest, []byte{'"'})
	fields := bytes.SplitN(data, []byte{' '}, 5)
	if len(fields) != 5 || len(mark)+len(data) != size || len(bytes.Trim(fields[4], ".")) > 0 {
		return e, true, false
	}
	lane, err := strconv.Atoi(string(fields[1]))
	number, err2 := strconv.ParseUint(string(fields[2]), 10, 63)
	due, err3 := strconv.ParseInt(string(fields[3]), 10, 64)
	return event{lane, number, time.Duration(due)}, true, err == nil && err2 == nil && err3 == nil
}
