package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"

	"github.com/jonboulle/clockwork"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// Goldmane says how to reach Goldmane. Without any file it is spoken to in plaintext.
type Goldmane struct {
	Endpoint                  string // host:port
	CAFile, CertFile, KeyFile string // PEM
	// ServerName is the name that its certificate must have, that of Endpoint if "".
	ServerName string
	// MetricsURL is where it serves what it counts, "" if it is not to be looked at.
	MetricsURL string
}

// maxAnswer is the receiver's default of max_recv_msg_size_mib.
const maxAnswer = 256 << 20

func (g *Goldmane) examine(ctx context.Context, clock clockwork.Clock, s *section) {
	if g == nil {
		g = &Goldmane{}
	}
	reached := false
	if g.Endpoint == "" {
		s.skip("reach", "not named: give --goldmane host:port (GOLDMANE_ENDPOINT) and --goldmane-ca, --goldmane-cert, --goldmane-key")
	} else if reached = g.reach(ctx, s); reached {
		g.ask(ctx, clock, s)
	}
	if g.MetricsURL != "" {
		g.metrics(ctx, s)
	} else if reached {
		s.skip("metrics", "not named: "+metricsHint)
	}
}

// ask checks what there is to say about the connection and the flows.
func (g *Goldmane) ask(ctx context.Context, clock clockwork.Clock, s *section) {
	through, ok := g.handshake(ctx, clock, s)
	if !ok {
		s.skip("flows", "without a good connection nothing is asked")
		return
	}
	conn, err := grpc.NewClient(g.Endpoint, grpc.WithTransportCredentials(through),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		s.fail("flows", "'--goldmane' must be host:port", "%v", err)
		return
	}
	defer func() { _ = conn.Close() }() // nothing is in flight
	(&ring{flows: goldmane.NewFlowsClient(conn), clock: clock}).examine(ctx, s)
}

// reach checks that there is somebody at the endpoint.
func (g *Goldmane) reach(ctx context.Context, s *section) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", g.Endpoint)
	if err == nil {
		s.ok("reach", "%s takes connections", g.Endpoint)
		_ = conn.Close() // it was not used
		return true
	}
	remedy := "is Goldmane running (`kubectl get pods -n calico-system -l k8s-app=goldmane`), and may this machine reach it (NetworkPolicy)? From outside the cluster: `kubectl port-forward -n calico-system svc/goldmane 7443`, then --goldmane 127.0.0.1:7443 --goldmane-server-name goldmane.calico-system.svc"
	var address *net.AddrError
	var name *net.DNSError
	switch {
	case errors.As(err, &address):
		remedy = "'--goldmane' must be host:port, like goldmane.calico-system.svc:7443"
	case errors.As(err, &name):
		remedy = "the name is known inside the cluster only; from outside: `kubectl port-forward -n calico-system svc/goldmane 7443`, then --goldmane 127.0.0.1:7443 --goldmane-server-name goldmane.calico-system.svc"
	}
	s.fail("reach", remedy, "%v", err)
	return false
}

// name is the name that Goldmane's certificate must have.
func (g *Goldmane) name() string {
	if g.ServerName != "" {
		return g.ServerName
	}
	host, _, err := net.SplitHostPort(g.Endpoint)
	if err != nil {
		return g.Endpoint
	}
	return host
}

func (g *Goldmane) plaintext() bool { return g.CAFile == "" && g.CertFile == "" && g.KeyFile == "" }

const (
	caRemedy     = "--goldmane-ca must hold the authority of Goldmane's certificate: tigera-ca-bundle.crt of the ConfigMap goldmane-ca-bundle in calico-system"
	clientRemedy = "--goldmane-cert and --goldmane-key must be a client certificate that Goldmane's authority has signed: examples/kubernetes.yaml says how to come by one"
	renewClient  = "renew the client certificate: examples/kubernetes.yaml has one that renews itself, with cert-manager"
	renewServer  = "the Tigera operator renews it by itself, and Goldmane reads it when it starts: `kubectl rollout restart -n calico-system deployment/goldmane`"
)

