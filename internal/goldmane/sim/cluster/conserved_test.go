package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

// What a reader of this cluster can be held to: of each pair that the truth calls exact,
// the source's nodes and the destination's report what was sent, no more and no less.
func TestTheClustersTrafficIsConserved(t *testing.T) {
	from := time.Unix(begin, 0)
	to := from.Add(30 * length)
	c := With(1, Options{Begin: from, End: to})
	type end struct {
		flow     traffic.Flow
		reporter goldmane.Reporter
	}
	type sums struct{ connections, packets, bytes, back int64 }
	got := make(map[end]sums)
	for _, a := range c.Arrivals(from, to.Add(40*length), length) {
		f, k := a.Flow, a.Flow.Key
		e := end{traffic.Flow{
			SourceNamespace: k.SourceNamespace, SourceName: k.SourceName, SourceType: k.SourceType,
			DestNamespace: k.DestNamespace, DestName: k.DestName, DestType: k.DestType, Port: k.DestPort, Proto: k.Proto,
		}, k.Reporter}
		s := got[e]
		s.connections += f.NumConnectionsStarted
		if k.Reporter == goldmane.Reporter_Src {
			s.packets, s.bytes, s.back = s.packets+f.PacketsOut, s.bytes+f.BytesOut, s.back+f.BytesIn
		} else {
			s.packets, s.bytes, s.back = s.packets+f.PacketsIn, s.bytes+f.BytesIn, s.back+f.BytesOut
		}
		got[e] = s
	}
	exact, passing := 0, 0
	for _, tr := range c.Truth(from, to, length) {
		if !tr.Exact() {
			continue
		}
		exact++
		if tr.SourceName == "coturn-*" && tr.Port >= 49152 {
			passing++
		}
		want := sums{tr.Connections, tr.Packets, tr.Bytes, tr.BackBytes}
		if len(tr.SourceNodes) > 0 {
			require.Equal(t, want, got[end{tr.Flow, goldmane.Reporter_Src}], "%v at its source", tr.Flow)
		}
		if len(tr.DestNodes) > 0 && tr.Verdict != traffic.DeniedAtSource {
			require.Equal(t, want, got[end{tr.Flow, goldmane.Reporter_Dst}], "%v at its destination", tr.Flow)
		}
	}
	require.Greater(t, exact, 3000)
	require.Greater(t, passing, 3000)
}
