package goldmanereceiver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failure is a call of List that failed: why, and what to do about it. It wraps
// gRPC's error.
type failure struct {
	cause  string
	remedy string
	err    error
}

// noConnection reports whether the failure is of the connection, and not of one window.
func (f *failure) noConnection() bool {
	return f.cause == causeUnreachable || f.cause == causeTLS || f.cause == causeTimeout
}

func (f *failure) Error() string {
	return fmt.Sprintf("%v; %s", f.err, f.remedy)
}

func (f *failure) Unwrap() error { return f.err }

// tlsHints tell from the text of a handshake's error, which is all that gRPC hands
// on, what is wrong and which key mends it. The first that matches wins.
var tlsHints = []struct{ text, remedy string }{
	{"first record does not look like a TLS handshake", "the server speaks plaintext: set 'tls::insecure' to true, or give Goldmane its certificate"},
	{"certificate has expired or is not yet valid", "Goldmane's certificate is out of date: renew it, or mend this host's clock"},
	{"certificate signed by unknown authority", "'tls::ca_file' does not hold the authority that signed Goldmane's certificate: in a cluster of the Tigera operator that is tigera-ca-bundle.crt of the ConfigMap goldmane-ca-bundle"},
	{"certificate is valid for", "the host in 'endpoint' is not in Goldmane's certificate: use goldmane.calico-system.svc, or set 'tls::server_name_override'"},
	{"cannot validate certificate for", "the host in 'endpoint' is not in Goldmane's certificate: use goldmane.calico-system.svc, or set 'tls::server_name_override'"},
	{"expired certificate", "Goldmane says that our certificate has expired: renew 'tls::cert_file'"},
	{"certificate required", "Goldmane asks for a client certificate: set 'tls::cert_file' and 'tls::key_file'"},
	{"bad certificate", "Goldmane refuses our certificate: 'tls::cert_file' must chain to Goldmane's authority and allow client authentication"},
	{"unknown certificate authority", "Goldmane does not know who signed our certificate: 'tls::cert_file' must chain to Goldmane's authority"},
	{"authentication handshake failed", "look at 'tls'"},
	// A TLS server closes or garbles a plaintext connection.
	{"error reading server preface", "the server may expect TLS: see 'tls', where 'insecure' is for plaintext only"},
}

// classify says what a failed List means.
func classify(err error, cfg *Config) *failure {
	f := &failure{err: err, cause: causeRefused}
	switch status.Code(err) {
	case codes.ResourceExhausted:
		f.remedy = "Goldmane is out of something; its log says more"
		if strings.Contains(err.Error(), "larger than max") {
			f.cause = causeTooLarge
			f.remedy = fmt.Sprintf("raise 'max_recv_msg_size_mib', which is %d", cfg.MaxRecvMsgSizeMiB)
		}
	case codes.DeadlineExceeded:
		f.cause = causeTimeout
		f.remedy = fmt.Sprintf("Goldmane did not answer in 'list_timeout', %v: it may be overloaded, or a reader of its stream may have stalled it", cfg.ListTimeout)
	case codes.Unavailable:
		f.cause = causeUnreachable
		f.remedy = fmt.Sprintf("is Goldmane running, and may this host reach 'endpoint' %s?", cfg.Endpoint)
		for _, hint := range tlsHints {
			if strings.Contains(err.Error(), hint.text) {
				f.cause, f.remedy = causeTLS, hint.remedy
				break
			}
		}
	default:
		f.remedy = "Goldmane answered with an error; its log says more"
	}
	if errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		f.remedy = "the receiver is shutting down"
	}
	return f
}
