package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/trail"
)

func TestDiffer(t *testing.T) {
	const allow, deny, unconfirmed = flowlog.ActionAllow, flowlog.ActionDeny, flowlog.ActionUnconfirmed
	p := pair{"workload:a/x", "workload:b/y", 443, "tcp"}
	for name, tt := range map[string]struct {
		inner, outer, told sent
		uncertain          bool
		lacking, wrong     int
	}{
		"as it was":                     {sent{allow: {3, 30}}, sent{allow: {5, 50}}, sent{allow: {4, 40}}, false, 0, 0},
		"at the bounds":                 {sent{allow: {3, 30}}, sent{allow: {5, 50}}, sent{allow: {3, 50}}, false, 0, 0},
		"a connection is lacking":       {sent{allow: {3, 30}}, sent{allow: {5, 50}}, sent{allow: {2, 40}}, false, 1, 0},
		"counted twice":                 {sent{allow: {3, 30}}, sent{allow: {5, 50}}, sent{allow: {4, 80}}, false, 0, 1},
		"denied, and told as allowed":   {sent{deny: {3, 30}}, sent{deny: {5, 50}}, sent{deny: {3, 30}, allow: {1, 10}}, false, 0, 1},
		"denied, and not told":          {sent{deny: {3, 30}}, sent{deny: {5, 50}}, nil, false, 1, 0},
		"told as unconfirmed":           {sent{allow: {3, 30}}, sent{allow: {5, 50}}, sent{allow: {3, 30}, unconfirmed: {1, 10}}, false, 0, 1},
		"nobody can tell":               {sent{allow: {3, 30}}, sent{allow: {5, 50}}, nil, true, 0, 0},
		"nothing was sent":              {nil, nil, sent{allow: {1, 10}}, false, 0, 1},
		"only just before it was asked": {nil, sent{allow: {5, 50}}, nil, false, 0, 0},
	} {
		of := func(s sent) map[pair]sent {
			if s == nil {
				return nil
			}
			return map[pair]sent{p: s}
		}
		lacking, wrong := differ(of(tt.inner), of(tt.outer), of(tt.told), map[pair]bool{p: tt.uncertain})
		assert.Len(t, lacking, tt.lacking, "%s: %v", name, lacking)
		assert.Len(t, wrong, tt.wrong, "%s: %v", name, wrong)
	}
}

// Both sides name a pair alike, and only what counts is told.
func TestToldBy(t *testing.T) {
	f := flowlog.Flow{
		Source:      flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: "a", Name: "x-*"},
		Destination: flowlog.Endpoint{Type: flowlog.TypeNetwork, Name: flowlog.NetworkPublic},
		Transport:   "icmp", ICMP: 8<<8 + 1, Action: flowlog.ActionAllow, Reporter: flowlog.ReporterSource, SourceAction: flowlog.ActionAllow,
		Counters: flowlog.Counters{SourceBytes: 7, ConnectionsStarted: 2}, Counts: true,
	}
	counts, _ := f.AppendLine(nil)
	f.Counts = false
	not, _ := f.AppendLine(nil)
	told, err := toldBy([]trail.Entry{{Line: string(counts)}, {Line: string(not)}})
	require.NoError(t, err)
	p := pair{
		end(goldmane.EndpointType_WorkloadEndpoint, "a", "x-*"), end(goldmane.EndpointType_Network, "-", "pub"),
		8 << 8, "icmp",
	}
	assert.Equal(t, map[pair]sent{p: {flowlog.ActionAllow: {2, 7}}}, told)
}
