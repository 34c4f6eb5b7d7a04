package trail

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

const (
	// followEvery is how often the trail is looked at for new windows.
	followEvery = 3 * time.Second
	// followBack is how far back a window can be that is news: Goldmane keeps windows for
	// an hour, so the receiver can read them that late, and then they travel.
	followBack = time.Hour + 5*time.Minute
)

// FollowQuestion is what Follow answers.
type FollowQuestion struct {
	Filter Filter
	// Patience is how long a Source that fails is asked again, beyond its own patience; it
	// is not, if 0.
	Patience time.Duration
	// Trouble, if not nil, is told when the Source fails and is asked again, once, and with
	// nil when it answers again.
	Trouble func(error)
}

// Followed is a window that is new in the trail.
type Followed struct {
	Window Hole // complete, partial, missing, or unrecorded where its record cannot be read
	// Flows are those that match, in the order of time; of a window that was looked at
	// again, those that came late.
	Flows []FlowRecord
	Late  bool
	// Unreadable is how many flow records of it cannot be read.
	Unreadable int64
}

// Follow calls fn for every window that is written from now on, until ctx ends; it returns
// the error of ctx, of fn, or of reading. A window is written about 75 s after its start,
// and again, where flows came late or could not be decided, five minutes later. It can be read for the
// first time up to an hour late, after the Collector was away.
func (t *Trail) Follow(ctx context.Context, q *FollowQuestion, fn func(*Followed) error) error {
	f := &follower{Trail: t, q: q, known: make(map[string]int64), ledger: newLedger(), seen: make(map[int64]bool)}
	for {
		asked := t.Clock.Now()
		err := f.look(ctx)
		for err == nil && len(f.news) > 0 {
			var told *Followed
			if told, err = f.tell(ctx, &f.news[0]); err != nil {
				break
			}
			f.news = f.news[1:]
			if told == nil {
				continue
			}
			if err := fn(told); err != nil {
				return err
			}
		}
		if err := f.bear(err, asked); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.Clock.After(followEvery):
		}
	}
}

// follower is one Follow.
type follower struct {
	*Trail
	q      *FollowQuestion
	known  map[string]int64 // lines of the coverage stream, with their time
	ledger *ledger          // of the windows that can still be news
	looked bool             // at what was there at the start
	seen   map[int64]bool   // windows of which flows were told, or were there at the start
	news   []Entry          // of the coverage stream, not yet told
	failed time.Time        // when the Source began to fail; zero while it answers
}

