package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wanted is what a check must say; "" in remedy is none at all.
type wanted struct {
	status         Status
	detail, remedy string
}

func requireCheck(t *testing.T, checks []Check, name string, want wanted) {
	t.Helper()
	for _, c := range checks {
		if c.Name != name {
			continue
		}
		require.Equal(t, want.status, c.Status, "%+v", c)
		require.Contains(t, c.Detail, want.detail)
		require.Contains(t, c.Remedy, want.remedy)
		needs := c.Status == Warning || c.Status == Failure
		require.Equal(t, needs, c.Remedy != "", "what is wrong has a remedy, and nothing else: %+v", c)
		return
	}
	require.Fail(t, "no check "+name, "%+v", checks)
}

// authority signs certificates.
type authority struct {
	dir, file string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(1000 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.file = a.write(t, "ca.crt", "CERTIFICATE", der)
	return a
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

// issue signs a certificate for both ends that ends in so long.
func (a *authority) issue(t *testing.T, name string, left time.Duration) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-23 * time.Hour), NotAfter: time.Now().Add(left),
		DNSNames: []string{"goldmane.calico-system.svc"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	return a.write(t, name+".crt", "CERTIFICATE", der), a.write(t, name+".key", "PRIVATE KEY", keyDER)
}

// server is a simulated Goldmane whose clock stands still, with what it was asked.
type server struct {
	*sim.Goldmane
	address string
	now     int64

	mu    sync.Mutex // guards asked and on
	asked []*goldmane.FlowListRequest
	other []string // methods that are not List
	on    func()   // is run with every call
}

// serve runs it; with an authority, over mutual TLS with a certificate that ends in left.
func serve(t *testing.T, now time.Time, window time.Duration, a *authority, left time.Duration) *server {
	t.Helper()
	s := &server{Goldmane: sim.New(sim.Options{Clock: clockwork.NewFakeClockAt(now), Window: window}), now: now.Unix()}
	options := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if r, is := req.(*goldmane.FlowListRequest); is {
				s.asked = append(s.asked, r)
			} else {
				s.other = append(s.other, info.FullMethod)
			}
			if s.on != nil {
				s.on()
			}
			return handler(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(_ any, _ grpc.ServerStream, info *grpc.StreamServerInfo, _ grpc.StreamHandler) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.other = append(s.other, info.FullMethod)
			return nil
		}),
	}
	if a != nil {
		cert, key := a.issue(t, "server", left)
		conf, err := sim.MutualTLS(cert, key, a.file)
		require.NoError(t, err)
		options = append(options, grpc.Creds(credentials.NewTLS(conf)))
	}
	g := grpc.NewServer(options...)
	s.Register(g)
	s.address = listen(t, g)
	t.Cleanup(s.Stop)
	return s
}

// listen runs a gRPC server until the test's end.
func listen(t *testing.T, g *grpc.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		require.NoError(t, <-done)
	})
	return l.Addr().String()
}

// traffic pushes a flow into each of the windows from..to windows back.
func (s *server) traffic(from, to int64, hits ...*goldmane.PolicyHit) {
	for back := from; back <= to; back++ {
		start := s.now - s.now%window - back*window
		s.Push(&goldmane.Flow{
			Key: &goldmane.FlowKey{
				SourceName: "web-*", SourceNamespace: "web", SourceType: goldmane.EndpointType_WorkloadEndpoint,
				DestName: "api-*", DestNamespace: "payments", DestType: goldmane.EndpointType_WorkloadEndpoint, DestPort: 443,
				Proto: "tcp", Reporter: goldmane.Reporter_Src, Action: goldmane.Action_Allow,
				Policies: &goldmane.PolicyTrace{EnforcedPolicies: hits},
			},
			StartTime: start, EndTime: start + window, BytesIn: 1, PacketsIn: 1,
		})
	}
}

func examineGoldmane(t *testing.T, g *Goldmane, clock clockwork.Clock) []Check {
	t.Helper()
	s := &section{area: AreaGoldmane}
	g.examine(t.Context(), clock, s)
	return s.checks
}

const year = 365 * 24 * time.Hour

