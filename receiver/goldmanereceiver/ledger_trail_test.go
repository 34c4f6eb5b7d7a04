package goldmanereceiver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// trail is what the sink's records say, exact repeats dropped.
type trail struct {
	window   int64 // its length, seconds
	told     map[nodeReport]*mention
	both     int              // records of both sides
	late     int              // records that are marked late
	repeated map[int64]bool   // by window
	final    map[int64]final  // by window
	missing  map[int64]string // cause by window
	gaps     []span
	problems []string
}

// mention is what the trail says of a report.
type mention struct {
	// first and late are how many records there are of it, before its window was listed
	// again and after.
	first, late int
	// packets is what the source sent, as far as it is known: a record of both sides has
	// the source's numbers only, and inBoth is true.
	packets int64
	inBoth  bool
	// records has one of them after the other.
	records []*received
}

// final is the last word on a window.
type final struct {
	line   string
	status string
	rows   int64
}

// reportPackets is what the source sent in every report.
const reportPackets = 10

// loss is what a test has forced: windows from and up to that may be lost, for one
// cause, and among them those that must be.
type loss struct {
	cause    string
	from, to int64
	mustFrom int64
	mustTo   int64
}

// span are the windows from and up to.
type span struct{ from, to int64 }

func (s span) has(start int64) bool { return s.from <= start && start < s.to }

func (l *trail) problem(format string, a ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, a...))
}

// trail reads what the sink has.
func (s *sink) trail(window time.Duration) *trail {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &trail{
		window: int64(window / time.Second), told: map[nodeReport]*mention{}, repeated: map[int64]bool{},
		final: map[int64]final{}, missing: map[int64]string{},
	}
	seen := map[exact]bool{}
	for i := range s.records {
		r := &s.records[i]
		if r.event == flowlog.EventPreview {
			continue // nobody counts it
		}
		e := exact{r.body, r.at}
		if seen[e] {
			l.repeated[r.start] = true
			continue
		}
		seen[e] = true
		l.read(r)
	}
	return l
}

func (l *trail) read(r *received) {
	switch r.event {
	case flowlog.EventName:
		reporters := []string{r.reporter}
		if r.reporter == flowlog.ReporterBoth {
			l.both++
			reporters = []string{flowlog.ReporterSource, flowlog.ReporterDestination}
		}
		for _, reporter := range reporters {
			l.tell(nodeReport{r.port, r.start, reporter}, r)
		}
	case flowlog.EventCoverage:
		if !r.final {
			return
		}
		before, twice := l.final[r.start]
		l.final[r.start] = final{r.body, r.status, r.rows}
		if twice {
			l.problem("%s has two final words: %s and %s", at(r.start), before.line, r.body)
		}
	case flowlog.EventGap:
		if last := len(l.gaps) - 1; last >= 0 && l.gaps[last].to == r.start && l.missing[r.start-l.window] == r.cause {
			l.problem("one run of windows is in two gaps: the second is %s", r.body)
		}
		l.gaps = append(l.gaps, span{r.start, r.end})
		for start := r.start; start < r.end; start += l.window {
			if before, ok := l.missing[start]; ok {
				l.problem("%s is missing twice: %s and %s", at(start), before, r.cause)
			}
			l.missing[start] = r.cause
		}
	}
}

// tell takes in a record of a report.
func (l *trail) tell(of nodeReport, r *received) {
	t := l.told[of]
	if t == nil {
		t = &mention{}
		l.told[of] = t
	}
	t.records = append(t.records, r)
	if strings.HasSuffix(r.body, " late") {
		t.late++
		l.late++
	} else {
		t.first++
	}
	if of.reporter != r.reporter && of.reporter == flowlog.ReporterDestination {
		t.inBoth = true
	} else {
		t.packets += r.packets
	}
}

func at(start int64) string { return time.Unix(start, 0).UTC().Format(time.RFC3339) }

