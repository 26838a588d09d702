package pusher

import (
	"unicode/utf8"

	"github.com/playhead/playhead/broker"
)

// Frame is one message from a client. Its fields are parts of that message or of copies of it:
// they are valid as long as the message is not changed.
type Frame struct {
	Event   []byte // the event's name, any text
	Channel []byte // nil when absent, null or not a string
	Data    []byte // the JSON text of data, nil when absent or null
}

// Decode reads a frame. Members it doesn't know are ignored. An ordinary frame is sliced without
// allocating.
// Errors: [ErrUTF8]; [ErrFrame] for what is not a JSON object with a string event.
func Decode(message []byte) (Frame, error) {
	if !utf8.Valid(message) {
		return Frame{}, faultf(ErrUTF8, "Message is not valid UTF-8")
	}
	var raws [3][]byte
	if !members(message, []string{"event", "channel", "data"}, raws[:]) {
		return Frame{}, faultf(ErrFrame, "Invalid message: it must be a JSON object")
	}
	name, ok := text(raws[0])
	if !ok {
		return Frame{}, faultf(ErrFrame, "Invalid message: event must be a string")
	}
	ch, _ := text(raws[1])
	return Frame{Event: name, Channel: ch, Data: raws[2]}, nil
}

// Subscribe is what a pusher:subscribe asks for.
type Subscribe struct {
	Channel broker.Channel

	// Auth is empty when absent; public channels come with an empty one as well.
	Auth string

	// ChannelData is the exact text that was signed, nil when absent.
	ChannelData *string

	// Resume asks for what was missed since a position; nil when absent.
	Resume *Resume

	// Rewind asks for events from before the client's time; nil when absent.
	Rewind *Rewind
}

// Resume is a returning client's claim.
type Resume struct {
	// Position is what the client kept, not yet parsed.
	Position string

	// Socket is the client's former socket id, empty when it doesn't say.
	Socket broker.SocketID
}

// Subscribe reads the data of a pusher:subscribe. The channel's name, the auth and the content of
// channel_data are not checked yet. Where an error concerns what stands beside the channel, the
// channel is returned with it, for the answer to name.
// Errors: [ErrFrame] without a channel; [ErrAuth], [ErrChannelData], [ErrResume] with one.
func (f Frame) Subscribe() (Subscribe, error) {
	var s Subscribe
	var raws [5][]byte
	ch, err := f.channelData([]string{"channel", "auth", "channel_data", "resume", "rewind"}, raws[:])
	if err != nil {
		return s, err
	}
	s.Channel = ch
	auth, ok := text(raws[1])
	if raws[1] != nil && !ok {
		return s, faultf(ErrAuth, "Invalid format: auth must have the format key:signature")
	}
	s.Auth = string(auth)
	if raws[2] != nil {
		signed, ok := text(raws[2])
		if !ok {
			return s, faultf(ErrChannelData, "Invalid parameter: data.channel_data must be a string of JSON")
		}
		data := string(signed)
		s.ChannelData = &data
	}
	switch {
	case raws[3] != nil && raws[4] != nil:
		err = faultf(ErrResume, "Invalid parameter: data.resume and data.rewind exclude each other")
	case raws[3] != nil:
		s.Resume, err = readResume(raws[3])
	case raws[4] != nil:
		s.Rewind, err = readRewind(raws[4])
	}
	return s, err
}

func readResume(raw []byte) (*Resume, error) {
	var raws [2][]byte
	if !members(raw, []string{"position", "socket_id"}, raws[:]) {
		return nil, faultf(ErrResume, "Invalid parameter: data.resume must be an object")
	}
	position, ok := text(raws[0])
	if !ok {
		return nil, faultf(ErrResume, "Missing parameter: data.resume.position")
	}
	r := Resume{Position: string(position)}
	if raws[1] != nil {
		id, _ := text(raws[1])
		r.Socket = broker.SocketID(id)
		if err := CheckSocketID(r.Socket); err != nil {
			return nil, faultf(ErrResume, "Invalid parameter: data.resume.socket_id must be a socket id")
		}
	}
	return &r, nil
}

// Unsubscribe reads the data of a pusher:unsubscribe: the channel, its name not yet checked.
// Error: [ErrFrame].
func (f Frame) Unsubscribe() (broker.Channel, error) {
	var raws [1][]byte
	return f.channelData([]string{"channel"}, raws[:])
}

// members finds members of the frame's data, an object or a string that holds one. No data is an
// object without members.
func (f Frame) members(names []string, raws [][]byte) bool {
	data := f.Data
	if inner, ok := text(data); ok {
		data = inner
	}
	return data == nil || members(data, names, raws)
}

// channelData reads the frame's data and returns the channel, which is the first of the names.
func (f Frame) channelData(names []string, raws [][]byte) (broker.Channel, error) {
	if !f.members(names, raws) {
		return "", faultf(ErrFrame, "Invalid parameter: data must be an object")
	}
	if raws[0] == nil {
		return "", faultf(ErrFrame, "Missing parameter: data.channel")
	}
	name, ok := text(raws[0])
	if !ok {
		return "", faultf(ErrFrame, "Invalid parameter: data.channel must be a string")
	}
	return broker.Channel(name), nil
}

// ClientEvent reads a client event's channel, its name not yet checked, and the data to deliver:
// a string's content, any other value's JSON text, "{}" when there is none. The data may be part
// of the message. Error: [ErrFrame].
func (f Frame) ClientEvent() (broker.Channel, []byte, error) {
	if f.Channel == nil {
		return "", nil, faultf(ErrFrame, "%s", ClientEventWithoutChannel)
	}
	data := f.Data
	if data == nil {
		data = []byte("{}")
	} else if inner, ok := text(data); ok {
		data = inner
	}
	return broker.Channel(f.Channel), data, nil
}
