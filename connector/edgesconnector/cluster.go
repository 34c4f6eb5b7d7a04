package edgesconnector

// Times in windows, since Goldmane's own are: of 15 s, unless its AGGREGATION_WINDOW was
// changed.
const (
	// graceWindows is how long nothing must come for an interval that has ended, for it to
	// be over: 16 min. A window's last records come when the last window within reach of it has
	// been listed again: 26 windows after its start, and 46 where nodes flush every 300 s.
	graceWindows = 64
	// keptWindows is how long an interval is kept after its end, to be amended, where not all
	// of its windows become final: 90 min. Goldmane's ring has 240 windows.
	keptWindows = 360
	// closeAfter is how many windows must become final after one for its records' keys to
	// be forgotten.
	closeAfter = 8
)

// Times in seconds.
const (
	// mostAhead is how far a window may be in the future.
	mostAhead = 3600
	// mostBehind is how far one may be behind the newest, and how long a rollup is kept
	// that the pipeline does not take. Loki takes nothing that is older.
	mostBehind = 7 * 86400
	// mostGap bounds the windows of a gap that are looked at: more than the longest
	// interval has.
	mostGap     = 25 * 3600
	secondsADay = 86400
)

// settings are what the configuration says of sums; those that sums were begun with.
type settings struct {
	Lengths  [grains]int64 // seconds, 0 where there are none
	Learn    int64         // seconds
	Expire   int64         // seconds
	MaxEdges int
}

func settingsOf(cfg *Config) settings {
	length := int64(cfg.Interval.Seconds())
	lengths := [grains]int64{quarters: length / 4, wholes: length}
	if cfg.Daily {
		lengths[days] = secondsADay
	}
	return settings{
		Lengths: lengths, Learn: int64(cfg.KnownEdges.Learn.Seconds()), Expire: int64(cfg.KnownEdges.Expire.Seconds()), MaxEdges: cfg.KnownEdges.Max,
	}
}

// cluster is what is known of the flows of one origin. It changes by what it is given
// alone: the same, in the same order, makes the same of it. Fields are exported for gob.
type cluster struct {
	// Resource is the origin: plog.Logs with the resource and nothing else, as protobuf.
	Resource []byte
	// Window is the length of windows, in seconds; 0 before the first record.
	Window int64
	// Begin is the start of the oldest window there ever was, Newest the end of the newest,
	// Horizon the end of the last interval that is
	// forgotten, LearnUntil the time before which edges become known without an event; all
	// in seconds since the epoch.
	Begin, Newest, Horizon, LearnUntil int64
	Edges                              known
	// Swept is what Newest was when sweep was last called.
	Swept int64
	// All by their start.
	Windows   map[int64]*window
	Intervals [grains]map[int64]*interval
	// Finals are the windows that became final last, which are not closed yet.
	Finals []int64

	set   settings
	tally tally
}

// tally is what telemetry is to hear.
type tally struct {
	repeated, overflowed int64
	malformed, noCounts  int64
	future, tooOld       int64
	lost                 [grains]int64
}

func newCluster(resource []byte, set settings) *cluster {
	c := &cluster{
		Resource: resource, Windows: map[int64]*window{}, Edges: newKnown(set.MaxEdges), set: set,
	}
	for g := range c.Intervals {
		c.Intervals[g] = map[int64]*interval{}
	}
	return c
}

// acceptable reports whether a window can be counted, and counts it if not. now is in
// seconds since the epoch.
func (c *cluster) acceptable(start, now int64) bool {
	switch {
	case start > now+mostAhead:
		c.tally.future++
		return false
	case start < c.Horizon || start < c.Newest-mostBehind:
		c.tally.tooOld++
		return false
	}
	return true
}

// noted is what became of a flow record.
type noted struct {
	// changed is whether it changed anything.
	changed bool
	// edge is its edge's number; overflowed is whether that is the overflow edge's.
	edge       uint32
	overflowed bool
}

// flow takes a flow record that counts, at a time in seconds since the epoch.
func (c *cluster) flow(o *observation, now int64) noted {
	if !c.acceptable(o.start, now) {
		return noted{}
	}
	w := c.window(o.start, o.end)
	if w.Closed {
		c.tally.tooOld++
		return noted{}
	}
	if !w.Seen.add(o.key) {
		c.tally.repeated++
		return noted{}
	}
	n, isNew, overflowed := c.Edges.number(o)
	if overflowed {
		c.tally.overflowed++
	}
	if c.LearnUntil == 0 {
		c.LearnUntil = o.start + c.set.Learn
	}
	c.Edges.meet(n, o, isNew, o.start < c.LearnUntil)
	first := w.Present.add(n)
	for _, i := range c.intervalsOf(o.start) {
		if i != nil {
			i.Changed = now
			i.add(n, o, first, &c.Edges.names)
		}
	}
	return noted{true, n, overflowed}
}

