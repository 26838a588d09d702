package rest

import (
	"net/http"
	"strconv"
)

const (
	keyHeader = "Idempotency-Key"
	keyMember = "idempotency_key"

	// keyBytes is how long an idempotency key may be.
	keyBytes = 128

	// keyMark stands between a key and a number in the ids of what one key publishes to several
	// channels. No key has it, so no id made with it is another request's key.
	keyMark = "\u00b7"
)

// checkKey checks an idempotency key; where says where it stood.
func checkKey(where, key string) error {
	if len(key) == 0 || len(key) > keyBytes {
		return invalidf("Invalid %s: must have 1 to %d characters", where, keyBytes)
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return invalidf("Invalid %s: only printable ASCII characters are allowed", where)
		}
	}
	return nil
}

// headerKey returns the key that a request's header gives to all it publishes, if it has one.
func headerKey(h http.Header) (string, error) {
	keys := h[keyHeader]
	switch len(keys) {
	case 0:
		return "", nil
	case 1:
		return keys[0], checkKey(keyHeader+" header", keys[0])
	}
	return "", invalidf("Invalid %s header: given more than once", keyHeader)
}

// numbered returns the id of the i-th event that has its id from one key: the first one's is the
// key itself, so that a key of one event means the same in a trigger and in a batch.
func numbered(key string, i int) string {
	if key == "" || i == 0 {
		return key
	}
	return key + keyMark + strconv.Itoa(i+1)
}
