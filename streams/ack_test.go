package streams

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

func TestParseAck(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]ack{
		`{"stream":"S","seq":1}`:                                                         {Serial: 1},
		`{"stream":"S","domain":"hub","seq":18446744073709551615}`:                       {Serial: 1<<64 - 1},
		`{"stream":"S","seq":5,"batch":"b","count":3}`:                                   {Serial: 5, Count: 3},
		`{"stream":"S","domain":"d","seq":7,"duplicate": true}`:                          {Serial: 7, Duplicate: true},
		`{"stream":"a\",\"seq\":9","seq":1}`:                                             {Serial: 1},
		`{"stream":"S", "seq":1}`:                                                        {Serial: 1},
		`{"error":{"code":400,"err_code":10201,"description":"x"},"stream":"S","seq":0}`: {Error: &apiError{Code: 400, ErrCode: 10201, Description: "x"}},
	} {
		got, err := parseAck(&nats.Msg{Data: []byte(data)})
		if err != nil {
			t.Errorf("%s: %v", data, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", data, diff)
		}
	}
	for _, data := range []string{"", "{", `{"stream":"S"}`, `{"stream":"S","seq":0}`, `{"stream":"S","seq":-1}`, `{"stream":"S","seq":1,"batch":"b","count":x}`, `[]`} {
		if got, err := parseAck(&nats.Msg{Data: []byte(data)}); err == nil {
			t.Errorf("%q: %+v", data, got)
		}
	}
	if _, err := parseAck(&nats.Msg{Header: nats.Header{"Status": {"503"}}}); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestParseDelivery(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]delivery{
		"$JS.ACK.S.C.1.20.10.1732350000123456789.5":            {serial: 20, consumer: 10, stamp: 1732350000123456789},
		"$JS.ACK.dom.ACC.S.C.1.20.10.1732350000123456789.5":    {serial: 20, consumer: 10, stamp: 1732350000123456789},
		"$JS.ACK._.ACC.S.C.1.20.10.1732350000123456789.5.rand": {serial: 20, consumer: 10, stamp: 1732350000123456789},
	} {
		if got, ok := parseDelivery(reply); !ok || got != want {
			t.Errorf("%s: %+v, %v", reply, got, ok)
		}
	}
	for _, reply := range []string{"", "$JS.ACK.", "$JS.ACK.S.C.1.x.10.1.5", "$JS.ACK.S.C.1.20.10.1", "$JS.ACK.d.S.C.1.20.10.1.5", "_INBOX.a.b"} {
		if got, ok := parseDelivery(reply); ok {
			t.Errorf("%q: %+v", reply, got)
		}
	}
}
