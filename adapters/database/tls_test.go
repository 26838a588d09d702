//go:build unix

package database_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

	"github.com/playhead/playhead/adapters/database"
	"github.com/playhead/playhead/adapters/database/databasetest"
)

// certificate makes a certificate for 127.0.0.1 that is its own authority, and returns its files.
func certificate(t *testing.T, s *databasetest.Server, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(file, kind string, der []byte) string {
		t.Helper()
		path := filepath.Join(s.Folder, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Give(t, path)
		return path
	}
	return write(name+".pem", "CERTIFICATE", der), write(name+".key", "PRIVATE KEY", keyDER)
}

// Connections are encrypted when they are to be, and then to nobody but who can show that it is the server.
func testTLS(t *testing.T, s *databasetest.Server) {
	cfg := s.Database(t)
	cert, key := certificate(t, s, "server")
	stranger, _ := certificate(t, s, "stranger")
	s.Kill()
	cipher := "SELECT COUNT(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename = '" + cfg.Username + "'"
	if s.Kind == database.MySQL {
		s.Run(t, "--ssl-cert="+cert, "--ssl-key="+key)
		s.Ask(t, "", "ALTER USER "+cfg.Username+"@'%' REQUIRE SSL")
	} else {
		s.Run(t, "-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+key)
	}
	cfg.TLS = &database.TLS{CAFile: cert}
	d := open(t, cfg)
	if _, err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Kind == database.PostgreSQL {
		if n := s.Ask(t, "", cipher); n == "0" {
			t.Error("no connection is encrypted")
		}
	}
	plain := cfg
	plain.TLS = nil
	if err := open(t, plain).Check(t.Context()); s.Kind == database.MySQL && err == nil {
		t.Error("connected without TLS")
	}
	for what, spoil := range map[string]func(*database.Config){
		"authority": func(c *database.Config) { c.TLS = &database.TLS{CAFile: stranger} },
		"name":      func(c *database.Config) { c.Host = "localhost" },
	} {
		wrong := cfg
		spoil(&wrong)
		if err := open(t, wrong).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "x509") {
			t.Errorf("wrong %s: %v", what, err)
		}
	}
}
