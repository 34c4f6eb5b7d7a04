package conformance

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
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pki is a CA with what it has signed.
type pki struct {
	cert, key, ca string // the server's files
	pool          *x509.CertPool
	client        tls.Certificate
	serverOnly    tls.Certificate // not good for a client
}

func newPKI(t *testing.T) *pki {
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	caKey, caCert := newCert(t, nil, nil, 0)
	p := &pki{pool: x509.NewCertPool(), ca: write("ca.crt", "CERTIFICATE", caCert.Raw)}
	p.pool.AddCert(caCert)
	leaf := func(usage x509.ExtKeyUsage) tls.Certificate {
		key, cert := newCert(t, caKey, caCert, usage)
		return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
	}
	p.client, p.serverOnly = leaf(x509.ExtKeyUsageClientAuth), leaf(x509.ExtKeyUsageServerAuth)
	p.cert = write("server.crt", "CERTIFICATE", p.serverOnly.Certificate[0])
	der, err := x509.MarshalPKCS8PrivateKey(p.serverOnly.PrivateKey)
	require.NoError(t, err)
	p.key = write("server.key", "PRIVATE KEY", der)
	return p
}

// newCert signs a certificate; without a parent it is a CA's own.
func newCert(t *testing.T, caKey *ecdsa.PrivateKey, ca *x509.Certificate, usage x509.ExtKeyUsage) (*ecdsa.PrivateKey, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "conformance"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	if ca == nil {
		tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
		tmpl.KeyUsage, tmpl.ExtKeyUsage, tmpl.IPAddresses = x509.KeyUsageCertSign, nil, nil
		ca, caKey = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, &key.PublicKey, caKey)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return key, cert
}

// clientTLS is how a client shows itself.
type clientTLS struct {
	cert tls.Certificate
}

func (c *clientTLS) config(p *pki) *tls.Config {
	conf := &tls.Config{RootCAs: p.pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	if c.cert.Certificate != nil {
		// Not Certificates: that would keep back one that the server's CAs do not fit.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.cert, nil }
	}
	return conf
}
