package flowlog

import "strings"

// Flow is one flow of one window in the trail's terms: what a flow record says.
// The zero value of a field means that it is unknown or does not apply, and it is
// then left out of the record.
//
// A Flow holds no locks and no goroutines; it is not safe for concurrent writing.
type Flow struct {
	Source, Destination Endpoint

	Transport string
	// Port is the destination's, 0 where the protocol has none.
	Port int64
	// ICMP holds type<<8|code plus one, so that 0 means "not ICMP".
	ICMP    int32
	Service Service

	Action string
	// SourceAction and DestinationAction are the verdicts as each side reported
	// them; "" where a side did not report.
	SourceAction, DestinationAction string
	Reporter                        string

	// Deciding is the policy hit that made Action what it is.
	Deciding string
	// Policy traces: hits separated by commas. Egress is the source's, Ingress the
	// destination's. A pending trace is "" where it equals the enforced one.
	Egress, Ingress               string
	EgressPending, IngressPending string
	// StagedEnforced is true where a staged policy stands in an enforced trace.
	StagedEnforced bool

	// Start and End bound the window, in seconds since the epoch.
	Start, End int64
	// Late is true where the flow was not there when its window had settled, or could not
	// be decided before the windows beside it had been listed again.
	Late bool
	// Counts is true where the record is part of every sum: its traffic is in no other
	// record that counts.
	Counts bool
	// Split is how many of Goldmane's rows, which differ in their policies only, the record
	// was made of; 0 where it was one.
	Split int
	// ServiceTwin is true where the record names no Service, and a report of the same two
	// ends within reach does. It is not in the line.
	ServiceTwin bool
	Counters
}

// Endpoint is one end of a flow.
type Endpoint struct {
	Type      string // one of the Type values
	Namespace string
	Name      string
	Labels    []Label
}

// Label is one label of an endpoint.
type Label struct{ Key, Value string }

// Service is the Kubernetes Service that the source dialled.
type Service struct {
	Namespace, Name, PortName string
	Port                      int64
}

// Counters count one window. The source's are what it sent to the destination,
// the destination's what it sent back.
type Counters struct {
	SourcePackets, SourceBytes           int64
	DestinationPackets, DestinationBytes int64
	ConnectionsStarted                   int64
	ConnectionsCompleted                 int64
	// ConnectionsLive are those that a node saw in its flush, those that ended in it
	// included.
	ConnectionsLive int64
}

// Add adds o's counters to c's.
func (c *Counters) Add(o *Counters) {
	c.SourcePackets += o.SourcePackets
	c.SourceBytes += o.SourceBytes
	c.DestinationPackets += o.DestinationPackets
	c.DestinationBytes += o.DestinationBytes
	c.ConnectionsStarted += o.ConnectionsStarted
	c.ConnectionsCompleted += o.ConnectionsCompleted
	c.ConnectionsLive += o.ConnectionsLive
}

// NoTraffic reports whether the window saw no packet of the flow in either
// direction: an idle connection, or a denial that Calico repeats after the verdict
// has changed (calico#13185). Without a packet it is no evidence of anything.
func (c *Counters) NoTraffic() bool {
	return c.SourcePackets == 0 && c.DestinationPackets == 0
}

// PendingAction is the outcome that the flow would have with staged policies in
// force, or "" where they change neither trace.
func (f *Flow) PendingAction() string {
	if f.EgressPending == "" && f.IngressPending == "" {
		return ""
	}
	out := ""
	for _, side := range [...]struct{ pending, enforced, verdict string }{
		{f.EgressPending, f.Egress, f.SourceAction},
		{f.IngressPending, f.Ingress, f.DestinationAction},
	} {
		action := side.verdict
		switch {
		case side.pending != "":
			action = HitAction(lastHit(side.pending, true))
		case side.enforced != "":
			action = HitAction(lastHit(side.enforced, false))
		}
		if action == ActionDeny || out == "" {
			out = action
		}
		if out == ActionDeny {
			break
		}
	}
	return out
}

// DecidingHit returns the hit of an enforced trace that decided, or "" where none can
// have: the last that is not a pass, if it did what was decided. A staged policy decides
// nothing, even where Calico puts one into the enforced trace (calico#13410).
func DecidingHit(trace, action string) string {
	if hit := lastHit(trace, false); HitAction(hit) == action {
		return hit
	}
	return ""
}

// lastHit is the last hit of a trace that is not a pass, or "". Staged policies are
// passed over unless staged is true.
func lastHit(trace string, staged bool) string {
	for trace != "" {
		rest, hit := "", trace
		if i := strings.LastIndexByte(trace, ','); i >= 0 {
			rest, hit = trace[:i], trace[i+1:]
		}
		if HitAction(hit) != ActionPass && (staged || !isStaged(hit)) {
			return hit
		}
		trace = rest
	}
	return ""
}

// HasStagedHit reports whether a trace has a hit of a staged policy.
func HasStagedHit(trace string) bool {
	for hit := range strings.SplitSeq(trace, ",") {
		if isStaged(hit) {
			return true
		}
	}
	return false
}

func isStaged(hit string) bool { return strings.HasPrefix(hit, stagedPrefix) }

// HitAction returns the action of a policy hit, the part after its last "=".
func HitAction(hit string) string {
	return hit[strings.LastIndexByte(hit, '=')+1:]
}