// window returns a window, which it makes if it is new.
func (c *cluster) window(start, end int64) *window {
	w := c.Windows[start]
	if w == nil {
		w = &window{Start: start, End: end}
		c.Windows[start] = w
		c.Window = end - start
		c.Newest = max(c.Newest, end)
		if c.Begin == 0 || start < c.Begin {
			c.Begin = start
		}
	}
	return w
}

// intervalsOf returns the interval of each grain that a window belongs to: those that it
// begins in. Without days there is none of them.
func (c *cluster) intervalsOf(start int64) (of [grains]*interval) {
	for g, length := range c.set.Lengths {
		if length > 0 {
			of[g] = in(c.Intervals[g], start, length)
		}
	}
	return of
}

// known are those of intervalsOf that are there: an interval that is done with must not
// come back for a window that is kept as long as a longer one.
func (c *cluster) known(start int64) (of [grains]*interval) {
	for g, length := range c.set.Lengths {
		if length > 0 {
			of[g] = c.Intervals[g][start-start%length]
		}
	}
	return of
}

// in returns the interval that a window begins in, which it makes if it is new.
func in(all map[int64]*interval, start, length int64) *interval {
	begin := start - start%length
	i := all[begin]
	if i == nil {
		i = newInterval(begin, length)
		all[begin] = i
	}
	return i
}

// coverage takes a coverage or gap record. It reports whether that changed anything.
func (c *cluster) coverage(r *report, now int64) bool {
	changed := false
	for start := max(r.from, r.to-(mostGap-mostGap%r.window)); start < r.to; start += r.window {
		if !c.acceptable(start, now) {
			continue
		}
		if c.windowCoverage(c.window(start, start+r.window), r, now) {
			changed = true
		}
	}
	return changed
}

func (c *cluster) windowCoverage(w *window, r *report, now int64) bool {
	if w.Final && !r.final || w.Final == r.final && w.Status == r.status {
		return false
	}
	in := c.intervalsOf(w.Start)
	for _, i := range in {
		if i == nil {
			continue
		}
		i.Events++
		i.Changed = now
		if w.Status == complete {
			i.Complete--
		}
		if r.status == complete {
			i.Complete++
		}
		if r.final && !w.Final {
			i.Final++
		}
	}
	if r.final && !w.Final {
		c.Finals = append(c.Finals, w.Start)
	}
	w.Status, w.Final = r.status, r.final
	// After a crash the receiver may hand on once more what it handed on last.
	for len(c.Finals) > closeAfter {
		if w := c.Windows[c.Finals[0]]; w != nil {
			w.close()
			for _, i := range c.known(w.Start) {
				if i != nil {
					i.Closed++
				}
			}
		}
		c.Finals = c.Finals[1:]
	}
	return true
}

// sweep forgets what is over and done with.
func (c *cluster) sweep() {
	before := c.Swept
	if c.Newest == before {
		return
	}
	c.Swept = c.Newest
	for _, i := range c.Intervals[wholes] {
		// What is left unknown of its windows stays so.
		if c.done(wholes, i, c.Newest > i.End+keptWindows*c.Window) {
			c.forget(i)
		}
	}
	for _, g := range [...]grain{quarters, days} {
		for start, i := range c.Intervals[g] {
			if c.done(g, i, i.End <= c.Horizon) {
				delete(c.Intervals[g], start)
			}
		}
	}
	if length := c.set.Lengths[wholes]; c.Newest/length != before/length {
		c.Edges.forget(c.Newest-c.set.Expire, c.set.MaxEdges/10, c.inUse())
	}
}

// done reports whether an interval need not be kept, and counts what was not said of it.
// settled is whether nothing comes for it any more, although not all its windows are closed.
func (c *cluster) done(g grain, i *interval, settled bool) bool {
	switch {
	case !settled && i.Closed < i.windowsFrom(c.Begin, c.Window):
		return false
	case i.said():
		return true
	case c.Newest <= i.End+mostBehind:
		return false
	}
	c.tally.lost[g] += int64(len(i.unsaid(true)))
	return true
}

// forget forgets a whole interval and its windows.
func (c *cluster) forget(i *interval) {
	for start := range c.Windows {
		if i.Start <= start && start < i.End {
			delete(c.Windows, start)
		}
	}
	delete(c.Intervals[wholes], i.Start)
	c.Horizon = max(c.Horizon, i.End)
}

// inUse returns whether an edge has a sum.
func (c *cluster) inUse() func(uint32) bool {
	var used bits
	for _, all := range c.Intervals {
		for _, i := range all {
			for n := range i.Sums {
				used.add(n)
			}
		}
	}
	return used.has
}
