package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

const (
	// window is Goldmane's, in seconds.
	window = 15
	// kept is how many windows of history Goldmane has.
	kept = 240
	// sealed is how many windows back the newest is that Goldmane would have streamed.
	sealed = 2
	// near is how many windows back flows are looked for one by one. Where nodes flush every
	// 300 s, a node's newest flows began up to 675 s ago, and a single node's fill one window
	// in 21.
	near = 675/window + 1
	// recent is how many windows back the newest flows are where nodes flush every 15 s, and
	// some have missed a flush or two.
	recent = 8
	// firstArrival and lastArrival are how long after a window's start its flows come, in
	// seconds: nodes send every 15 s, and up to 1.5 s later, what began 15 s before.
	firstArrival, lastArrival = 15, 32
	// tolerance is how far a clock may be off: the receiver reads a window 45 s after its
	// start.
	tolerance = 45 - lastArrival
	// sample is how many flows are looked at.
	sample = 100
	// slow is how long a List may take for another to follow: it holds the intake up.
	slow = 3 * time.Second
)

// ring finds out what Goldmane has, by single windows that are over, one call at a time.
type ring struct {
	flows goldmane.FlowsClient
	clock clockwork.Clock
	now   int64 // seconds since the epoch
	calls int
	took  time.Duration // the longest call
}

// start is the start of the window that is back windows before the one of now.
func (r *ring) start(back int64) int64 { return r.now - r.now%window - back*window }

// list asks for one window, and for no more than size of its flows.
func (r *ring) list(ctx context.Context, back, size int64) (*goldmane.FlowListResult, error) {
	return r.ask(ctx, back, &goldmane.FlowListRequest{PageSize: size})
}

// ask sends a request for one window.
func (r *ring) ask(ctx context.Context, back int64, request *goldmane.FlowListRequest) (*goldmane.FlowListResult, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	began := r.clock.Now()
	request.StartTimeGte = r.start(back)
	request.StartTimeLt = request.StartTimeGte + window
	answer, err := r.flows.List(ctx, request)
	r.calls++
	r.took = max(r.took, r.clock.Since(began))
	return answer, err
}

func (r *ring) examine(ctx context.Context, s *section) {
	r.now = r.clock.Now().Unix()
	newest, answer, err := r.newest(ctx)
	switch {
	case err != nil:
		s.failedCall("flows", err)
		return
	case answer == nil:
		s.warn("flows", "do nodes report? calico-node must have FELIX_FLOWLOGSGOLDMANESERVER in its environment, which the operator sets with the Goldmane resource; `kubectl logs -n calico-system ds/calico-node` says why not. A Goldmane that has just started has no flows for half a minute, and one whose clock is an hour off has them elsewhere",
			"answers, and has none in the %d windows that were looked at, of the last hour", r.calls)
		return
	}
	s.ok("flows", "%d in the window of %s", answer.GetMeta().GetTotalResults(), clockTime(r.start(newest)))
	if odd := oddWindow(answer.Flows); odd != "" {
		s.warn("window", "set 'window' of the receiver to what AGGREGATION_WINDOW of Goldmane says", "flows %s: its windows are not of 15 s", odd)
	}
	r.version(s, answer.Flows)
	if r.took > slow {
		s.warn("ring", "Goldmane is overloaded, or a reader of its stream has stalled it", "not looked at: a List of one window took %s", r.took.Round(time.Millisecond))
		return
	}
	if r.flushes(ctx, s, newest) && newest > recent {
		// All nodes flush seldom, and where they are few most windows are empty.
		s.skip("ring", "how far back flows go does not show where nodes flush so seldom")
		s.skip("clock", "whether it is off does not show: the newest flows are %d s old, as they are where nodes flush so seldom", r.now-r.start(newest))
		return
	}
	oldest, err := r.oldest(ctx, newest)
	if err != nil {
		s.failedCall("ring", err)
		return
	}
	began := ""
	if oldest < kept-1 {
		began = "; it started then, or had none before"
	}
	s.ok("ring", "flows from %s on: %d windows of the %d that it keeps%s", clockTime(r.start(oldest)), oldest-newest+1, kept, began)
	r.offset(s, newest, oldest)
}

// newest looks for the newest window with flows: one by one, then in longer and longer
// steps. The answer is nil if there is none.
func (r *ring) newest(ctx context.Context) (back int64, answer *goldmane.FlowListResult, err error) {
	for back = sealed; back < kept; back += max(1, (back-near)+1) {
		answer, err = r.list(ctx, back, sample)
		if err != nil || len(answer.Flows) > 0 {
			return back, answer, err
		}
	}
	return 0, nil, nil
}

