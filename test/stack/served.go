package stack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

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

// Records is how many records flows of one window make, counted by the rules and not by the
// receiver's code: flows of one reporter about the same two ends, port and protocol that
// differ in their policies only are one record, which is most. With merged, a report of a
// destination's goes into one of a source's where both are in the window and what is known
// of the windows beside it lets them be the same traffic: least is where all do that can.
func Records(flows []*goldmane.Flow, merged bool) (least, most int, err error) {
	type sides struct{ sources, destinations int }
	reports := make(map[string]struct{}, len(flows))
	pairs := make(map[string]sides)
	for _, flow := range flows {
		k := flow.GetKey()
		if k == nil {
			return 0, 0, errors.New("a flow without a key")
		}
		report := ReportOf(k)
		if _, known := reports[report]; known {
			continue
		}
		reports[report] = struct{}{}
		pair := edgeOf(k)
		s := pairs[pair]
		switch {
		case k.GetReporter() == goldmane.Reporter_Dst:
			s.destinations++
		case k.GetAction() == goldmane.Action_Allow:
			s.sources++ // what the source denied never reached the destination
		}
		pairs[pair] = s
	}
	least = len(reports)
	if merged {
		for _, s := range pairs {
			least -= min(s.sources, s.destinations)
		}
	}
	return least, len(reports), nil
}

// ReportOf is equal for the keys of one window that differ in their policies only.
func ReportOf(k *goldmane.FlowKey) string {
	return strings.Join([]string{
		edgeOf(k), k.GetReporter().String(), k.GetAction().String(),
		k.GetDestServiceNamespace(), k.GetDestServiceName(), k.GetDestServicePortName(), fmt.Sprint(k.GetDestServicePort()),
	}, "|")
}

func edgeOf(k *goldmane.FlowKey) string {
	return strings.Join([]string{
		k.GetSourceType().String(), k.GetSourceNamespace(), k.GetSourceName(),
		k.GetDestType().String(), k.GetDestNamespace(), k.GetDestName(),
		fmt.Sprint(k.GetDestPort()), k.GetProto(),
	}, "|")
}