// All is well, and what was asked is safe: List only, of one window each that is over and
// aligned, and no negative page.
func TestGoldmaneIsWell(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	now := time.Now()
	s := serve(t, now, 0, a, year)
	s.traffic(1, kept)
	cert, key := a.issue(t, "client", year)
	g := &Goldmane{Endpoint: s.address, CAFile: a.file, CertFile: cert, KeyFile: key, ServerName: "goldmane.calico-system.svc"}
	checks := examineGoldmane(t, g, clockwork.NewFakeClockAt(now))
	requireCheck(t, checks, "reach", wanted{OK, s.address, ""})
	requireCheck(t, checks, "tls", wanted{OK, "TLS 1.3, both sides accepted", ""})
	requireCheck(t, checks, "server certificate", wanted{OK, "for 364 days", ""})
	requireCheck(t, checks, "client certificate", wanted{OK, "for 364 days", ""})
	requireCheck(t, checks, "flows", wanted{OK, "1 in the window of", ""})
	requireCheck(t, checks, "version", wanted{Skipped, "nothing in 1 flows", ""})
	requireCheck(t, checks, "ring", wanted{OK, "238 windows of the 240", ""})
	requireCheck(t, checks, "clock", wanted{OK, "within 30 s", ""})
	requireCheck(t, checks, "flush interval", wanted{Skipped, "too few to tell", ""})
	requireCheck(t, checks, "metrics", wanted{Skipped, "--goldmane-metrics", ""})
	require.Len(t, checks, 10)

	require.Empty(t, s.other)
	require.NotEmpty(t, s.asked)
	for _, r := range s.asked {
		assert.Equal(t, int64(window), r.StartTimeLt-r.StartTimeGte)
		assert.Zero(t, r.StartTimeGte%window)
		assert.Positive(t, r.StartTimeGte)
		assert.LessOrEqual(t, r.StartTimeLt+window, s.now, "not sealed")
		assert.Zero(t, r.Page)
		assert.Positive(t, r.PageSize)
	}
}

func TestGoldmaneConnection(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	now := time.Now()
	good, plain, ending, over := serve(t, now, 0, a, year), serve(t, now, 0, nil, 0), serve(t, now, 0, a, 10*24*time.Hour), serve(t, now, 0, a, -time.Hour)
	cert, key := a.issue(t, "client", year)
	soonCert, soonKey := a.issue(t, "soon", 13*24*time.Hour)
	oldCert, oldKey := a.issue(t, "old", -time.Hour)
	otherCert, otherKey := other.issue(t, "client", year)
	const name = "goldmane.calico-system.svc"
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, []byte("nothing"), 0o600))
	nobody := grpc.NewServer()
	notGoldmane := listen(t, nobody)
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)

	for _, tt := range []struct {
		name  string
		g     Goldmane
		check string
		want  wanted
	}{
		{"nobody there", Goldmane{Endpoint: "127.0.0.1:1"}, "reach", wanted{Failure, "refused", "port-forward"}},
		{"no port", Goldmane{Endpoint: "goldmane"}, "reach", wanted{Failure, "missing port", "must be host:port"}},
		{"server's ends soon", Goldmane{Endpoint: ending.address, CAFile: a.file, CertFile: cert, KeyFile: key, ServerName: name}, "server certificate", wanted{Warning, "ends at", "rollout restart"}},
		{"server's has ended", Goldmane{Endpoint: over.address, CAFile: a.file, CertFile: cert, KeyFile: key, ServerName: name}, "server certificate", wanted{Failure, "ended at", "rollout restart"}},
		{"client's ends soon", Goldmane{Endpoint: good.address, CAFile: a.file, CertFile: soonCert, KeyFile: soonKey, ServerName: name}, "client certificate", wanted{Warning, "ends at", "renew the client certificate"}},
		{"client's has ended", Goldmane{Endpoint: good.address, CAFile: a.file, CertFile: oldCert, KeyFile: oldKey, ServerName: name}, "tls", wanted{Failure, "expired certificate", "renew the client certificate"}},
		{"wrong name", Goldmane{Endpoint: good.address, CAFile: a.file, CertFile: cert, KeyFile: key}, "tls", wanted{Failure, "127.0.0.1", "--goldmane-server-name"}},
		{"another authority", Goldmane{Endpoint: good.address, CAFile: other.file, CertFile: cert, KeyFile: key, ServerName: name}, "tls", wanted{Failure, "unknown authority", "--goldmane-ca"}},
		{"no client certificate", Goldmane{Endpoint: good.address, CAFile: a.file, ServerName: name}, "tls", wanted{Failure, "certificate required", "--goldmane-cert"}},
		{"client's of another authority", Goldmane{Endpoint: good.address, CAFile: a.file, CertFile: otherCert, KeyFile: otherKey, ServerName: name}, "tls", wanted{Failure, "tls:", "--goldmane-cert"}},
		{"no files", Goldmane{Endpoint: good.address, ServerName: name}, "tls", wanted{Failure, "unknown authority", "--goldmane-ca"}},
		{"CA is not there", Goldmane{Endpoint: good.address, CAFile: "nothere.pem"}, "tls", wanted{Failure, "nothere.pem", "goldmane-ca-bundle"}},
		{"CA is none", Goldmane{Endpoint: good.address, CAFile: empty}, "tls", wanted{Failure, "holds no certificate", "goldmane-ca-bundle"}},
		{"key is another's", Goldmane{Endpoint: good.address, CAFile: a.file, CertFile: cert, KeyFile: otherKey}, "client certificate", wanted{Failure, "private key does not match", "--goldmane-key"}},
		{"plaintext", Goldmane{Endpoint: plain.address}, "tls", wanted{Warning, "plaintext", "give Goldmane its certificate"}},
		{"plaintext, with files", Goldmane{Endpoint: plain.address, CAFile: a.file, CertFile: cert, KeyFile: key}, "tls", wanted{Failure, "plaintext", "'tls::insecure'"}},
		{"another gRPC server", Goldmane{Endpoint: notGoldmane}, "flows", wanted{Failure, "unknown service", "it is no Goldmane"}},
		{"a web server", Goldmane{Endpoint: strings.TrimPrefix(web.URL, "http://")}, "flows", wanted{Failure, "Unavailable", "Goldmane"}},
		{"no flows", Goldmane{Endpoint: good.address, CAFile: a.file, CertFile: cert, KeyFile: key, ServerName: name}, "flows", wanted{Warning, "has none", "FELIX_FLOWLOGSGOLDMANESERVER"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			requireCheck(t, examineGoldmane(t, &tt.g, clockwork.NewFakeClockAt(now)), tt.check, tt.want)
		})
	}
	requireCheck(t, examineGoldmane(t, nil, clockwork.NewFakeClockAt(now)), "reach", wanted{Skipped, "--goldmane host:port", ""})
}

