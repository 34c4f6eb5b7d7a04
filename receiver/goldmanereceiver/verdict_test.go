package goldmanereceiver

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// rowOf makes a row of what one node reported in one window.
type rowOf func(*goldmane.Flow)

var (
	bySrc      rowOf = func(*goldmane.Flow) {}
	srcDenied  rowOf = denied
	dstAllowed rowOf = atDestination
	dstDenied  rowOf = func(f *goldmane.Flow) { atDestination(f); denied(f) }
)

// idle is a report without a packet.
func idle(t rowOf) rowOf {
	return func(f *goldmane.Flow) {
		t(f)
		f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut = 0, 0, 0, 0
		f.NumConnectionsStarted, f.NumConnectionsCompleted, f.NumConnectionsLive = 0, 0, 1
	}
}

// from and to put something else at an end.
func from(kind goldmane.EndpointType, name string, t rowOf) rowOf {
	return func(f *goldmane.Flow) {
		t(f)
		f.Key.SourceType, f.Key.SourceNamespace, f.Key.SourceName = kind, "-", name
	}
}

func to(kind goldmane.EndpointType, name string, t rowOf) rowOf {
	return func(f *goldmane.Flow) {
		t(f)
		f.Key.DestType, f.Key.DestNamespace, f.Key.DestName = kind, "-", name
	}
}

// withService is a report that names the Service that was dialled.
func withService(t rowOf) rowOf {
	return func(f *goldmane.Flow) {
		k := f.Key
		name, namespace, portName, port := k.DestServiceName, k.DestServiceNamespace, k.DestServicePortName, k.DestServicePort
		t(f)
		k.DestServiceName, k.DestServiceNamespace, k.DestServicePortName, k.DestServicePort = name, namespace, portName, port
	}
}

func noService(t rowOf) rowOf {
	return func(f *goldmane.Flow) {
		t(f)
		f.Key.DestServiceName, f.Key.DestServiceNamespace, f.Key.DestServicePortName, f.Key.DestServicePort = "-", "-", "-", 0
	}
}

const (
	network    = goldmane.EndpointType_Network
	networkset = goldmane.EndpointType_NetworkSet
	host       = goldmane.EndpointType_HostEndpoint
)

// scenario is what Goldmane has of one pair, by window, counted from the one that is decided.
type scenario map[int][]rowOf

// decided is what becomes of the window 0 at its first decision, while something may still
// come, and at the end. Records are outcome and reporter, with a minus where they do not
// count; "withheld" where there is one.
func (s scenario) decided(t *testing.T) (first, end string) {
	t.Helper()
	reachWindows := int(createDefaultConfig().(*Config).reachWindows())
	require.Equal(t, 2, reachWindows)
	at := map[int]answer{}
	for offset, all := range s {
		var rows []*goldmane.FlowResult
		for _, r := range all {
			rows = append(rows, row(r, func(f *goldmane.Flow) { f.StartTime, f.EndTime = windowStart, windowStart+15 }))
		}
		at[offset] = encode(t, rows...)
	}
	own, _, err := pairsOf(windowStart, at[0])
	require.NoError(t, err)
	var others []pairs
	for offset, a := range at {
		if offset != 0 && -reachWindows <= offset && offset <= reachWindows {
			p, _, err := pairsOf(windowStart, a)
			require.NoError(t, err)
			others = append(others, p)
		}
	}
	c, err := newConverter(nil)
	require.NoError(t, err)
	settle := func(a answer, more bool) (string, *window) {
		w, err := readWindow(windowStart, a, c, nil)
		require.NoError(t, err)
		w.settle(settling{near: own.near(others), more: more, reporters: true})
		w.order()
		var all []string
		for _, r := range w.records {
			f := &w.flows[r.flow]
			text := f.Action + " " + f.Reporter
			if !f.Counts {
				text += " -"
			}
			all = append(all, text)
		}
		slices.Sort(all)
		if w.held != nil {
			all = append(all, "withheld")
		}
		return strings.Join(all, ", "), w
	}
	first, w := settle(at[0], true)
	if rows := w.heldRows(); len(rows) > 0 {
		end, _ = settle(at[0].only(rows), false)
	}
	return first, end
}

