package broker_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/playhead/playhead/broker"
)

// Headers and URLs of endpoints may be secret, and so are the credentials of the app they belong to.
func TestEndpointKeepsSecrets(t *testing.T) {
	t.Parallel()
	e := broker.Endpoint{
		Name: "orders", URL: "https://user:pw@hooks.example/t0ken?k=t0ken",
		Headers: map[string]string{"Authorization": "t0ken"},
	}
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, nil))
	logger.Info("x", "endpoint", e, "app", &broker.App{ID: "shop", Webhooks: []broker.Endpoint{e}})
	for _, secret := range []string{"t0ken", "pw"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q in the log: %s", secret, out.String())
		}
	}
	for _, told := range []string{"orders", "hooks.example", "shop"} {
		if !strings.Contains(out.String(), told) {
			t.Errorf("%q not in the log: %s", told, out.String())
		}
	}
}
