package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// window is Goldmane's, in seconds.
const window = 15

// loader pushes records of one stream to Loki, batch by batch.
type loader struct {
	url, cluster, stream string
	logs                 plog.Logs
	records              plog.LogRecordSlice
	sent                 int
}

func newLoader(url, cluster, stream string) *loader {
	l := &loader{url: url, cluster: cluster, stream: stream}
	l.reset()
	return l
}

func (l *loader) reset() {
	l.logs = plog.NewLogs()
	resource := l.logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(flowlog.ServiceName, l.stream)
	resource.Resource().Attributes().PutStr(flowlog.ClusterName, l.cluster)
	l.records = resource.ScopeLogs().AppendEmpty().LogRecords()
}

// batch is how many records a push has: Loki hands 4 MB on at once, by default.
const batch = 4000

// next is where the next record goes.
func (l *loader) next(ctx context.Context) (plog.LogRecord, error) {
	if l.records.Len() == batch {
		if err := l.flush(ctx); err != nil {
			return plog.LogRecord{}, err
		}
	}
	return l.records.AppendEmpty(), nil
}

func (l *loader) flush(ctx context.Context) error {
	if l.records.Len() == 0 {
		return nil
	}
	body, err := plogotlp.NewExportRequestFromLogs(l.logs).MarshalProto()
	if err != nil {
		return err
	}
	var zipped bytes.Buffer
	w, err := gzip.NewWriterLevel(&zipped, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, l.push(ctx, zipped.Bytes()) },
		backoff.WithMaxElapsedTime(time.Minute))
	if err != nil {
		return err
	}
	l.sent += l.records.Len()
	l.reset()
	return nil
}

// push sends a batch. What a Loki on a busy machine cannot take just now is worth another
// try; what it refuses is not.
func (l *loader) push(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/otlp/v1/logs", bytes.NewReader(body))
	if err != nil {
		return backoff.Permanent(err)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	if err != nil {
		return err
	}
	if resp.StatusCode < 300 {
		return nil
	}
	err = fmt.Errorf("a push of %s: Loki answers %s: %s", l.stream, resp.Status, answer)
	if resp.StatusCode < 500 {
		return backoff.Permanent(err)
	}
	return err
}

// edge is an edge and the flows that make it.
type edge struct {
	flowlog.Edge
	flows []flowlog.Flow
}

// edgesOf is a cluster's map: n edges among n/7 namespaces, one in twenty denied, one in
// fifteen from or to the internet.
func edgesOf(n int, seed uint64) []edge {
	rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the same data for the same seed
	services := max(n/7, 2)
	known := map[flowlog.Edge]struct{}{}
	edges := make([]edge, 0, n)
	for len(edges) < n {
		source, destination := fmt.Sprintf("team-%03d", rng.IntN(services)), fmt.Sprintf("team-%03d", rng.IntN(services))
		e := edge{Edge: flowlog.Edge{Source: source, Destination: destination, Port: []int64{80, 443, 5432, 6379, 8080, 9090}[rng.IntN(6)], Transport: "tcp", Action: flowlog.ActionAllow}}
		from := flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: source}
		to := flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: destination}
		reporter := flowlog.ReporterBoth
		switch len(edges) % 15 {
		case 3:
			e.Destination, to, reporter = "internet", flowlog.Endpoint{Type: flowlog.TypeNetwork, Name: flowlog.NetworkPublic}, flowlog.ReporterSource
		case 7:
			e.Source, from, reporter = "internet", flowlog.Endpoint{Type: flowlog.TypeNetwork, Name: flowlog.NetworkPublic}, flowlog.ReporterDestination
		}
		if len(edges)%20 == 11 {
			e.Action = flowlog.ActionDeny
		}
		if _, twice := known[e.Edge]; twice {
			continue
		}
		known[e.Edge] = struct{}{}
		for i := range 1 + len(edges)%3 {
			if from.Type == flowlog.TypeWorkload {
				from.Name = fmt.Sprintf("%s-worker-%d-*", source, i)
			}
			if to.Type == flowlog.TypeWorkload {
				to.Name = destination + "-api-7d4b9c5f6-*"
			}
			egress := "np:default/" + source + "/allow-egress#0=allow"
			ingress := "np:default/" + destination + "/allow-from-" + source + "#0=" + e.Action
			e.flows = append(e.flows, flowlog.Flow{
				Source: from, Destination: to, Transport: "tcp", Port: e.Port, Action: e.Action, Reporter: reporter, Counts: true,
				Service:      flowlog.Service{Namespace: destination, Name: "api", PortName: "http", Port: e.Port},
				SourceAction: flowlog.ActionAllow, DestinationAction: e.Action, Deciding: ingress, Egress: egress, Ingress: ingress,
			})
		}
		edges = append(edges, e)
	}
	return edges
}

