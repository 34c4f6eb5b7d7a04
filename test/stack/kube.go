package stack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

//go:embed audit-policy.yaml
var auditPolicy []byte

// Kube is a Kubernetes API: a kube-apiserver with RBAC, over an etcd of its own. There
// are no controllers, no scheduler and no nodes: what is created stays as it is, and
// pods are bound to no node. Its methods are not safe for concurrent use.
type Kube struct {
	URL   string // https, on loopback
	Etcd  *Etcd
	Token string // of a user in system:masters

	stack  *Stack
	dir    string
	port   uint16
	server *Process
}

// Kube starts etcd and kube-apiserver and returns once the API is ready.
func (s *Stack) Kube(ctx context.Context) (*Kube, error) {
	etcd, err := s.Etcd(ctx)
	if err != nil {
		return nil, err
	}
	ports, err := FreePorts(1)
	if err != nil {
		return nil, err
	}
	k := &Kube{
		URL:   fmt.Sprintf("https://127.0.0.1:%d", ports[0]),
		Etcd:  etcd,
		Token: rand.Text(),
		stack: s,
		dir:   filepath.Join(s.dir, fmt.Sprintf("kube-%d", ports[0])),
		port:  ports[0],
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return nil, err
	}
	key, err := newPrivateKey()
	if err != nil {
		return nil, fmt.Errorf("key that signs service accounts' tokens: %w", err)
	}
	for name, content := range map[string][]byte{
		"audit-policy.yaml":   auditPolicy,
		"service-account.key": key,
		"tokens.csv":          []byte(k.Token + ",admin,admin,system:masters\n"),
	} {
		if err := os.WriteFile(k.file(name), content, 0o600); err != nil {
			return nil, err
		}
	}
	if err := k.Start(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// Start starts the kube-apiserver again after Stop, at the same URL and over the same
// etcd, and returns once the API is ready.
func (k *Kube) Start(ctx context.Context) error {
	server, err := k.stack.start(ctx, "kube-apiserver", "KUBE_APISERVER_BIN", []string{
		"--etcd-servers=" + k.Etcd.URL,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", k.port),
		// The Service "kubernetes" gets this address, and may have none of loopback.
		// Nobody goes there; it is one of those set aside for documentation.
		"--advertise-address=192.0.2.1", "--service-cluster-ip-range=10.96.0.0/16",
		// An authority and a certificate are made where there are none.
		"--cert-dir=" + k.file("certificates"),
		"--token-auth-file=" + k.file("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + k.file("service-account.key"),
		"--service-account-signing-key-file=" + k.file("service-account.key"),
		// It waits for a controller to make each namespace's default ServiceAccount.
		"--disable-admission-plugins=ServiceAccount",
		// Else it ends only when its clients have ended their watches, or after a minute.
		"--shutdown-watch-termination-grace-period=5s",
		// Blocking: a request is in the log before it is answered. And the log is one
		// file, however large (in MB).
		"--audit-policy-file=" + k.file("audit-policy.yaml"), "--audit-log-path=" + k.auditLog(),
		"--audit-log-mode=blocking", "--audit-log-maxsize=10000",
	}, nil, func(ctx context.Context, _ *Process) error { return k.ready(ctx) })
	if err != nil {
		return err
	}
	k.server = server
	return nil
}

// Stop ends the kube-apiserver, and not etcd.
func (k *Kube) Stop() error { return k.server.Stop() }

// ForgetCA makes the kube-apiserver have another authority when it starts again.
func (k *Kube) ForgetCA() error { return os.RemoveAll(k.file("certificates")) }

// CAFile is the path of the authority that the API's certificate is of, in PEM.
func (k *Kube) CAFile() string {
	// kube-apiserver writes both into one file: the certificate, then the authority.
	return filepath.Join(k.file("certificates"), "apiserver.crt")
}

// Kubeconfig writes a kubeconfig to path with the API's URL, the authority that it has
// now, and a token.
func (k *Kube) Kubeconfig(path, token string) error {
	ca, err := os.ReadFile(k.CAFile())
	if err != nil {
		return err
	}
	type named = map[string]any
	config, err := json.Marshal(named{ // which is YAML too
		"apiVersion": "v1", "kind": "Config", "current-context": "test",
		"clusters": []named{{"name": "test", "cluster": named{"server": k.URL, "certificate-authority-data": ca}}},
		"users":    []named{{"name": "test", "user": named{"token": token}}},
		"contexts": []named{{"name": "test", "context": named{"cluster": "test", "user": "test"}}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, config, 0o600)
}

// get asks the API for a path as the administrator. The caller closes the answer's body;
// its status is 200.
func (k *Kube) get(ctx context.Context, path string) (*http.Response, error) {
	ca, err := os.ReadFile(k.CAFile())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s", k.CAFile())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.URL+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+k.Token)
	// The authority may be another one the next time.
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s%s answers %s", k.URL, path, resp.Status), resp.Body.Close())
	}
	return resp, nil
}

// Metric adds up those series of one of the kube-apiserver's metrics that have all of the
// labels, each written as in the text format: resource="pods". It is 0 where there is none
// yet.
func (k *Kube) Metric(ctx context.Context, name string, labels ...string) (float64, error) {
	resp, err := k.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	return sumOfSeries(resp.Body, name+"{", labels...)
}

func (k *Kube) ready(ctx context.Context) error {
	resp, err := k.get(ctx, "/readyz")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (k *Kube) file(name string) string { return filepath.Join(k.dir, name) }

func (k *Kube) auditLog() string { return k.file("audit.log") }

func newPrivateKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
