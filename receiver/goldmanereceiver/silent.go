package goldmanereceiver

import (
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// A node that Goldmane does not hear of shows in pairs of workloads that only one end has
// reported. Some always are: what is on its way, what was sent in the last moment of a
// Pod's life. Two nodes of real Felixes had none in 40 windows with all of them well, and
// two of three in the windows of a cut (issue 12).
const (
	silentLeast = 3
	silentShare = 10 // a tenth
	// standing is for how long silence makes windows partial. What lasts longer is how the
	// cluster is, and a finding of its own.
	standing = 24 * time.Hour
	// silenceEnds is how long no window must be so for silence to be over.
	silenceEnds = time.Hour
)

// silence is since when nodes have been silent, and the last window in which they were, in
// seconds since the epoch.
type silence struct {
	Since int64 `json:"since"`
	Last  int64 `json:"last"`
}

// note notes whether nodes were silent in a window, and says so of it. It is looked at
// before the window is listed again: a node that was cut off sends later what it had, and
// the trail then has it, late.
func (s *silence) note(known *flowlog.Coverage) {
	if known.OneSided < silentLeast || known.OneSided*silentShare <= known.Pairs {
		return
	}
	if s.Since == 0 || known.Start-s.Last > int64(silenceEnds/time.Second) {
		s.Since = known.Start
	}
	s.Last = max(s.Last, known.Start)
	if known.Start-s.Since <= int64(standing/time.Second) {
		doubt(known, flowlog.CauseNodesSilent)
	}
}

// doubts are the causes for which a window is partial, the gravest first.
var doubts = []string{
	flowlog.CauseRejected, flowlog.CauseGoldmaneRestart, flowlog.CauseNotRechecked, flowlog.CauseNodesSilent,
}

// doubt says that a window is partial, and why, unless something graver is known of it.
func doubt(known *flowlog.Coverage, cause string) {
	known.Status = flowlog.StatusPartial
	if known.Cause == "" || slices.Index(doubts, cause) < slices.Index(doubts, known.Cause) {
		known.Cause = cause
	}
}