// handshake makes one TLS connection and says what there is to say about both sides'
// certificates. It returns how to connect, and whether that is any good.
func (g *Goldmane) handshake(ctx context.Context, clock clockwork.Clock, s *section) (credentials.TransportCredentials, bool) {
	roots, pair, ok := g.files(clock, s)
	if !ok {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	look := &tls.Config{
		ServerName: g.name(), NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
		// What is wrong with a certificate can be told only if the handshake goes on. It is
		// verified below, and nothing is sent on this connection.
		InsecureSkipVerify: true, //nolint:gosec // see above
	}
	if pair != nil {
		// Not Certificates: that would keep back one that the server's authorities do not fit.
		look.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	raw, err := (&tls.Dialer{Config: look}).DialContext(ctx, "tcp", g.Endpoint)
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &plain) && g.plaintext():
		s.warn("tls", "nodes' flows and ours can be read on the way; give Goldmane its certificate", "it speaks plaintext")
		return insecure.NewCredentials(), true
	case errors.As(err, &plain):
		s.fail("tls", "leave --goldmane-ca, --goldmane-cert and --goldmane-key out, and set 'tls::insecure' in the receiver; or give Goldmane its certificate", "it speaks plaintext, or something else than TLS")
		return nil, false
	case err != nil:
		s.refused(err)
		return nil, false
	}
	conn, isTLS := raw.(*tls.Conn)
	if !isTLS {
		s.fail("tls", "", "a connection that is none of TLS: %T", raw)
		return nil, false
	}
	defer func() { _ = conn.Close() }() // it was only looked at
	state := conn.ConnectionState()
	leaf := state.PeerCertificates[0]
	s.dates("server certificate", "Goldmane's certificate", leaf.NotBefore, leaf.NotAfter, clock.Now(), renewServer)
	if !s.trusted(g, &state, roots, clock) {
		return nil, false
	}
	// TLS 1.3 tells a client after the handshake what it thinks of its certificate. A gRPC
	// server speaks first.
	if deadline, has := ctx.Deadline(); has {
		if err := conn.SetReadDeadline(deadline); err != nil {
			s.fail("tls", "", "%v", err)
			return nil, false
		}
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		s.refused(err)
		return nil, false
	}
	s.ok("tls", "%s, both sides accepted", tls.VersionName(state.Version))
	use := &tls.Config{ServerName: g.name(), RootCAs: roots, MinVersion: tls.VersionTLS12, Time: clock.Now}
	if pair != nil {
		use.Certificates = []tls.Certificate{*pair}
	}
	return credentials.NewTLS(use), true
}

// files reads the files of TLS.
func (g *Goldmane) files(clock clockwork.Clock, s *section) (roots *x509.CertPool, pair *tls.Certificate, ok bool) {
	if g.CAFile != "" {
		text, err := os.ReadFile(g.CAFile)
		if err != nil {
			s.fail("tls", caRemedy, "%v", err)
			return nil, nil, false
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			s.fail("tls", caRemedy, "%s holds no certificate", g.CAFile)
			return nil, nil, false
		}
	}
	if g.CertFile == "" && g.KeyFile == "" {
		if !g.plaintext() {
			s.warn("client certificate", clientRemedy, "none is given; a Goldmane of the Tigera operator asks for one")
		}
		return roots, nil, true
	}
	loaded, err := tls.LoadX509KeyPair(g.CertFile, g.KeyFile)
	if err != nil {
		s.fail("client certificate", clientRemedy, "%v", err)
		return nil, nil, false
	}
	leaf := loaded.Leaf
	s.dates("client certificate", g.CertFile, leaf.NotBefore, leaf.NotAfter, clock.Now(), renewClient)
	return roots, &loaded, true
}

// trusted checks that Goldmane's certificate is what it should be.
func (s *section) trusted(g *Goldmane, state *tls.ConnectionState, roots *x509.CertPool, clock clockwork.Clock) bool {
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: g.name(), Roots: roots, Intermediates: between, CurrentTime: clock.Now()})
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return true
	case errors.As(err, &host):
		s.fail("tls", "give --goldmane-server-name goldmane.calico-system.svc (in the receiver: 'tls::server_name_override')", "%v", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		s.fail("tls", renewServer+"; or mend this machine's clock", "%v", err)
	case errors.As(err, &authority):
		s.fail("tls", caRemedy, "%v", err)
	default:
		s.fail("tls", caRemedy, "%v", err)
	}
	return false
}

// alerts tell from the text of a server's alert, whose type crypto/tls keeps to itself,
// what it has against us.
var alerts = []struct{ text, remedy string }{
	{"certificate required", "Goldmane asks for a client certificate: " + clientRemedy},
	{"expired certificate", "our certificate has ended, says Goldmane: " + renewClient},
	{"unknown certificate authority", clientRemedy},
	{"bad certificate", clientRemedy},
	{"access denied", clientRemedy},
	{"protocol version not supported", "something between us and Goldmane speaks a TLS older than 1.2"},
}

// refused says what a failed handshake means.
func (s *section) refused(err error) {
	remedy := "is it Goldmane? Its log says more"
	for _, alert := range alerts {
		if strings.Contains(err.Error(), alert.text) {
			remedy = alert.remedy
			break
		}
	}
	s.fail("tls", remedy, "%v", err)
}

// failedCall says what a failed call of List means.
func (s *section) failedCall(name string, err error) {
	remedy := "Goldmane answered with an error; its log says more"
	switch status.Code(err) {
	case codes.Unimplemented:
		remedy = "whatever it is at '--goldmane', it is no Goldmane: Calico 3.30 or newer has one, at goldmane.calico-system.svc:7443"
	case codes.DeadlineExceeded:
		remedy = "Goldmane is overloaded, or a reader of its stream has stalled it: `kubectl logs -n calico-system deployment/goldmane` says \"receive channel full\" then; find and end the reader"
	case codes.ResourceExhausted:
		remedy = "one window is more than 256 MiB: raise 'max_recv_msg_size_mib' of the receiver"
	case codes.Unavailable:
		remedy = "is it Goldmane? In a cluster that is at goldmane.calico-system.svc:7443"
	default:
	}
	s.fail(name, remedy, "%v", err)
}
