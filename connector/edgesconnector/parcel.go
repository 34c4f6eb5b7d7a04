package edgesconnector

import (
	"cmp"
	"slices"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// mostRecords is how many records are handed on at a time, which take some 3 MB.
const mostRecords = 2000

// parcel is what is handed on at a time: rollups of one interval, the record that closes
// it, or first_seen events.
type parcel struct {
	cluster *cluster
	// news: it is first_seen events. Else it is of the interval of a grain that begins at a
	// time.
	news     bool
	grain    grain
	interval int64
	// edges are their numbers, in order; sequences are the rollups'.
	edges     []uint32
	sequences []int64
	// closing is the sequence of the closing record, 0 for rollups.
	closing int64
	// rejected is whether the pipeline has rejected it for good.
	rejected bool
}

// next returns what is to be handed on next, or nil. now is in seconds since the epoch. If
// all is true, that is all there is, else only what can no longer change.
func (s *state) next(now int64, all bool) *parcel {
	for _, c := range s.Clusters {
		// Rollups first: Loki takes nothing of a stream that is an hour older than the newest,
		// and an event may be newer. For the same reason none overtakes one of its grain that
		// has ended, and waits for windows that nobody has read.
		var waits [grains]bool
		for _, p := range c.inOrder() {
			i := c.interval(p)
			final := i.over(now, c)
			if !final && now >= i.End {
				waits[p.grain] = true
			}
			if !all && (!final || waits[p.grain]) {
				continue
			}
			p.edges = i.unsaid(final)
			if p.cut() {
				for _, n := range p.edges {
					p.sequences = append(p.sequences, i.sequence(i.Sums[n], final))
				}
				return p
			}
			if final && !i.closedNow() {
				p.closing = i.closing(c.Window).Sequence
				return p
			}
		}
		p := &parcel{cluster: c, news: true}
		for n := range c.Edges.List {
			if c.Edges.List[n].News != nil {
				p.edges = append(p.edges, uint32(n))
			}
		}
		if p.cut() {
			return p
		}
	}
	return nil
}

// inOrder returns an empty parcel for each interval, by the time of its end.
func (c *cluster) inOrder() []*parcel {
	var parcels []*parcel
	for g, all := range c.Intervals {
		for start := range all {
			parcels = append(parcels, &parcel{cluster: c, grain: grain(g), interval: start})
		}
	}
	slices.SortFunc(parcels, func(a, b *parcel) int {
		return cmp.Or(cmp.Compare(c.interval(a).End, c.interval(b).End), cmp.Compare(a.grain, b.grain))
	})
	return parcels
}

// cut leaves those edges that go at a time, and reports whether there are any.
func (p *parcel) cut() bool {
	slices.Sort(p.edges)
	p.edges = p.edges[:min(len(p.edges), mostRecords)]
	return len(p.edges) > 0
}

// interval returns the interval that a parcel is of, nil if it is forgotten.
func (c *cluster) interval(p *parcel) *interval { return c.Intervals[p.grain][p.interval] }

// kind says in telemetry what a parcel is.
func (p *parcel) kind() string {
	switch {
	case p.news:
		return "first_seen"
	case p.closing > 0:
		return "closing"
	}
	return kinds[p.grain]
}

// records is how many it has.
func (p *parcel) records() int { return max(1, len(p.edges)) }

// logs makes plog.Logs of a parcel that state.next has just returned.
func (p *parcel) logs() (plog.Logs, error) {
	stream := streams[p.grain]
	if p.news {
		stream = flowlog.StreamEdges
	}
	logs, records, err := newLogs(p.cluster.Resource, stream)
	if err != nil {
		return logs, err
	}
	records.EnsureCapacity(len(p.edges))
	if p.news {
		for _, n := range p.edges {
			e := &p.cluster.Edges.List[n]
			event := flowlog.FirstSeen{Edge: e.Edge, Start: e.News.Start, End: e.News.End, Deciding: e.News.Deciding}
			event.WriteTo(records.AppendEmpty())
		}
		return logs, nil
	}
	i := p.cluster.interval(p)
	if p.closing > 0 {
		closing := i.closing(p.cluster.Window)
		closing.WriteTo(records.AppendEmpty())
		return logs, nil
	}
	for at, n := range p.edges {
		s := i.Sums[n]
		final := p.sequences[at]%2 == 1
		r := i.rollup(&p.cluster.Edges.List[n].Edge, s, final, p.cluster)
		r.WriteTo(records.AppendEmpty())
	}
	return logs, nil
}

// said notes that a parcel was handed on.
func (c *cluster) said(p *parcel) {
	if p.news {
		for _, n := range p.edges {
			if int(n) < len(c.Edges.List) {
				c.Edges.List[n].News = nil
			}
		}
		return
	}
	i := c.interval(p)
	if i == nil {
		return
	}
	i.Torn = i.Torn || p.rejected && (p.closing > 0 || len(p.sequences) > 0 && p.sequences[0]%2 == 1)
	i.ClosedAt = max(i.ClosedAt, p.closing)
	for at, n := range p.edges {
		if s := i.Sums[n]; s != nil {
			s.Said = max(s.Said, uint32(p.sequences[at]))
		}
	}
}
