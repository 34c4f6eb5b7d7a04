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
	live     bool
	reports  map[nodeReport]int
	packets  map[nodeReport]int64 // what the source sent, over all records of a report
	late     map[nodeReport]bool
	both     int              // records of both sides
	repeated map[int64]bool   // by window
	final    map[int64]final  // by window
	missing  map[int64]string // cause by window
	gaps     []span
	problems []string
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
		window: int64(window / time.Second), reports: map[nodeReport]int{}, packets: map[nodeReport]int64{}, late: map[nodeReport]bool{}, repeated: map[int64]bool{},
		final: map[int64]final{}, missing: map[int64]string{},
	}
	type exact struct {
		body string
		at   time.Time
	}
	seen := map[exact]bool{}
	for i := range s.records {
		r := &s.records[i]
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
			of := nodeReport{r.port, r.start, reporter}
			l.reports[of]++
			if reporter != flowlog.ReporterDestination || r.reporter != flowlog.ReporterBoth { // the numbers are the source's
				l.packets[of] += r.packets
			}
			if strings.HasSuffix(r.body, " late") {
				l.late[of] = true
			}
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
			switch {
			case l.missing[start] == loss.cause:
			case l.live && l.torn(start): // it was streamed and never listed
			default:
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

// torn reports whether the lane has handed on a part of a window, and no listing the rest.
func (l *trail) torn(start int64) bool {
	f := l.final[start]
	return f.status == flowlog.StatusPartial && f.rows == 0
}

// accountForReports holds the trail against what Goldmane was given.
func (l *trail) accountForReports(given map[nodeReport]gift, restarts []time.Time) {
	first, last := l.span()
	window := time.Duration(l.window) * time.Second
	for r, gift := range given {
		if r.window < first || r.window > last {
			continue
		}
		final, after := l.final[r.window], gift.first.Sub(time.Unix(r.window, 0))
		what := fmt.Sprintf("%s port %d of %s, given %v after the window's start", at(r.window), r.port, r.reporter, after)
		switch n := l.reports[r]; {
		case l.missing[r.window] != "":
			if n > 0 {
				l.problem("%s, is in the trail, and its window in a gap", what)
			}
		case n > 1 && !l.live:
			l.problem("%s, is %d times in the trail", what, n)
		case n > 0 && l.packets[r] == 0: // of both, and the destination's
		case n > 0:
			if got, least, most := l.packets[r], l.leastPackets(r, gift), reportPackets*gift.times(); got != most && got < least || got > most || got%reportPackets != 0 {
				l.problem("%s and once more at %v, has %d packets in %d records instead of %d to %d; %s", what, gift.more, got, n, least, most, final.line)
			}
		case l.torn(r.window):
		case final.status == flowlog.StatusComplete && after < 22*window:
			l.problem("%s, is not in the trail; %s", what, final.line)
		case after < 2*window && l.hasAgain(gift, restarts, window):
			// It was there when the window was first read, whatever came then.
			l.problem("%s, is not in the trail; %s", what, final.line)
		}
	}
	for r := range l.reports {
		if _, ok := given[r]; !ok {
			l.problem("%s port %d of %s is in the trail and nobody gave it", at(r.window), r.port, r.reporter)
		}
	}
}

// leastPackets is what the trail must at least have of a report that it has: all that
// Goldmane had when the window had settled, if nothing was lost since.
func (l *trail) leastPackets(r nodeReport, g gift) int64 {
	settled := time.Unix(r.window+2*l.window, 0)
	if l.final[r.window].status != flowlog.StatusComplete || g.more.IsZero() || g.more.After(settled) || l.late[r] && !l.live {
		return reportPackets
	}
	return 2 * reportPackets
}

// accountForResent holds the trail against what nodes sent again after Goldmane was
// restarted, of windows that nobody had read: the receiver waits until all of them have,
// so that none of it is late.
func (l *trail) accountForResent(given map[nodeReport]gift, unread span) {
	for r, gift := range given {
		early := gift.first.Before(time.Unix(r.window, 0).Add(2 * time.Duration(l.window) * time.Second))
		if unread.has(r.window) && l.missing[r.window] == "" && early && l.late[r] && !l.live {
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
