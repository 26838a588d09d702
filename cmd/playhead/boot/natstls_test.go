package boot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// authority signs certificates.
type authority struct {
	t      *testing.T
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	folder string
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, folder: t.TempDir()}
	a.cert, a.key = a.sign("authority", nil)
	return a
}

// sign makes a certificate of its own for a nil parent, else for 127.0.0.1, with files NAME.pem and NAME.key.
func (a *authority) sign(name string, parent *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	by, byKey := template, key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		by, byKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, byKey)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.folder, name) }

// A node reaches servers over TLS that want its certificate, and says what is wrong where either side doesn't
// trust the other.
func TestNATSOverTLS(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	a.sign("server", a)
	a.sign("node", a)
	pair, err := tls.LoadX509KeyPair(a.file("server.pem"), a.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, ServerName: "guarded",
		JetStream: true, StoreDir: t.TempDir(), TLSTimeout: 10, TLSVerify: true,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server isn't ready")
	}
	at := "tls://" + s.Addr().String()

	cfg := away(t, "a", at)
	cfg.NATS.TLS = NATSTLSConfig{CAFile: a.file("authority.pem"), CertFile: a.file("node.pem"), KeyFile: a.file("node.key")}
	r := start(t, cfg)
	await(t, "the node up", func() bool { return r.serving.Load() })

	cfg = away(t, "b", at)
	cfg.NATS.TLS = NATSTLSConfig{CAFile: stranger.file("authority.pem")}
	if why, _ := failing(t, cfg); !strings.Contains(why, "certificate") || strings.Contains(why, "startup_timeout") {
		t.Errorf("a server that isn't trusted: %q", why)
	}
	cfg = away(t, "c", at)
	cfg.NATS.TLS = NATSTLSConfig{CAFile: a.file("authority.pem")}
	cfg.StartupTimeout = Duration(time.Second)
	if why, _ := failing(t, cfg); !strings.Contains(why, "not within startup_timeout") || !strings.Contains(why, "tls") {
		t.Errorf("a node without its certificate: %q", why)
	}
}
