package svcidprocessor

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/connrotation"
)

// The shared bound of what the look-ups may ask of the API server: three requests for
// each multi-Service namespace at the start, and then a watch's renewal every five to ten
// minutes. client-go's default of 5 a second would take 18 s for 30 namespaces.
const (
	requestsPerSecond = 20
	requestBurst      = 40
)

// api is the way to the Kubernetes API: metadata, read-only. Safe for concurrent use.
type api struct {
	load func() (*rest.Config, error)
	// dialer knows all connections, so that none is left at the end. dial is one and the
	// same for client-go to know its transports by.
	dialer *connrotation.Dialer
	dial   *transport.DialHolder

	mu     sync.Mutex // guards client
	client metadata.Interface
}

// newAPI reads what it needs to connect, and does not connect.
func newAPI(cfg *KubernetesConfig, userAgent string) (*api, error) {
	a := dialledAPI()
	a.load = func() (*rest.Config, error) { return restConfig(cfg, userAgent) }
	if err := a.renew(); err != nil {
		return nil, err
	}
	return a, nil
}

// dialledAPI is one that does not know yet where to go.
func dialledAPI() *api {
	dialer := connrotation.NewDialer((&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext)
	return &api{dialer: dialer, dial: &transport.DialHolder{Dial: dialer.DialContext}}
}

// restConfig reads tokens, certificates and addresses from where auth_type says.
func restConfig(cfg *KubernetesConfig, userAgent string) (*rest.Config, error) {
	var to *rest.Config
	var err error
	switch cfg.AuthType {
	case AuthNone:
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, errors.New("'kubernetes::auth_type' is none: needs KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT in the environment; set them to where the API is served in plain HTTP")
		}
		to = &rest.Config{Host: "http://" + net.JoinHostPort(host, port)}
	case AuthKubeConfig:
		to, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{CurrentContext: cfg.Context}).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("'kubernetes::auth_type' is kubeConfig: needs the file that $KUBECONFIG names, or ~/.kube/config, with the context that 'kubernetes::context' names: %w", err)
		}
	case AuthServiceAccount:
		to, err = rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("'kubernetes::auth_type' is serviceAccount: needs to run in a Pod with automountServiceAccountToken: true; elsewhere use kubeConfig: %w", err)
		}
	}
	to.UserAgent = userAgent
	to.QPS, to.Burst = requestsPerSecond, requestBurst
	// Deprecations of what we only read; by default they go to stderr.
	to.WarningHandlerWithContext = rest.NoWarnings{}
	return to, nil
}

// renew reads the configuration again. A certificate authority is rotated and a
// kubeconfig is written anew while we run; client-go itself follows tokens and client
// certificates only. Where nothing has changed client-go gives the same transport.
func (a *api) renew() error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	through, err := cfg.TransportConfig()
	if err != nil {
		return err
	}
	through.DialHolder = a.dial
	roundTripper, err := transport.New(through)
	if err != nil {
		return err
	}
	client, err := metadata.NewForConfigAndClient(cfg, &http.Client{Transport: roundTripper})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.client = client
	return nil
}

func (a *api) get() metadata.Interface {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.client
}

// close ends all connections.
func (a *api) close() {
	a.dialer.CloseAll()
}