// oldest halves its way to the oldest window with flows. A Goldmane whose clock is behind
// has older ones than the ring's length, by as much as its newest is older.
func (r *ring) oldest(ctx context.Context, newest int64) (int64, error) {
	has := func(back int64) (bool, error) {
		answer, err := r.list(ctx, back, 1)
		return err == nil && len(answer.Flows) > 0, err
	}
	low, high := newest, kept+newest+1
	full, err := has(kept - 1)
	if err != nil {
		return 0, err
	}
	if full {
		low = kept - 1
	} else {
		high = kept - 1
	}
	for high-low > 1 {
		middle := (low + high) / 2
		there, err := has(middle)
		if err != nil {
			return 0, err
		}
		if there {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}

// offset says what the windows tell of Goldmane's clock. They tell it to the window.
func (r *ring) offset(s *section, newest, oldest int64) {
	const (
		name   = "clock"
		remedy = "set both clocks by NTP; where this is not the Collector's machine, its own clock is what counts"
	)
	age := r.now - r.start(newest)
	behind := age - lastArrival - window // at least
	switch {
	case oldest > kept:
		least := (oldest - kept - 1) * window
		if least > tolerance {
			s.fail(name, remedy, "Goldmane's is %d to %d s behind this machine's: its oldest window is that much older than an hour", least, least+2*window)
			return
		}
	case behind > tolerance:
		s.warn(name, remedy, "the newest flows are of %s, %d s ago: either Goldmane's or the nodes' clock is %d to %d s behind this machine's, or there was no traffic, or nodes flush seldom (flowLogsFlushInterval)", clockTime(r.start(newest)), age, behind, age-firstArrival)
		return
	case oldest < kept-2 && oldest >= kept-20:
		s.warn(name, remedy, "the oldest window is %d s younger than an hour: Goldmane started then, or its clock is that much ahead of this machine's; if that is still so in five minutes it is the clock", (kept-oldest)*window)
		return
	}
	if oldest >= kept-2 {
		s.ok(name, "within %d s of this machine's, by the ends of its ring", 2*window)
		return
	}
	s.ok(name, "not more than %d s behind this machine's, by its newest flows; whether it is ahead shows when it has run for an hour", age-firstArrival)
}

// oddWindow says what is odd about the times of flows of one window, "" if nothing is.
func oddWindow(rows []*goldmane.FlowResult) string {
	for _, row := range rows {
		if f := row.Flow; f.GetEndTime()-f.GetStartTime() != window {
			return fmt.Sprintf("are from %s to %s", clockTime(f.GetStartTime()), clockTime(f.GetEndTime()))
		}
	}
	return ""
}

// version says what flows tell of Goldmane's version, which it does not tell itself.
func (r *ring) version(s *section, rows []*goldmane.FlowResult) {
	var hints []string
	hint := func(is bool, text string) {
		if is && !slices.Contains(hints, text) {
			hints = append(hints, text)
		}
	}
	for _, row := range rows {
		trace := row.Flow.GetKey().GetPolicies()
		for _, hits := range [][]*goldmane.PolicyHit{trace.GetEnforcedPolicies(), trace.GetPendingPolicies()} {
			hint(!slices.IsSortedFunc(hits, func(a, b *goldmane.PolicyHit) int { return int(a.PolicyIndex - b.PolicyIndex) }),
				"older than 3.31.5 (policies in no order)")
			for _, hit := range hits {
				hint(hit.Kind == goldmane.PolicyKind_ClusterNetworkPolicy, "3.32 or newer (ClusterNetworkPolicy)")
				hint(hit.Kind == goldmane.PolicyKind_AdminNetworkPolicy || hit.Kind == goldmane.PolicyKind_BaselineAdminNetworkPolicy,
					"3.31 or older (AdminNetworkPolicy)")
			}
		}
	}
	if len(hints) == 0 {
		s.skip("version", "Goldmane does not tell it, and nothing in %d flows gives it away", len(rows))
		return
	}
	s.ok("version", "Calico %s, by its flows", strings.Join(hints, ", "))
}

// clockTime is a time of this day or the last.
func clockTime(seconds int64) string {
	return time.Unix(seconds, 0).UTC().Format("15:04:05Z")
}
