package trail

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

func record(t *testing.T, second int64, source, destination string, f flowlog.Flow) *Entry {
	t.Helper()
	line, _ := f.AppendLine(nil)
	return &Entry{Time: time.Unix(second, 0), Line: string(line), Metadata: map[string]string{
		"source_service_identity": source, "destination_service_identity": destination,
	}}
}

func TestEdges(t *testing.T) {
	flow := flowlog.Flow{
		Source:      flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: "web", Name: "front-*"},
		Destination: flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: "payments", Name: "api-*"},
		Transport:   "tcp", Port: 8080, Action: flowlog.ActionAllow, Reporter: flowlog.ReporterBoth,
		Counters: flowlog.Counters{SourcePackets: 10, SourceBytes: 1000, DestinationPackets: 5, DestinationBytes: 700},
	}
	otherPods := flow
	otherPods.Source.Name = "back-*"
	denied := flow
	denied.Action = flowlog.ActionDeny
	denied.Counters = flowlog.Counters{SourcePackets: 1, SourceBytes: 60}
	dns := flow
	dns.Transport, dns.Port = "udp", 53

	var edges Edges
	assert.Empty(t, edges.ByBytes())
	for _, e := range []*Entry{
		record(t, 130, "web", "payments", flow),
		record(t, 115, "web", "payments", otherPods),
		record(t, 100, "web", "payments", denied),
		record(t, 145, "web", "kube-system/kube-dns", dns),
	} {
		require.NoError(t, edges.Add(e))
	}
	assert.Equal(t, []EdgeTraffic{
		{
			Edge{"web", "payments", 8080, "tcp", "allow"},
			Traffic{Records: 2, Packets: 30, Bytes: 3400, First: time.Unix(115, 0), Last: time.Unix(130, 0)},
		},
		{
			Edge{"web", "kube-system/kube-dns", 53, "udp", "allow"},
			Traffic{Records: 1, Packets: 15, Bytes: 1700, First: time.Unix(145, 0), Last: time.Unix(145, 0)},
		},
		{
			Edge{"web", "payments", 8080, "tcp", "deny"},
			Traffic{Records: 1, Packets: 1, Bytes: 60, First: time.Unix(100, 0), Last: time.Unix(100, 0)},
		},
	}, edges.ByBytes())
}

func TestEdgesOfEqualBytesAreSorted(t *testing.T) {
	flow := flowlog.Flow{Transport: "tcp", Action: flowlog.ActionAllow}
	var edges Edges
	for _, name := range []string{"c", "a", "d", "b"} {
		require.NoError(t, edges.Add(record(t, 1, name, "x", flow)))
	}
	var got []string
	for _, e := range edges.ByBytes() {
		got = append(got, e.Source)
	}
	assert.Equal(t, []string{"a", "b", "c", "d"}, got)
}

func TestEdgesRefusesWhatIsNoFlow(t *testing.T) {
	var edges Edges
	err := edges.Add(&Entry{Time: time.Unix(0, 0), Line: "hello"})
	require.ErrorIs(t, err, flowlog.ErrNotALine)
	require.ErrorContains(t, err, "1970-01-01T00:00:00Z")
	assert.Empty(t, edges.ByBytes())
}