// loadFlows loads raw records of [from, to), perSecond of them.
func loadFlows(ctx context.Context, l *loader, edges []edge, from, to int64, perSecond int) error {
	rng := rand.New(rand.NewPCG(uint64(from), 2)) //nolint:gosec // the same data for the same seed
	type flowOf struct{ edge, flow int }
	var all []flowOf
	for i := range edges {
		for j := range edges[i].flows {
			all = append(all, flowOf{i, j})
		}
	}
	buf := make([]byte, 0, 512)
	for start := from; start < to; start += window {
		first := rng.IntN(len(all))
		for i := range perSecond * window {
			at := all[(first+i)%len(all)]
			f := edges[at.edge].flows[at.flow]
			f.Start, f.End = start, start+window
			f.Counters = flowlog.Counters{SourcePackets: 2 + rng.Int64N(100), DestinationPackets: 2 + rng.Int64N(100), ConnectionsStarted: rng.Int64N(9), ConnectionsLive: rng.Int64N(3)}
			f.SourceBytes, f.DestinationBytes = f.SourcePackets*(60+rng.Int64N(900)), f.DestinationPackets*(60+rng.Int64N(900))
			if i >= len(all) {
				f.SourceAction = fmt.Sprint("round-", i/len(all)) // another key
			}
			line, key := f.AppendLine(buf[:0])
			lr, err := l.next(ctx)
			if err != nil {
				return err
			}
			lr.Body().SetStr(string(line))
			lr.SetTimestamp(pcommon.NewTimestampFromTime(flowlog.Timestamp(f.Start, f.End, key)))
			m := lr.Attributes()
			m.PutStr(flowlog.SourceIdentity, edges[at.edge].Source)
			m.PutStr(flowlog.DestinationIdentity, edges[at.edge].Destination)
			m.PutStr(flowlog.FlowService, f.Service.Namespace+"/api:http:"+strconv.FormatInt(f.Port, 10))
			m.PutStr(flowlog.PolicyEgress, f.Egress)
			m.PutStr(flowlog.PolicyIngress, f.Ingress)
		}
	}
	return l.flush(ctx)
}

// loadRollups loads rollups of every edge and interval in [from, to).
func loadRollups(ctx context.Context, l *loader, edges []edge, from, to, interval int64) error {
	rng := rand.New(rand.NewPCG(uint64(from), 3)) //nolint:gosec // the same data for the same seed
	for start := from; start+interval <= to; start += interval {
		for i := range edges {
			e := &edges[i]
			r := flowlog.Rollup{
				Edge: e.Edge, Start: start, End: start + interval, Final: true, Sequence: interval / window, AsOf: start + interval,
				Windows: interval/window - rng.Int64N(20), Complete: interval / window, Total: interval / window, First: start + window*rng.Int64N(10), Last: start + interval,
				Policies: []string{e.flows[0].Deciding},
			}
			r.Flows = r.Windows * int64(len(e.flows))
			r.SourcePackets, r.DestinationPackets, r.ConnectionsStarted, r.ConnectionsCompleted = rng.Int64N(100000), rng.Int64N(100000), rng.Int64N(900), rng.Int64N(900)
			r.SourceBytes, r.DestinationBytes = r.SourcePackets*400, r.DestinationPackets*300
			lr, err := l.next(ctx)
			if err != nil {
				return err
			}
			r.WriteTo(lr)
			lr.Attributes().Clear()
		}
		lr, err := l.next(ctx)
		if err != nil {
			return err
		}
		c := flowlog.Closing{Start: start, End: start + interval, Sequence: interval, Edges: int64(len(edges)), Complete: interval / window, Total: interval / window}
		c.WriteTo(lr)
		lr.Attributes().Clear()
	}
	return l.flush(ctx)
}

// loadCoverage loads both coverage records of every window in [from, to).
func loadCoverage(ctx context.Context, l *loader, from, to int64) error {
	for start := from; start < to; start += window {
		for _, final := range []bool{false, true} {
			c := flowlog.Coverage{Start: start, End: start + window, Status: flowlog.StatusComplete, Final: final, Flows: 1400, Records: 975, Merged: 425}
			lr, err := l.next(ctx)
			if err != nil {
				return err
			}
			c.WriteTo(lr)
		}
	}
	return l.flush(ctx)
}
