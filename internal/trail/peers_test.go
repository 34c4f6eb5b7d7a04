package trail

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// A peer whose edges take turns, by the hour, is there all the time; of edges within an
// hour only the most of one is sure.
func TestPeersWindows(t *testing.T) {
	part := func(peer string, port, start, windows int64) *flowlog.Rollup {
		return &flowlog.Rollup{
			Edge:  flowlog.Edge{Source: peer, Destination: "web", Port: port, Transport: "tcp", Action: flowlog.ActionAllow},
			Start: start, End: start + hour, First: start, Last: start + 15*windows, Windows: windows,
		}
	}
	p := newPeers(0, &Coverage{WindowSeconds: 15, Complete: 480})
	for _, r := range []*flowlog.Rollup{
		part("one", 80, 0, 100), part("one", 80, hour, 20),
		part("turns", 80, 0, 240), part("turns", 443, hour, 230),
		part("whole", 80, 0, 240), part("whole", 443, 0, 3), part("whole", 80, hour, 240),
		part("several", 80, 0, 100), part("several", 443, 0, 90), part("several", 443, hour, 50),
	} {
		p.add(r.Source, r)
	}
	got := map[string]Peer{}
	for _, peer := range p.list(480) {
		got[peer.Identity] = peer
	}
	for _, tt := range []struct {
		identity, band string
		windows        int64
		atLeast        bool
	}{
		{"one", BandRecurring, 120, false},
		{"turns", BandStable, 470, false},
		{"whole", BandStable, 480, false},
		{"several", BandRecurring, 150, true},
	} {
		peer := got[tt.identity]
		assert.Equal(t, tt.windows, peer.Windows, tt.identity)
		assert.Equal(t, tt.windows, peer.Slots, tt.identity)
		assert.Equal(t, tt.atLeast, peer.AtLeast, tt.identity)
		assert.Equal(t, tt.band, peer.Band, tt.identity)
	}
	ports := got["several"].Ports
	require.Len(t, ports, 2)
	for i := range ports {
		assert.Equal(t, map[int64]int64{80: 100, 443: 140}[ports[i].Port], ports[i].Windows)
		assert.False(t, ports[i].AtLeast)
	}
}
