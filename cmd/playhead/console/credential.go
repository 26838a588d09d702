package console

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"math/big"
	"strconv"

	"github.com/playhead/playhead/broker"
)

// newCredential completes a credential with what nobody can guess: 80 bits of key, which is public, and
// 160 of secret.
func newCredential(key, secret string) (broker.Credential, error) {
	for _, w := range []struct {
		word  *string
		bytes int
	}{{&key, 10}, {&secret, 20}} {
		if *w.word != "" {
			continue
		}
		b := make([]byte, w.bytes)
		if _, err := rand.Read(b); err != nil {
			return broker.Credential{}, err
		}
		*w.word = hex.EncodeToString(b)
	}
	return broker.Credential{Key: key, Secret: secret}, nil
}

// newID makes up an id that isn't taken: seven digits, as such ids usually have.
func newID(taken func(broker.AppID) bool) (broker.AppID, error) {
	for range 1000 {
		n, err := rand.Int(rand.Reader, big.NewInt(9_000_000))
		if err != nil {
			return "", err
		}
		if id := broker.AppID(strconv.FormatInt(1_000_000+n.Int64(), 10)); !taken(id) {
			return id, nil
		}
	}
	return "", errors.New("no id is free; give one")
}
