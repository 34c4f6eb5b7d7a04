package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/rogpeppe/go-internal/testscript"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// now is the present of every script.
var now = time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"goldtrail": func() {
		e := newEnvironment()
		e.clock, e.zone = clockwork.NewFakeClockAt(now), time.UTC
		e.terminal = os.Getenv("TERMINAL") != ""
		os.Exit(run(context.Background(), e, os.Args[1:]))
	}})
}

// TestScripts runs every script of testdata/script. Answers come from trail.jsonl, which
// writeTrail makes; a stand-in for Loki gives the statuses that a real one is hard to be
// brought to. That the answers from a real Loki are right, test/e2e shows.
func TestScripts(t *testing.T) {
	t.Parallel()
	statuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(filepath.Base(r.PathValue("status")))
		if err != nil {
			status = http.StatusNotFound
		}
		http.Error(w, "because", status)
	}))
	mux := http.NewServeMux()
	mux.Handle("/{status}/", statuses.Config.Handler)
	statuses.Config.Handler = mux
	t.Cleanup(statuses.Close)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("STAND_IN", statuses.URL)
			return writeTrail(e.WorkDir)
		},
	})
}

// writeTrail writes trail.jsonl: an hour of a small cluster as the Collector's file
// exporter has it, from 02:30 to 03:30, with a gap; two.jsonl, with a second cluster
// behind it; torn.jsonl, which ends amid a line; later.jsonl, with a record of a later
// version; old.jsonl, of the first version; verdicts.jsonl, which has all that is not plainly
// allowed or denied; foreign.jsonl, with an identity and a cluster that want to rule the terminal;
// gone.jsonl, which has the coverage only; and wide.jsonl, with all that takes room.
func writeTrail(dir string) error {
	var file, gone bytes.Buffer
	begin := now.Add(-90 * time.Minute).Unix()
	for start := begin; start < begin+3600; start += 15 {
		n := (start - begin) / 15
		if n == 100 {
			gap := flowlog.Gap{From: start, To: start + 13*15, Window: 15, Cause: flowlog.CauseGoldmaneRestart}
			if err := writeBatch(&file, flowlog.StreamCoverage, "east", gap.WriteTo); err != nil {
				return err
			}
		}
		if n >= 100 && n < 113 {
			continue
		}
		batch := []func(plog.LogRecord){flowOf(start, "web", "payments", 443, flowlog.ActionAllow, 1500)}
		if n%10 == 0 {
			batch = append(batch, flowOf(start, "internet", "web", 80, flowlog.ActionAllow, 700))
		}
		if n%60 == 0 {
			batch = append(batch, flowOf(start, "batch", "payments", 5432, flowlog.ActionDeny, 60))
		}
		if n >= 238 {
			batch = append(batch, flowOf(start, "visitor-with-a-very-long-name-indeed", "payments", 22, flowlog.ActionDeny, 40))
		}
		if n < 5 {
			batch = append(batch, flowOf(start, "monitoring/?", "web", 9090, flowlog.ActionAllow, 10))
		}
		if err := writeBatch(&file, flowlog.StreamFlows, "east", batch...); err != nil {
			return err
		}
		c := flowlog.Coverage{Start: start, End: start + 15, Status: flowlog.StatusComplete, Final: true, Records: int64(len(batch))}
		if err := writeBatch(&file, flowlog.StreamCoverage, "east", c.WriteTo); err != nil {
			return err
		}
		if err := writeBatch(&gone, flowlog.StreamCoverage, "east", c.WriteTo); err != nil {
			return err
		}
	}
	whole := file.Bytes()
	var west bytes.Buffer
	if err := writeBatch(&west, flowlog.StreamFlows, "west", flowOf(begin, "a", "b", 1, flowlog.ActionAllow, 1)); err != nil {
		return err
	}
	var later bytes.Buffer
	if err := writeBatch(&later, flowlog.StreamFlows, "east", func(lr plog.LogRecord) {
		lr.SetTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Hour)))
		lr.Body().SetStr("v9 something new")
	}); err != nil {
		return err
	}
	var wide bytes.Buffer
	for _, start := range []int64{begin - 86400, begin, begin + 15} {
		staged := recordOf(start, "a-namespace-with-a-long-name/a-service-of-it", "another-one-of-some-length/with-a-service", 50051, flowlog.ActionAllow, 123456789)
		staged.IngressPending = "np:default/payments/rule#0=deny"
		back := recordOf(start, "another-one-of-some-length/with-a-service", "a-namespace-with-a-long-name/a-service-of-it", 50051, flowlog.ActionDeny, 123456789)
		if err := writeBatch(&wide, flowlog.StreamFlows, "a-cluster-in-some-region", writeFlow(&staged), writeFlow(&back)); err != nil {
			return err
		}
	}
	var old, verdicts bytes.Buffer
	if err := errors.Join(writeOld(&old, begin), writeVerdicts(&verdicts, begin)); err != nil {
		return err
	}
	var foreign bytes.Buffer
	if err := writeBatch(&foreign, flowlog.StreamFlows, "ea\x1bst", flowOf(begin, "web\n\x1b[31mevil", "payments", 443, flowlog.ActionAllow, 1)); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "old.jsonl"), append(old.Bytes(), whole...), 0o600),
		os.WriteFile(filepath.Join(dir, "verdicts.jsonl"), verdicts.Bytes(), 0o600),
		os.WriteFile(filepath.Join(dir, "wide.jsonl"), wide.Bytes(), 0o600),
		os.WriteFile(filepath.Join(dir, "foreign.jsonl"), foreign.Bytes(), 0o600),
		os.WriteFile(filepath.Join(dir, "gone.jsonl"), gone.Bytes(), 0o600),
		os.WriteFile(filepath.Join(dir, "later.jsonl"), append(bytes.Clone(whole), later.Bytes()...), 0o600),
		os.WriteFile(filepath.Join(dir, "trail.jsonl"), whole, 0o600),
		os.WriteFile(filepath.Join(dir, "two.jsonl"), append(bytes.Clone(whole), west.Bytes()...), 0o600),
		os.WriteFile(filepath.Join(dir, "torn.jsonl"), append(bytes.Clone(whole), west.Bytes()[:west.Len()/2]...), 0o600),
	)
}