func TestGoldmaneRing(t *testing.T) {
	t.Parallel()
	hit := func(kind goldmane.PolicyKind, index int64) *goldmane.PolicyHit {
		return &goldmane.PolicyHit{Kind: kind, Name: "p", Tier: "default", Action: goldmane.Action_Allow, PolicyIndex: index}
	}
	for _, tt := range []struct {
		name string
		// ahead is how far Goldmane's clock is ahead of ours.
		ahead    time.Duration
		from, to int64 // windows back, on Goldmane's clock
		hits     []*goldmane.PolicyHit
		check    string
		want     wanted
	}{
		{"has just started", 0, 2, 3, nil, "ring", wanted{OK, "2 windows of the 240 that it keeps; it started then", ""}},
		{"of half an hour", 0, 2, 120, nil, "clock", wanted{OK, "whether it is ahead shows", ""}},
		{"behind", -3 * time.Minute, 2, kept, nil, "clock", wanted{Failure, "behind this machine's", "NTP"}},
		{"behind, started now", -3 * time.Minute, 2, 9, nil, "clock", wanted{Warning, "or there was no traffic", "NTP"}},
		{"behind by a window", -15 * time.Second, 2, kept, nil, "clock", wanted{OK, "within 30 s", ""}},
		{"ahead", 3 * time.Minute, 2, kept, nil, "clock", wanted{Warning, "195 s younger than an hour", "NTP"}},
		{"behind by half an hour", -33 * time.Minute, 2, kept - 1, nil, "clock", wanted{Failure, "behind this machine's", "NTP"}},
		{"flows long ago only", 0, 100, 150, nil, "ring", wanted{OK, "windows of the 240", ""}},
		{"3.32", 0, 2, 3, []*goldmane.PolicyHit{hit(goldmane.PolicyKind_ClusterNetworkPolicy, 0)}, "version", wanted{OK, "3.32 or newer", ""}},
		{"3.31", 0, 2, 3, []*goldmane.PolicyHit{hit(goldmane.PolicyKind_AdminNetworkPolicy, 0)}, "version", wanted{OK, "3.31 or older", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			now := time.Unix(1_795_322_344, 0)
			s := serve(t, now.Add(tt.ahead), 0, nil, 0)
			s.traffic(tt.from, tt.to, tt.hits...)
			checks := examineGoldmane(t, &Goldmane{Endpoint: s.address}, clockwork.NewFakeClockAt(now))
			requireCheck(t, checks, tt.check, tt.want)
			require.LessOrEqual(t, len(s.asked), 110, "docs/goldtrail.md says how many")
		})
	}
}

func TestGoldmaneHasOtherWindows(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_795_322_344, 0)
	s := serve(t, now, 5*time.Second, nil, 0)
	s.traffic(2, 3)
	checks := examineGoldmane(t, &Goldmane{Endpoint: s.address}, clockwork.NewFakeClockAt(now))
	requireCheck(t, checks, "window", wanted{Warning, "not of 15 s", "AGGREGATION_WINDOW"})
}

// One that is slow is not asked any more.
func TestGoldmaneIsSlow(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_795_322_344, 0)
	clock := clockwork.NewFakeClockAt(now)
	s := serve(t, now, 0, nil, 0)
	s.traffic(2, kept)
	s.on = func() { clock.Advance(5 * time.Second) }
	checks := examineGoldmane(t, &Goldmane{Endpoint: s.address}, clock)
	requireCheck(t, checks, "ring", wanted{Warning, "a List of one window took 5s", "overloaded"})
	require.Len(t, s.asked, 1)
}

// The simulator orders policies, as later versions do.
func TestGoldmaneOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	s := &section{}
	trace := &goldmane.PolicyTrace{EnforcedPolicies: []*goldmane.PolicyHit{{PolicyIndex: 1}, {PolicyIndex: 0}}}
	(&ring{}).version(s, []*goldmane.FlowResult{{Flow: &goldmane.Flow{Key: &goldmane.FlowKey{Policies: trace}}}})
	requireCheck(t, s.checks, "version", wanted{OK, "older than 3.31.5", ""})
}
