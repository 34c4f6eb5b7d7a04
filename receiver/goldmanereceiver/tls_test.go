package goldmanereceiver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
)

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// pair are the files of a certificate and its key.
type pair struct{ cert, key string }

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	var files pair
	a.cert, a.key, files = a.issue(name, template, nil)
	a.file = files.cert
	return a
}

func (a *authority) issue(name string, template *x509.Certificate, parent *authority) (*x509.Certificate, *ecdsa.PrivateKey, pair) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	signer, signerKey := template, key
	if parent != nil {
		signer, signerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	files := pair{filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")}
	require.NoError(a.t, os.WriteFile(files.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(a.t, os.WriteFile(files.key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	return cert, key, files
}

// sign makes a certificate for both ends of a connection, for the given host.
func (a *authority) sign(name, host string, until time.Time) pair {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	_, _, files := a.issue(name, template, a)
	return files
}

const goldmaneHost = "goldmane.calico-system.svc"

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t, "tigera-operator"), newAuthority(t, "somebody-else")
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	server := ours.sign("goldmane", goldmaneHost, later)
	client := ours.sign("collector", "collector", later)
	mutual := func(server pair) *tls.Config {
		conf, err := sim.MutualTLS(server.cert, server.key, ours.file)
		require.NoError(t, err)
		return conf
	}

	for name, test := range map[string]struct {
		server *tls.Config
		change func(*Config)
		want   string // "" is success
	}{
		"both certificates are right":    {mutual(server), func(*Config) {}, ""},
		"no client certificate":          {mutual(server), func(c *Config) { c.TLS.CertFile, c.TLS.KeyFile = "", "" }, "set 'tls::cert_file' and 'tls::key_file'"},
		"a client certificate of others": {mutual(server), func(c *Config) { p := theirs.sign("x", "x", later); c.TLS.CertFile, c.TLS.KeyFile = p.cert, p.key }, "'tls::cert_file' must chain to Goldmane's authority"},
		"our certificate has expired":    {mutual(server), func(c *Config) { p := ours.sign("old", "x", before); c.TLS.CertFile, c.TLS.KeyFile = p.cert, p.key }, "renew 'tls::cert_file'"},
		"Goldmane's has expired":         {mutual(ours.sign("oldserver", goldmaneHost, before)), func(*Config) {}, "Goldmane's certificate is out of date"},
		"an authority we do not know":    {mutual(server), func(c *Config) { c.TLS.CAFile = theirs.file }, "'tls::ca_file' does not hold the authority that signed Goldmane's certificate"},
		"another host's certificate":     {mutual(ours.sign("other", "other.svc", later)), func(*Config) {}, "is not in Goldmane's certificate"},
		"the server speaks plaintext":    {nil, func(*Config) {}, "the server speaks plaintext: set 'tls::insecure' to true"},
		"we speak plaintext": {mutual(server), func(c *Config) {
			// With a 'ca_file' the Collector speaks TLS whatever 'insecure' says.
			c.TLS.Insecure, c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile = true, "", "", ""
		}, "the server may expect TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, test.server, nil)
			r.push(windowStart-90, port(1))
			cfg := r.config()
			cfg.TLS.Insecure = false
			cfg.TLS.CAFile, cfg.TLS.CertFile, cfg.TLS.KeyFile = ours.file, client.cert, client.key
			cfg.TLS.ServerName = goldmaneHost
			test.change(cfg)
			r.start(cfg)
			if test.want == "" {
				r.awaitRecords(1)
				return
			}
			r.pass(10*time.Millisecond, r.logContains(test.want), "the log should say "+test.want)
			assert.Equal(t, componentstatus.StatusRecoverableError, r.seenStatuses()[0])
			assert.Empty(t, r.bodies())
		})
	}
}

// A certificate that was renewed under the same name is used at the next connection:
// Goldmane's clients rotate theirs without a restart.
func TestARenewedCertificateIsUsed(t *testing.T) {
	ours := newAuthority(t, "tigera-operator")
	server := ours.sign("goldmane", goldmaneHost, time.Now().Add(time.Hour))
	conf, err := sim.MutualTLS(server.cert, server.key, ours.file)
	require.NoError(t, err)
	client := ours.sign("collector", "collector", time.Now().Add(-time.Minute))

	r := newRig(t, conf, nil)
	r.push(windowStart-90, port(1))
	cfg := r.config()
	cfg.TLS.Insecure = false
	cfg.TLS.CAFile, cfg.TLS.CertFile, cfg.TLS.KeyFile = ours.file, client.cert, client.key
	cfg.TLS.ServerName = goldmaneHost
	cfg.TLS.ReloadInterval = time.Nanosecond
	r.start(cfg)
	r.pass(10*time.Millisecond, r.logContains("renew 'tls::cert_file'"), "the certificate has expired")
	ours.sign("collector", "collector", time.Now().Add(time.Hour))
	r.pass(10*time.Millisecond, func() bool { return len(r.bodies()) == 1 }, "the new certificate should do")
}

func TestACertificateThatCannotBeReadStopsTheStart(t *testing.T) {
	r := newRig(t, nil, nil)
	cfg := r.config()
	cfg.TLS.Insecure = false
	cfg.TLS.CAFile = "/no/such/ca.crt"
	_, err := connect(t.Context(), cfg, r, r.telemetry.NewTelemetrySettings(), new(atomic.Int64))
	require.ErrorContains(t, err, "cannot set up the connection to Goldmane at 'endpoint' "+r.address+"; look at 'tls' and 'auth'")
	require.ErrorContains(t, err, "/no/such/ca.crt")
}
