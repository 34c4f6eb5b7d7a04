package sim

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"unique"

	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// arrival is a flow taken apart: what identifies it and what it adds to a window.
type arrival struct {
	id         string            // the key as sent, in canonical bytes: the order of the policies counts
	key        *goldmane.FlowKey // the key as it is given out; never changed
	start, end int64
	sum        contribution
}

// contribution is what one flow, or all flows of a window, say about a key.
type contribution struct {
	sourceLabels, destLabels labels
	packetsIn, packetsOut    int64
	bytesIn, bytesOut        int64
	started, completed, live int64
}

var (
	errNilFlow = errors.New("an update came without a flow; Goldmane dereferences it and panics")
	errNilKey  = errors.New("a flow came without a key; Goldmane dereferences it and panics")
)

// newArrival reads a flow as it came over the wire. Goldmane keeps the policy trace as
// bytes, with fields it has no name for, and nothing else that it has no name for.
func newArrival(f *goldmane.Flow) (*arrival, error) {
	if f == nil {
		return nil, errNilFlow
	}
	k := f.Key
	if k == nil {
		return nil, errNilKey
	}
	key := &goldmane.FlowKey{
		SourceName: k.SourceName, SourceNamespace: k.SourceNamespace, SourceType: k.SourceType,
		DestName: k.DestName, DestNamespace: k.DestNamespace, DestType: k.DestType, DestPort: k.DestPort,
		DestServiceName: k.DestServiceName, DestServiceNamespace: k.DestServiceNamespace,
		DestServicePortName: k.DestServicePortName, DestServicePort: k.DestServicePort,
		Proto: k.Proto, Reporter: k.Reporter, Action: k.Action,
		Policies: &goldmane.PolicyTrace{},
	}
	if k.Policies != nil {
		key.Policies = proto.CloneOf(k.Policies)
	}
	id, err := proto.MarshalOptions{Deterministic: true}.Marshal(key)
	if err != nil {
		return nil, err
	}
	sortHits(key.Policies.EnforcedPolicies)
	sortHits(key.Policies.PendingPolicies)
	return &arrival{
		id: string(id), key: key, start: f.StartTime, end: f.EndTime,
		sum: contribution{
			sourceLabels: joinLabels(f.SourceLabels), destLabels: joinLabels(f.DestLabels),
			packetsIn: f.PacketsIn, packetsOut: f.PacketsOut, bytesIn: f.BytesIn, bytesOut: f.BytesOut,
			started: f.NumConnectionsStarted, completed: f.NumConnectionsCompleted, live: f.NumConnectionsLive,
		},
	}, nil
}

// sortHits orders a trace as 3.31.5 and later give it out.
func sortHits(hits []*goldmane.PolicyHit) {
	slices.SortStableFunc(hits, func(a, b *goldmane.PolicyHit) int {
		return cmp.Compare(a.GetPolicyIndex(), b.GetPolicyIndex())
	})
}

// add is a further flow of the same key and window.
func (c *contribution) add(o *contribution) {
	c.sourceLabels = commonLabels(c.sourceLabels, o.sourceLabels)
	c.destLabels = commonLabels(c.destLabels, o.destLabels)
	c.count(o)
}

// addWindow is a further window of the same key. An empty label set is not narrowed
// but replaced by the next window's: Goldmane takes "nothing in common" for "nothing
// seen yet".
func (c *contribution) addWindow(o *contribution) {
	if c.sourceLabels != noLabels {
		c.sourceLabels = commonLabels(c.sourceLabels, o.sourceLabels)
	} else {
		c.sourceLabels = o.sourceLabels
	}
	if c.destLabels != noLabels {
		c.destLabels = commonLabels(c.destLabels, o.destLabels)
	} else {
		c.destLabels = o.destLabels
	}
	c.count(o)
}

func (c *contribution) count(o *contribution) {
	c.packetsIn += o.packetsIn
	c.packetsOut += o.packetsOut
	c.bytesIn += o.bytesIn
	c.bytesOut += o.bytesOut
	c.started += o.started
	c.completed += o.completed
	c.live += o.live
}

// result is the row that a client is given.
func (c *contribution) result(e *entry, start, end int64) *goldmane.FlowResult {
	return &goldmane.FlowResult{
		Id: e.id,
		Flow: &goldmane.Flow{
			Key: e.key, StartTime: start, EndTime: end,
			SourceLabels: splitLabels(c.sourceLabels), DestLabels: splitLabels(c.destLabels),
			PacketsIn: c.packetsIn, PacketsOut: c.packetsOut, BytesIn: c.bytesIn, BytesOut: c.bytesOut,
			NumConnectionsStarted: c.started, NumConnectionsCompleted: c.completed, NumConnectionsLive: c.live,
		},
	}
}

// labels is a set of labels, sorted and joined by commas as Goldmane keeps them. It
// escapes nothing: a label with a comma in it comes out as two. Most flows of an hour
// share their sets, so a set is held once.
type labels = unique.Handle[string]

var noLabels = unique.Make("")

func joinLabels(l []string) labels {
	return unique.Make(strings.Join(slices.Sorted(slices.Values(l)), ","))
}

func splitLabels(l labels) []string {
	if l == noLabels {
		return nil
	}
	return strings.Split(l.Value(), ",")
}

func commonLabels(a, b labels) labels {
	if a == b {
		return a
	}
	theirs := strings.Split(b.Value(), ",")
	common := slices.DeleteFunc(strings.Split(a.Value(), ","), func(l string) bool {
		return !slices.Contains(theirs, l)
	})
	return unique.Make(strings.Join(common, ","))
}