// writeOld writes a minute before begin as goldtrail's first version did.
func writeOld(w io.Writer, begin int64) error {
	line := func(at int64, text string) func(plog.LogRecord) {
		return func(lr plog.LogRecord) {
			lr.SetTimestamp(pcommon.NewTimestampFromTime(time.Unix(at, 0)))
			lr.Body().SetStr(text)
		}
	}
	for start := begin - 60; start < begin; start += 15 {
		from, to := time.Unix(start, 0).UTC().Format(time.RFC3339), time.Unix(start+15, 0).UTC().Format(time.RFC3339)
		coverage := fmt.Sprintf("window %s %s complete final cause - flows 1 records 1 late 0 merged 0 discarded 0 raised 0", from, to)
		if err := errors.Join(
			writeBatch(w, flowlog.StreamFlows, "east", line(start+1, "v1 allow web/pod-* -> payments/api-* 443/tcp both 1/0 2/1500 1/150 abc")),
			writeBatch(w, flowlog.StreamCoverage, "east", line(start, coverage)),
		); err != nil {
			return err
		}
	}
	return nil
}

// writeVerdicts writes three windows: in the second nodes were silent, and the third may
// still get late flows.
func writeVerdicts(w io.Writer, begin int64) error {
	for n := range int64(3) {
		start := begin + 15*n
		unconfirmed := recordOf(start, "web", "payments", 443, flowlog.ActionUnconfirmed, 1500)
		unconfirmed.Reporter, unconfirmed.DestinationAction, unconfirmed.Ingress = flowlog.ReporterSource, "", ""
		unconfirmed.Egress = "np:default/web/out#0=allow"
		staged := unconfirmed
		staged.Port, staged.EgressPending = 80, "staged-np:web/in#0=deny"
		allowed := recordOf(start, "web", "payments", 443, flowlog.ActionAllow, 1500)
		tunnel := recordOf(start, "web", "mesh", 15008, flowlog.ActionAllow, 900)
		tunnel.Split = 2
		denied := recordOf(start, "web", "vault", 8200, flowlog.ActionDeny, 60)
		again := denied
		again.Reporter, again.SourceAction, again.Counts, again.Late = flowlog.ReporterDestination, "", false, true
		idle := recordOf(start, "idle", "vault", 8200, flowlog.ActionDeny, 0)
		idle.Counts, idle.Counters = false, flowlog.Counters{}
		flows := [][]*flowlog.Flow{{&allowed, &tunnel}, {&unconfirmed, &staged, &tunnel}, {&allowed, &denied, &again, &idle}}[n]
		var batch []func(plog.LogRecord)
		for _, f := range flows {
			batch = append(batch, writeFlow(f))
		}
		c := flowlog.Coverage{Start: start, End: start + 15, Status: flowlog.StatusComplete, Final: n < 2, Records: int64(len(batch)), Pairs: 12}
		if n == 1 {
			c.Status, c.Cause, c.OneSided = flowlog.StatusPartial, flowlog.CauseNodesSilent, 5
		}
		if err := errors.Join(
			writeBatch(w, flowlog.StreamFlows, "east", batch...),
			writeBatch(w, flowlog.StreamCoverage, "east", c.WriteTo),
		); err != nil {
			return err
		}
	}
	return nil
}

// flowOf writes a flow record as the pipeline does.
func flowOf(start int64, source, destination string, port int64, action string, bytes int64) func(plog.LogRecord) {
	f := recordOf(start, source, destination, port, action, bytes)
	return writeFlow(&f)
}

func recordOf(start int64, source, destination string, port int64, action string, bytes int64) flowlog.Flow {
	hit := fmt.Sprintf("np:default/%s/rule#0=%s", destination, action)
	return flowlog.Flow{
		Source:      flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: source, Name: "pod-*"},
		Destination: flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: destination, Name: "api-*"},
		Transport:   "tcp", Port: port, Action: action, Reporter: flowlog.ReporterBoth, Counts: true,
		SourceAction: flowlog.ActionAllow, DestinationAction: action, Deciding: hit, Ingress: hit,
		Start: start, End: start + 15,
		Counters: flowlog.Counters{SourcePackets: 2, SourceBytes: bytes, DestinationPackets: 1, DestinationBytes: bytes / 10, ConnectionsStarted: 1},
	}
}

// writeFlow takes the endpoints' namespaces for identities.
func writeFlow(f *flowlog.Flow) func(plog.LogRecord) {
	return func(lr plog.LogRecord) {
		line, key := f.AppendLine(nil)
		f.WriteTo(lr, string(line), key)
		lr.Attributes().PutStr(flowlog.SourceIdentity, f.Source.Namespace)
		lr.Attributes().PutStr(flowlog.DestinationIdentity, f.Destination.Namespace)
	}
}

func writeBatch(w io.Writer, stream, cluster string, records ...func(plog.LogRecord)) error {
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(flowlog.ServiceName, stream)
	resource.Resource().Attributes().PutStr(flowlog.ClusterName, cluster)
	list := resource.ScopeLogs().AppendEmpty().LogRecords()
	for _, write := range records {
		write(list.AppendEmpty())
	}
	b, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}