// Every case that was seen on real Felixes or can be thought of; an end is given where
// something was withheld.
func TestDecide(t *testing.T) {
	for name, test := range map[string]struct {
		scenario   scenario
		first, end string
	}{
		"both ends in one window":                  {scenario{0: {bySrc, dstAllowed}}, "allow both", ""},
		"the destination a window before":          {scenario{0: {bySrc}, -1: {dstAllowed}}, "allow src", ""},
		"a window after":                           {scenario{0: {bySrc}, 1: {dstAllowed}}, "allow src", ""},
		"two windows before":                       {scenario{0: {bySrc}, -2: {dstAllowed}}, "allow src", ""},
		"two windows after":                        {scenario{0: {bySrc}, 2: {dstAllowed}}, "allow src", ""},
		"three windows before is out of reach":     {scenario{0: {bySrc}, -3: {dstAllowed}}, "withheld", "unconfirmed src"},
		"three windows after is out of reach":      {scenario{0: {bySrc}, 3: {dstAllowed}}, "withheld", "unconfirmed src"},
		"denied in the same window":                {scenario{0: {bySrc, dstDenied}}, "deny both", ""},
		"denied a window before":                   {scenario{0: {bySrc}, -1: {dstDenied}}, "deny src", ""},
		"denied two windows after":                 {scenario{0: {bySrc}, 2: {dstDenied}}, "deny src", ""},
		"denied out of reach":                      {scenario{0: {bySrc}, 3: {dstDenied}}, "withheld", "unconfirmed src"},
		"denied by the source":                     {scenario{0: {srcDenied}}, "deny src", ""},
		"the destination alone, the source before": {scenario{0: {dstAllowed}, -1: {bySrc}}, "allow dst -", ""},
		"the destination alone, the source after":  {scenario{0: {dstDenied}, 2: {bySrc}}, "deny dst -", ""},
		"the destination alone, nobody near":       {scenario{0: {dstAllowed}, 3: {bySrc}}, "withheld", "allow dst"},
		"a denial alone, nobody near":              {scenario{0: {dstDenied}}, "withheld", "deny dst"},

		// Who reports: a workload's node; nobody else.
		"to the internet":           {scenario{0: {to(network, "pub", bySrc)}}, "allow src", ""},
		"to the internet, denied":   {scenario{0: {to(network, "pub", srcDenied)}}, "deny src", ""},
		"to a network set":          {scenario{0: {to(networkset, "psp", bySrc)}}, "allow src", ""},
		"to a host endpoint":        {scenario{0: {to(host, "node2", bySrc)}}, "allow src", ""},
		"from the internet":         {scenario{0: {from(network, "pub", dstAllowed)}}, "allow dst", ""},
		"from the internet, denied": {scenario{0: {from(network, "pub", dstDenied)}}, "deny dst", ""},
		"from a network set":        {scenario{0: {from(networkset, "psp", dstDenied)}}, "deny dst", ""},
		"from a host endpoint":      {scenario{0: {from(host, "node2", dstAllowed)}}, "allow dst", ""},
		"from a host endpoint, allowed and denied": {
			scenario{0: {from(host, "node2", dstAllowed), from(host, "node2", dstDenied)}}, "allow dst, deny dst", "",
		},
		// Both ends on one node: it reports both in one flush, and the Service at both.
		"on one node":                  {scenario{0: {bySrc, withService(dstAllowed)}}, "allow both", ""},
		"on one node, denied":          {scenario{0: {bySrc, dstDenied}, 1: {bySrc, dstDenied}}, "deny both", ""},
		"a Service at the source only": {scenario{0: {bySrc}, 1: {noService(dstAllowed)}}, "allow src", ""},
		"with a Service and past it":   {scenario{0: {bySrc, noService(bySrc)}, 1: {dstDenied}}, "deny src, deny src", ""},

		// Without a packet.
		"an idle tail, both":                                {scenario{0: {idle(bySrc), idle(dstAllowed)}}, "allow both -", ""},
		"an idle tail of the source's, nobody near":         {scenario{0: {idle(bySrc)}}, "unconfirmed src -", ""},
		"the tail of a denied SYN at its source":            {scenario{0: {idle(bySrc)}, -2: {bySrc, dstDenied}}, "deny src -", ""},
		"an idle Allow of the destination's confirms":       {scenario{0: {bySrc}, 1: {idle(dstAllowed)}}, "allow src", ""},
		"a phantom denial is none":                          {scenario{0: {bySrc, idle(dstDenied)}}, "withheld, deny dst -", "unconfirmed src"},
		"a phantom denial after a verdict changed to allow": {scenario{0: {bySrc, dstAllowed, idle(dstDenied)}}, "allow both, deny dst -", ""},
		"a phantom denial alone":                            {scenario{0: {idle(dstDenied)}}, "deny dst -", ""},
		"the destination's packets beside an idle source":   {scenario{0: {idle(bySrc), dstAllowed}}, "allow src -, withheld", "allow dst"},

		// Silence, and its end.
		"the destination's node is cut off":           {scenario{0: {bySrc}, 1: {bySrc}, -1: {bySrc}}, "withheld", "unconfirmed src"},
		"it has sent again":                           {scenario{0: {bySrc, dstDenied}, 1: {bySrc}, -1: {bySrc}}, "deny both", ""},
		"the source's node is cut off":                {scenario{0: {dstAllowed}, 1: {dstAllowed}}, "withheld", "allow dst"},
		"a Pod on a node that is silent, another not": {scenario{0: {bySrc, dstAllowed}, 1: {bySrc}}, "allow both", ""},
		"the same, at the source":                     {scenario{0: {dstAllowed}, 1: {bySrc, dstAllowed}}, "allow dst -", ""},
		"in a window beside a gap, or before a trail": {scenario{0: {bySrc}}, "withheld", "unconfirmed src"},

		// A verdict that changes, or differs from Pod to Pod.
		"allowed, then denied":                        {scenario{0: {bySrc, dstAllowed}, 1: {bySrc, dstDenied}}, "allow dst, unconfirmed src -", ""},
		"denied now, allowed before":                  {scenario{0: {bySrc, dstDenied}, -2: {bySrc, dstAllowed}}, "deny dst, unconfirmed src -", ""},
		"one Pod allows, one denies":                  {scenario{0: {bySrc, dstAllowed, dstDenied}}, "allow dst, deny dst, unconfirmed src -", ""},
		"the change is out of reach":                  {scenario{0: {bySrc, dstAllowed}, 3: {bySrc, dstDenied}}, "allow both", ""},
		"denied at the source before, allowed now":    {scenario{0: {bySrc, dstAllowed}, -1: {srcDenied}}, "allow both", ""},
		"what the source denied, nobody else can see": {scenario{0: {srcDenied, bySrc}, 1: {dstAllowed}}, "allow src, deny src", ""},
	} {
		t.Run(name, func(t *testing.T) {
			first, end := test.scenario.decided(t)
			assert.Equal(t, sortedWords(test.first), sortedWords(first), "at first")
			assert.Equal(t, test.end, end, "in the end")
		})
	}
}

