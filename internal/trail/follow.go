package trail

import (
	"context"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

const (
	// followEvery is how often the trail is looked at for new windows.
	followEvery = 3 * time.Second
	// followBack is how far back a window can be that is news: the receiver looks at each
	// again after six minutes.
	followBack = 10 * time.Minute
)

// Followed is a window that is new in the trail.
type Followed struct {
	Window Hole // complete, partial or missing
	// Flows are those that match, in the order of time; of a window that was looked at
	// again, those that came late.
	Flows []FlowRecord
	Late  bool
	// Unreadable are records of a version that this reader does not know.
	Unreadable int64
}

// Follow calls fn for every window that is written from now on, until ctx ends; it returns
// the error of ctx, of fn, or of reading. A window is written about a minute after its
// start, and again, where flows came late, five minutes later.
func (t *Trail) Follow(ctx context.Context, filter *Filter, fn func(*Followed) error) error {
	known := make(map[string]int64) // lines of the coverage stream, with their time
	first := true
	for {
		now := t.Clock.Now()
		var news []Entry
		q := &Question{Cluster: t.Cluster, Stream: flowlog.StreamCoverage, Spans: []Span{{now.Add(-followBack), now}}}
		err := t.Source.Read(ctx, q, func(e *Entry) error {
			if _, old := known[e.Line]; !old {
				known[e.Line] = e.Time.Unix()
				news = append(news, *e)
			}
			return nil
		})
		if err != nil {
			return err
		}
		slices.SortFunc(news, func(a, b Entry) int { return a.Time.Compare(b.Time) })
		if first {
			news = nil // what was there before
			first = false
		}
		for i := range news {
			if err := t.followed(ctx, filter, &news[i], fn); err != nil {
				return err
			}
		}
		for line, at := range known {
			if at < now.Add(-followBack).Unix() {
				delete(known, line)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.Clock.After(followEvery):
		}
	}
}

// followed tells of one entry of the coverage stream.
func (t *Trail) followed(ctx context.Context, filter *Filter, e *Entry, fn func(*Followed) error) error {
	l := newLedger()
	if err := l.add(e); err != nil {
		return err
	}
	if len(l.gaps) > 0 {
		g := &l.gaps[0]
		return fn(&Followed{Window: Hole{time.Unix(g.From, 0).UTC(), time.Unix(g.To, 0).UTC(), flowlog.StatusMissing, g.Cause, g.Windows()}})
	}
	for _, c := range l.windows {
		if c.Final && c.Late == 0 {
			return nil
		}
		f := &Followed{Late: c.Final, Window: Hole{time.Unix(c.Start, 0).UTC(), time.Unix(c.End, 0).UTC(), c.Status, c.Cause, 1}}
		var found []timedFlow
		q := &Question{Cluster: t.Cluster, Stream: flowlog.StreamFlows, Filter: filter.ofFlows(), Spans: []Span{unix(c.Start, c.End)}}
		err := t.Source.Read(ctx, q, func(e *Entry) error {
			flow, err := ParseFlow(e)
			switch {
			case err != nil:
				f.Unreadable++
			case filter.MatchesFlow(&flow) && (!f.Late || flow.Late):
				found = append(found, timedFlow{flow, e.Line})
			}
			return nil
		})
		if err != nil {
			return err
		}
		slices.SortFunc(found, func(a, b timedFlow) int { return a.Time.Compare(b.Time) })
		for i := range found {
			f.Flows = append(f.Flows, found[i].record(l.window))
		}
		return fn(f)
	}
	return nil
}
