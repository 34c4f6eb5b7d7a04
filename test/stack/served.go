package stack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// Goldmane asks a Goldmane, without goldtrail's receiver, what a window holds, so that
// what arrived in Loki can be held against it.
type Goldmane struct {
	conn   *grpc.ClientConn
	client goldmane.FlowsClient
}

// Dial connects to a Goldmane: plaintext if files is empty, otherwise mutual TLS, with
// serverName as the name that its certificate must have (the host of addr if "").
func Dial(addr string, files TLSFiles, serverName string) (*Goldmane, error) {
	creds := insecure.NewCredentials()
	if files != (TLSFiles{}) {
		cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		ca, err := os.ReadFile(files.CA)
		if err != nil {
			return nil, fmt.Errorf("CA: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("CA: no certificate in %s", files.CA)
		}
		creds = credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS12})
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20))) // Goldmane sends without a limit
	if err != nil {
		return nil, err
	}
	return &Goldmane{conn, goldmane.NewFlowsClient(conn)}, nil
}

// Close ends the connection.
func (g *Goldmane) Close() error { return g.conn.Close() }

// Window returns the flows that started in [start, end), in seconds since the epoch.
func (g *Goldmane) Window(ctx context.Context, start, end int64) ([]*goldmane.Flow, error) {
	result, err := g.client.List(ctx, &goldmane.FlowListRequest{StartTimeGte: start, StartTimeLt: end})
	if err != nil {
		return nil, fmt.Errorf("list the window at %d: %w", start, err)
	}
	flows := make([]*goldmane.Flow, 0, len(result.Flows))
	for _, row := range result.Flows {
		flows = append(flows, row.GetFlow())
	}
	return flows, nil
}

// Records is the number of records that flows of one window must make. It is counted by
// the rules and not by the receiver's code:
//
//   - flows whose keys differ in the order of their policies only are one;
//   - with merged, each report of a destination goes into a report of a source about the
//     same two ends, port and protocol, as far as there are any that the source allowed.
func Records(flows []*goldmane.Flow, merged bool) (int, error) {
	type sides struct{ sources, destinations int }
	distinct := make(map[string]struct{}, len(flows))
	edges := make(map[string]sides)
	for _, flow := range flows {
		if flow.GetKey() == nil {
			return 0, errors.New("a flow without a key")
		}
		key, err := canonicalKey(flow.GetKey())
		if err != nil {
			return 0, err
		}
		if _, known := distinct[key]; known {
			continue
		}
		distinct[key] = struct{}{}

		edge := edgeOf(flow.GetKey())
		s := edges[edge]
		switch {
		case flow.GetKey().GetReporter() == goldmane.Reporter_Dst:
			s.destinations++
		case flow.GetKey().GetAction() == goldmane.Action_Allow:
			s.sources++
		}
		edges[edge] = s
	}
	n := len(distinct)
	if merged {
		for _, s := range edges {
			n -= min(s.sources, s.destinations)
		}
	}
	return n, nil
}

// canonicalKey is equal for keys that differ only in the order of the policies.
func canonicalKey(k *goldmane.FlowKey) (string, error) {
	rest := proto.CloneOf(k)
	rest.Policies = nil
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(rest)
	if err != nil {
		return "", err
	}
	key := string(b)
	for _, hits := range [][]*goldmane.PolicyHit{k.GetPolicies().GetEnforcedPolicies(), k.GetPolicies().GetPendingPolicies()} {
		var list []string
		for _, hit := range hits {
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(hit)
			if err != nil {
				return "", err
			}
			list = append(list, string(b))
		}
		slices.Sort(list)
		key += fmt.Sprintf("|%q", list)
	}
	return key, nil
}

func edgeOf(k *goldmane.FlowKey) string {
	return strings.Join([]string{
		k.GetSourceType().String(), k.GetSourceNamespace(), k.GetSourceName(),
		k.GetDestType().String(), k.GetDestNamespace(), k.GetDestName(),
		fmt.Sprint(k.GetDestPort()), k.GetProto(),
	}, "|")
}