// accountForWindows holds the trail against what was done to it.
func (l *trail) accountForWindows(losses []loss) {
	first, last := l.span()
	for start := first; start <= last; start += l.window {
		if _, ok := l.final[start]; ok == (l.missing[start] != "") {
			l.problem("%s: has a final word %v, is missing %q", at(start), ok, l.missing[start])
		}
	}
	for start, cause := range l.missing {
		if !slices.ContainsFunc(losses, func(loss loss) bool {
			return loss.from <= start && start < loss.to && cause == loss.cause
		}) {
			l.problem("%s is missing, and it was not lost for %s", at(start), cause)
		}
	}
	for _, loss := range losses {
		for start := loss.mustFrom; start < loss.mustTo; start += l.window {
			if l.missing[start] != loss.cause {
				l.problem("%s is not missing for %s; %s", at(start), loss.cause, l.final[start].line)
			}
		}
	}
}

func (l *trail) span() (first, last int64) {
	first = 1 << 62
	for start := range l.final {
		first, last = min(first, start), max(last, start)
	}
	return first, last
}

// accountForReports holds the trail against what Goldmane was given.
func (l *trail) accountForReports(given map[nodeReport]gift, restarts []time.Time) {
	first, last := l.span()
	window := time.Duration(l.window) * time.Second
	lateKeys := l.lateKeys()
	for r, gift := range given {
		if r.window < first || r.window > last {
			continue
		}
		final, after := l.final[r.window], gift.first.Sub(time.Unix(r.window, 0))
		what := fmt.Sprintf("%s port %d of %s, given %v after the window's start", at(r.window), r.port, r.reporter, after)
		switch told := l.told[r]; {
		case l.missing[r.window] != "":
			if told != nil {
				l.problem("%s, is in the trail, and its window in a gap", what)
			}
		case told != nil:
			if told.first > 1 || told.late > 1 {
				l.problem("%s, is %d times in the trail, and %d times late", what, told.first, told.late)
			}
			if told.first > 0 && told.late > 0 && !lateKeys[r.window] {
				l.problem("%s, is late once more, and its window has no flow that came late", what)
			}
			least, most := l.leastPackets(r, gift), reportPackets*gift.times()
			if l.surelyLate(r.window) && final.status == flowlog.StatusComplete && !l.disturbed(r.window, restarts) && gift.more.Before(time.Unix(r.window+23*l.window, 0)) {
				least = most // all that Goldmane had when it was listed again
			}
			if got := told.packets; !told.inBoth && (got != most && got < least || got > most || got%reportPackets != 0) {
				l.problem("%s and once more at %v, has %d packets in %d records instead of %d to %d; %s",
					what, gift.more, got, len(told.records), least, most, final.line)
			}
		case final.status == flowlog.StatusComplete && after < 22*window:
			l.problem("%s, is not in the trail; %s", what, final.line)
		case after < 2*window && l.hasAgain(gift, restarts, window):
			// It was there when the window was first read, whatever came then.
			l.problem("%s, is not in the trail; %s", what, final.line)
		}
	}
	for r := range l.told {
		if _, ok := given[r]; !ok {
			l.problem("%s port %d of %s is in the trail and nobody gave it", at(r.window), r.port, r.reporter)
		}
	}
}

// lateKeys are the windows with a report that came late, or was withheld.
func (l *trail) lateKeys() map[int64]bool {
	has := map[int64]bool{}
	for r, told := range l.told {
		if told.first == 0 {
			has[r.window] = true
		}
	}
	return has
}

// surelyLate reports whether a window had a flow that it had not when it was first listed.
// What has both sides' reports, or is the destination's where the source has reported, is
// never withheld, so that something of it was new.
func (l *trail) surelyLate(window int64) bool {
	for port := int64(1); port <= portsAWindow; port++ {
		told := l.told[nodeReport{port, window, flowlog.ReporterDestination}]
		if told == nil || told.first > 0 {
			continue
		}
		if r := told.records[0]; r.reporter == flowlog.ReporterBoth || !r.counts {
			return true
		}
	}
	return false
}