// look reads the coverage stream from the oldest window on that lacks its last word: some
// seven minutes, unless the Collector was away, or began within the last hour.
func (f *follower) look(ctx context.Context) error {
	now := f.Clock.Now()
	back := now.Add(-followBack).Unix()
	f.forget(back)
	q := &Question{Cluster: f.Cluster, Stream: flowlog.StreamCoverage, Spans: []Span{{time.Unix(f.oldest(back), 0), now}}}
	var news []Entry
	err := f.Source.Read(ctx, q, func(e *Entry) error {
		if _, old := f.known[e.Line]; !old {
			news = append(news, *e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range news {
		f.known[news[i].Line] = news[i].Time.Unix()
		f.ledger.add(&news[i])
	}
	if !f.looked {
		f.looked = true
		for start := range f.ledger.windows {
			f.seen[start] = true
		}
		for start := range f.ledger.foreign {
			f.seen[start] = true
		}
		return nil // what was there before is no news
	}
	// A window's two records have the same time: its last word is told behind the other.
	slices.SortFunc(news, func(a, b Entry) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(rank(&a), rank(&b))) })
	f.news = append(f.news, news...)
	return nil
}

// rank puts a window's last word last.
func rank(e *Entry) int {
	if c, err := flowlog.ParseCoverage(e.Line); err == nil && c.Final {
		return 1
	}
	return 0
}

// oldest is the start of the oldest window since back that lacks its last word.
func (f *follower) oldest(back int64) int64 {
	var done []interval
	for _, c := range f.ledger.windows {
		if c.Final {
			done = append(done, interval{c.Start, c.End})
		}
	}
	for _, g := range f.ledger.gaps {
		done = append(done, interval{g.From, g.To})
	}
	at := back
	for _, i := range merged(done) {
		if i.from-at >= f.ledger.window { // less is the rest of a window that began before back
			break
		}
		at = max(at, i.to)
	}
	return at
}

// forget drops what is older than back.
func (f *follower) forget(back int64) {
	for line, at := range f.known {
		if at < back {
			delete(f.known, line)
		}
	}
	for start, c := range f.ledger.windows {
		if c.End <= back {
			delete(f.ledger.windows, start)
			delete(f.seen, start)
		}
	}
	for start := range f.ledger.foreign {
		if start < back {
			delete(f.ledger.foreign, start)
			delete(f.seen, start)
		}
	}
	f.ledger.gaps = slices.DeleteFunc(f.ledger.gaps, func(g flowlog.Gap) bool { return g.To <= back })
}

// tell returns what one entry of the coverage stream is news of, or nil.
func (f *follower) tell(ctx context.Context, e *Entry) (*Followed, error) {
	if g, err := flowlog.ParseGap(e.Line); err == nil {
		return &Followed{Window: hole(g.From, g.To, flowlog.StatusMissing, g.Cause, g.Windows())}, nil
	}
	c, err := flowlog.ParseCoverage(e.Line)
	if err != nil {
		start := e.Time.Unix()
		if f.seen[start] {
			return nil, nil
		}
		f.seen[start] = true
		return &Followed{Window: hole(start, start+f.ledger.window, StatusUnrecorded, CauseVersion, 1)}, nil
	}
	again := c.Final && f.seen[c.Start]
	if again && c.Late == 0 {
		return nil, nil
	}
	told := &Followed{Late: again, Window: hole(c.Start, c.End, c.Status, c.Cause, 1)}
	told.Window.Pairs, told.Window.OneSided = c.Pairs, c.OneSided
	// What is late in a window that is to be looked at again may be there already, and
	// will be told then.
	wanted := func(flow *Flow) bool {
		if again {
			return flow.Late
		}
		return c.Final || !flow.Late
	}
	var found []timedFlow
	q := &Question{Cluster: f.Cluster, Stream: flowlog.StreamFlows, Filter: f.q.Filter.ofFlows(), Spans: []Span{unix(c.Start, c.End)}}
	err = f.Source.Read(ctx, q, func(e *Entry) error {
		flow, err := ParseFlow(e)
		switch {
		case err != nil:
			told.Unreadable++
		case f.q.Filter.MatchesFlow(&flow) && wanted(&flow):
			found = append(found, timedFlow{flow, e.Line})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b timedFlow) int { return a.Time.Compare(b.Time) })
	for i := range found {
		told.Flows = append(told.Flows, found[i].record(c.End-c.Start))
	}
	f.seen[c.Start] = true
	return told, nil
}

// bear takes what came of a look that began at asked, and returns the error that ends it all.
func (f *follower) bear(err error, asked time.Time) error {
	trouble := f.q.Trouble
	if trouble == nil {
		trouble = func(error) {}
	}
	switch {
	case err == nil && !f.failed.IsZero():
		f.failed = time.Time{}
		trouble(nil)
	case err == nil:
	case !passing(err):
		return err
	case f.failed.IsZero() && f.Clock.Since(asked) < f.q.Patience:
		f.failed = asked
		trouble(err)
	case f.failed.IsZero() || f.Clock.Since(f.failed) >= f.q.Patience:
		return err
	}
	return nil
}

// passing reports whether an error is one that a Loki which starts anew, or a connection
// that is made anew, may be over.
func passing(err error) bool {
	var unreachable *UnreachableError
	var refused *StatusError
	return errors.As(err, &unreachable) ||
		errors.As(err, &refused) && (refused.Status >= 500 || refused.Status == http.StatusTooManyRequests)
}
