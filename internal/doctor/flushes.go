package doctor

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// A node hands its flows to Goldmane in flushes, each stamped with its start: every 15 s
// with the Tigera operator's Goldmane, every 300 s by Felix's own default, and up to a
// tenth later. Goldmane does not say which node a row is of, nor when it came. But a
// connection that is open when a flush ends is in the next flush as well, with no packet if
// need be, so that its row comes back after one flush interval: at 15 s after one window,
// seldom two; at 300 s after 20 to 22, and never before. In what two real nodes sent every
// 15 s, 96 of 100 rows came back in the next window, and each key did at least once.
const (
	// youngest is how many windows back all flows of a flush of 300 s are there: it begins
	// in the window, lasts up to 330 s, and travels.
	youngest = 24
	// scanned is how many windows are looked at: two flushes of each node, of 300 s.
	scanned = 2*22 + 2
	// scanPage is how many rows of each, the first by the source's name.
	scanPage = 500
	// gentle is how long a List may take for as many to follow.
	gentle = 300 * time.Millisecond
	// apart is the distance between windows, at the least, that keys have of nodes which
	// flush every minute or less often.
	apart = 4
	// fewKeys are too few to tell anything by.
	fewKeys = 3
)

const flushRemedy = "set 'flush_interval' of the receiver `goldmane` to what nodes have, such as 300s: FELIX_FLOWLOGSFLUSHINTERVAL of `kubectl get ds calico-node -n calico-system -o yaml`, or else flowLogsFlushInterval of `kubectl get felixconfigurations -o yaml`, or else Felix's default of 300 s; or have nodes flush every 15 s, as the Tigera operator does"

// aggregate is a flow's key without what may differ from flush to flush: its policies, its
// action, and the Service, which the first packets may lack.
type aggregate struct {
	from, fromNamespace, to, toNamespace string
	fromType, toType                     goldmane.EndpointType
	port                                 int64
	proto                                string
	reporter                             goldmane.Reporter
}

// sighting is where an aggregate was last seen, and the distances before.
type sighting struct {
	back int64
	gaps []int64 // windows
}

// flushes looks for nodes that flush seldom, and reports whether there are any.
func (r *ring) flushes(ctx context.Context, s *section, newest int64) bool {
	const name = "flush interval"
	seen := map[aggregate]*sighting{}
	bound, bounded := "", false // what is not before it may be on another page
	from := max(newest, youngest)
	for back := from; back < from+scanned; back++ {
		if r.took > gentle {
			s.skip(name, "not looked for, so as not to hold Goldmane's intake up: a List of one window took %s; if it is not 15 s, %s", r.took.Round(time.Millisecond), flushRemedy)
			return false
		}
		answer, err := r.listSorted(ctx, back)
		if err != nil {
			s.failedCall(name, err)
			return false
		}
		if n := len(answer.Flows); int64(n) < answer.GetMeta().GetTotalResults() && n > 0 {
			if last := answer.Flows[n-1].Flow.GetKey().GetSourceName(); !bounded || last < bound {
				bound, bounded = last, true
			}
		}
		note(seen, back, answer.Flows)
	}
	var closest []int64 // of each key that was seen again, its smallest distance
	for key, of := range seen {
		if len(of.gaps) == 0 || bounded && key.from >= bound {
			delete(seen, key)
			continue
		}
		closest = append(closest, slices.Min(of.gaps))
	}
	if len(closest) < fewKeys {
		s.skip(name, "%d flows with open connections were seen twice: too few to tell it by", len(closest))
		return false
	}
	slices.Sort(closest)
	seldom := int64(apart)
	if closest[len(closest)/2] > 1 {
		seldom = 2 // of most keys
	}
	at, _ := slices.BinarySearch(closest, seldom)
	slow := len(closest) - at
	if slow < fewKeys || 10*slow < len(closest) {
		s.ok(name, "nodes flush every 15 s or so, by %d flows with open connections", len(closest))
		return false
	}
	s.warn(name, flushRemedy, "nodes flush about every %d s: of %d flows with open connections, %d come back only that much later. With a 'flush_interval' of 15s the receiver does not find what the other end says of a connection: it is unconfirmed, or counts twice",
		interval(seen, seldom), len(closest), slow)
	return true
}

// listSorted asks for a window's first rows by the source's name: those that are not there
// can be told from those that are on another page.
func (r *ring) listSorted(ctx context.Context, back int64) (*goldmane.FlowListResult, error) {
	return r.ask(ctx, back, &goldmane.FlowListRequest{
		PageSize: scanPage, SortBy: []*goldmane.SortOption{{SortBy: goldmane.SortBy_SourceName}},
	})
}

// note adds the rows of a window that is further back than those before.
func note(seen map[aggregate]*sighting, back int64, rows []*goldmane.FlowResult) {
	// Whether a connection was open at the flush's end: "live" are all that Felix saw in it.
	open := map[aggregate]bool{}
	for _, row := range rows {
		k := row.Flow.GetKey()
		key := aggregate{
			k.GetSourceName(), k.GetSourceNamespace(), k.GetDestName(), k.GetDestNamespace(),
			k.GetSourceType(), k.GetDestType(), k.GetDestPort(), k.GetProto(), k.GetReporter(),
		}
		open[key] = open[key] || row.Flow.GetNumConnectionsLive() > row.Flow.GetNumConnectionsCompleted()
	}
	for key, is := range open {
		of := seen[key]
		if of == nil {
			of = &sighting{back: back}
			seen[key] = of
			continue
		}
		if is {
			of.gaps = append(of.gaps, back-of.back)
		}
		of.back = back
	}
}

// interval is how often the slow nodes flush, in seconds. A key of several nodes comes back
// sooner, one of a node that missed a flush later: it is what three of four distances are
// not longer than.
func interval(seen map[aggregate]*sighting, seldom int64) int64 {
	var gaps []int64
	for _, of := range seen {
		if slices.Min(of.gaps) >= seldom {
			gaps = append(gaps, of.gaps...)
		}
	}
	slices.Sort(gaps)
	seconds := float64(gaps[len(gaps)*3/4]*window) / 1.05 // a tenth of jitter, on average half
	step := 30.0
	if seconds < 60 {
		step = 15
	}
	return int64(step * math.Round(seconds/step))
}