func sortedWords(s string) string {
	words := strings.Split(s, ", ")
	slices.Sort(words)
	return strings.Join(words, ", ")
}

// decide is a pure function of few bits: all of them, against what must hold whatever is
// reported.
func TestDecideHolds(t *testing.T) {
	for bits := range 1 << 9 {
		near := reports(bits & 0x3f)
		for _, r := range []report{
			{bySource: true, fromWorkload: true, toWorkload: true, packets: bits&0x80 == 0, action: flowlog.ActionAllow},
			{bySource: true, fromWorkload: true, toWorkload: true, packets: bits&0x80 == 0, action: flowlog.ActionDeny},
			{bySource: true, fromWorkload: true, packets: bits&0x80 == 0, action: flowlog.ActionAllow},
			{fromWorkload: true, toWorkload: true, packets: bits&0x80 == 0, action: flowlog.ActionAllow},
			{fromWorkload: true, toWorkload: true, packets: bits&0x80 == 0, action: flowlog.ActionDeny},
			{toWorkload: bits&0x100 == 0, packets: bits&0x80 == 0, action: flowlog.ActionDeny},
		} {
			d := decide(r, near)
			what := fmt.Sprintf("%+v near %07b: %+v", r, near, d)
			switch {
			case !r.packets:
				require.False(t, d.counts, what)
				require.False(t, d.open, "what has no packet waits for nothing: %s", what)
			case d.open:
				require.True(t, d.counts, "what nobody else has reported counts: %s", what)
			}
			if r.bySource && r.toWorkload && r.action == flowlog.ActionAllow && d.action == flowlog.ActionAllow {
				require.True(t, near.any(destinationAllowed), "a source's Allow is no verdict: %s", what)
				require.False(t, near.any(destinationDenied), what)
			}
			if r.action == flowlog.ActionDeny {
				require.Equal(t, flowlog.ActionDeny, d.action, "a denial with packets stays one: %s", what)
			}
			// More evidence never makes an open decision of a closed one.
			for bit := reports(1); bit <= destinationDenied; bit <<= 1 {
				if !d.open {
					require.False(t, decide(r, near|bit).open, what)
				}
			}
		}
	}
}