// amended counts the windows with flows that came late, and what is told of a report in two
// records there: what it had counted at first, and since.
func (l *trail) amended() (grown, windows int) {
	for start := range l.final {
		if l.surelyLate(start) {
			windows++
		}
	}
	for _, told := range l.told {
		if told.first > 0 && told.late > 0 {
			grown++
		}
	}
	return grown, windows
}

// disturbed reports whether Goldmane was restarted between a window and its second listing.
func (l *trail) disturbed(window int64, restarts []time.Time) bool {
	return slices.ContainsFunc(restarts, func(r time.Time) bool {
		return r.Unix() >= window && r.Unix() < window+30*l.window
	})
}

// accountForOutcomes holds the records' outcomes, and which of them count, against who has
// reported: each packet is counted once.
func (l *trail) accountForOutcomes(restarts []time.Time) {
	const reach = 2
	for of, told := range l.told {
		complete := !l.disturbed(of.window, restarts)
		near := [2]bool{} // the source, the destination has reported
		for at := of.window - reach*l.window; at <= of.window+reach*l.window; at += l.window {
			complete = complete && l.final[at].status == flowlog.StatusComplete
			near[0] = near[0] || l.told[nodeReport{of.port, at, flowlog.ReporterSource}] != nil
			near[1] = near[1] || l.told[nodeReport{of.port, at, flowlog.ReporterDestination}] != nil
		}
		for _, r := range told.records {
			want, counts := flowlog.ActionAllow, true
			switch {
			case r.reporter == flowlog.ReporterDestination:
				counts = !near[0]
			case of.port < outerPorts && !near[1]:
				want = flowlog.ActionUnconfirmed
			}
			if confirmed(of.port) && !complete {
				continue // what has come since, nobody could know
			}
			if r.action != want || r.counts != counts {
				l.problem("%s should be %s and count %v: %s", at(of.window), want, counts, r.body)
			}
		}
	}
}

// leastPackets is what the trail must at least have of a report that it has: all that
// Goldmane had when the window had settled, if nothing was lost since.
func (l *trail) leastPackets(r nodeReport, g gift) int64 {
	settled := time.Unix(r.window+2*l.window, 0)
	if l.final[r.window].status != flowlog.StatusComplete || g.more.IsZero() || g.more.After(settled) {
		return reportPackets
	}
	return 2 * reportPackets
}

// accountForResent holds the trail against what nodes sent again after Goldmane was
// restarted, of windows that nobody had read: the receiver waits until all of them have,
// so that none of it is late, but for what is withheld.
func (l *trail) accountForResent(given map[nodeReport]gift, unread span) {
	early := func(r nodeReport) bool {
		g, ok := given[r]
		return ok && g.first.Before(time.Unix(r.window, 0).Add(2*time.Duration(l.window)*time.Second))
	}
	for r := range given {
		told := l.told[r]
		if unread.has(r.window) && l.missing[r.window] == "" && early(r) && early(r.other()) && told != nil && told.first == 0 {
			l.problem("%s port %d of %s is late: its window was read before the nodes had sent it again", at(r.window), r.port, r.reporter)
		}
	}
}

// hasAgain reports whether a Goldmane that was restarted had a report again before the
// receiver would read its window. What is older is in a gap, or was read before.
func (l *trail) hasAgain(g gift, restarts []time.Time, window time.Duration) bool {
	return !slices.ContainsFunc(restarts, func(r time.Time) bool {
		old := r.Sub(g.first)
		again := g.again.Sub(r)
		return old > 0 && old <= (resentWindows+1)*window && (again < 0 || again > (resentAfter-1)*window)
	})
}

// require fails the test if anything is wrong.
func (l *trail) require(t *testing.T) {
	t.Helper()
	slices.Sort(l.problems)
	if len(l.problems) > 0 {
		t.Errorf("%d problems, the first of them:\n%s", len(l.problems), strings.Join(l.problems[:min(20, len(l.problems))], "\n"))
	}
}
