package trail

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// FlowsQuestion is what Flows answers.
type FlowsQuestion struct {
	Span   Span
	Filter Filter
	// Limit is how many flows are wanted, the newest; 0 for all.
	Limit int
}

// FlowsAnswer is flow records, the newest first.
type FlowsAnswer struct {
	Cluster string       `json:"cluster"`
	Flows   []FlowRecord `json:"flows"`
	// Back is how far back was looked: a limit can be reached before all of the range was
	// read. The coverage is of what was read.
	Back     time.Time `json:"read_back_to"`
	More     bool      `json:"more"` // there may be older ones
	Coverage Coverage  `json:"coverage"`
}

// FlowRecord is one flow in one window.
type FlowRecord struct {
	Window      time.Time `json:"window"` // its start
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	Port        int64     `json:"port"`
	Transport   string    `json:"transport"`
	Action      string    `json:"action"`
	// SourceEndpoint and DestinationEndpoint are namespace/name of workloads, type:name of
	// others.
	SourceEndpoint      string `json:"source_endpoint"`
	DestinationEndpoint string `json:"destination_endpoint"`
	Service             string `json:"service,omitempty"` // the Kubernetes Service that was dialled
	Reporter            string `json:"reporter"`
	SourceAction        string `json:"source_action,omitempty"`
	DestinationAction   string `json:"destination_action,omitempty"`
	PendingAction       string `json:"pending_action,omitempty"` // with staged policies in force
	Policy              string `json:"policy,omitempty"`         // the hit that decided
	Late                bool   `json:"late,omitempty"`
	// NotCounted says why the record is in no sum: one of the NotCounted values, "" if it is.
	NotCounted string `json:"not_counted,omitempty"`
	// Split is of how many of Goldmane's rows, that differ in their policies only, the
	// record was made; 0 where it was one.
	Split              int    `json:"split,omitempty"`
	SentPackets        int64  `json:"sent_packets"`
	SentBytes          int64  `json:"sent_bytes"`
	BackPackets        int64  `json:"back_packets"`
	BackBytes          int64  `json:"back_bytes"`
	ConnectionsStarted int64  `json:"connections_started"`
	Line               string `json:"line"` // the record as it stands in the trail
}

// Why a record is in no sum.
const (
	// NotCountedNoTraffic: the window saw no packet of it.
	NotCountedNoTraffic = "no_traffic"
	// NotCountedBySource and NotCountedByDestination: records that the source's node, or the
	// destination's, reported count the same traffic.
	NotCountedBySource      = "counted_by_source"
	NotCountedByDestination = "counted_by_destination"
)

// Flows answers with single records. It looks from the end of the span backwards, in
// stretches that grow, until there are enough. It never holds more flows than twice the
// limit and a page: where a stretch turns out to have more, half of it is read instead.
func (t *Trail) Flows(ctx context.Context, q *FlowsQuestion) (*FlowsAnswer, error) {
	all, begin, err := t.started(ctx, alignedTo(q.Span))
	if err != nil {
		return nil, err
	}
	l := newLedger()
	f := &newest{FlowsQuestion: q, unreadable: make(map[int64]int64)}
	at, stretch, crowded := all.to, int64(leastRead), all.to
	for at > begin && (q.Limit == 0 || len(f.found) < q.Limit) {
		i := interval{max(at-stretch, begin), at}
		t.progress("flow records", int(all.to-at), int(all.to-begin))
		err := t.readNewest(ctx, f, i)
		if errors.Is(err, errCrowded) {
			crowded, stretch = i.from, halved(i.to-i.from)
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := t.readCoverage(ctx, l, []interval{i}); err != nil {
			return nil, err
		}
		if at = i.from; at > crowded {
			stretch = halved(at - crowded) // there are more than enough in it
		} else {
			stretch = min(stretch*4, day)
		}
	}
	if err := t.noteGone(ctx, l, []interval{{at, all.to}}); err != nil {
		return nil, err
	}
	for second, records := range f.unreadable {
		l.lacks(second, records)
	}
	a := &FlowsAnswer{Cluster: t.Cluster, Flows: []FlowRecord{}, More: at > begin}
	a.More = f.cut(q.Limit) || a.More
	for i := range f.found {
		a.Flows = append(a.Flows, f.found[i].record(l.window))
	}
	if at == begin {
		at = all.from // nothing is there before the trail began
	}
	a.Back = time.Unix(at, 0).UTC()
	a.Coverage = l.coverage(at, all.to, begin, t.Clock.Now().Unix())
	return a, nil
}

// leastRead is the shortest stretch that Flows reads, in seconds.
const leastRead = 5 * 60

// errCrowded ends the reading of a stretch that has far more flows than are wanted.
var errCrowded = errors.New("more flows than are wanted")

// halved is half a stretch, in whole windows, but no less than leastRead.
func halved(stretch int64) int64 { return max(stretch/2/defaultWindow*defaultWindow, leastRead) }

// newest are the newest flows so far.
type newest struct {
	*FlowsQuestion
	found      []timedFlow
	more       bool            // flows were left out
	unreadable map[int64]int64 // records that cannot be read, by second
}

// readNewest adds the flows of a stretch that is older than those before, or returns
// errCrowded and adds none.
func (t *Trail) readNewest(ctx context.Context, f *newest, i interval) error {
	part := &newest{unreadable: make(map[int64]int64)}
	most := 2*f.Limit + defaultPageSize
	read := &Question{Cluster: t.Cluster, Stream: flowlog.StreamFlows, Filter: f.Filter.ofFlows(), Spans: []Span{unix(i.from, i.to)}}
	err := t.Source.Read(ctx, read, func(e *Entry) error {
		flow, err := ParseFlow(e)
		switch {
		case err != nil:
			part.unreadable[e.Time.Unix()]++
			return nil //nolint:nilerr // it is counted, and said
		case !f.Filter.MatchesFlow(&flow):
			return nil
		}
		part.found = append(part.found, timedFlow{flow, e.Line})
		if f.Limit > 0 && len(part.found) > most {
			if i.to-i.from > leastRead {
				return errCrowded
			}
			part.cut(f.Limit)
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.found = append(f.found, part.found...)
	f.more = f.more || part.more
	maps.Copy(f.unreadable, part.unreadable)
	return nil
}

// cut sorts the flows, the newest first, and leaves the first limit of them, or all if it
// is 0. It reports whether any has ever been left out.
func (f *newest) cut(limit int) bool {
	slices.SortFunc(f.found, func(a, b timedFlow) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.line, b.line)) })
	if limit > 0 && len(f.found) > limit {
		clear(f.found[limit:])
		f.found, f.more = f.found[:limit], true
	}
	return f.more
}

// timedFlow is a flow and its line.
type timedFlow struct {
	Flow
	line string
}

func (f *timedFlow) record(window int64) FlowRecord {
	r := FlowRecord{
		Window: time.Unix(f.Time.Unix()/window*window, 0).UTC(),
		Source: f.Edge.Source, Destination: f.Edge.Destination,
		Port: f.Port, Transport: f.Transport, Action: f.Action,
		SourceEndpoint: endpoint(&f.Source), DestinationEndpoint: endpoint(&f.Destination),
		Reporter: f.Reporter, PendingAction: f.PendingAction(), Policy: f.Deciding, Late: f.Late, NotCounted: f.notCounted(), Split: f.Split,
		SentPackets: f.SourcePackets, SentBytes: f.SourceBytes, BackPackets: f.DestinationPackets, BackBytes: f.DestinationBytes,
		ConnectionsStarted: f.ConnectionsStarted, Line: f.line,
	}
	if f.SourceAction != f.DestinationAction {
		r.SourceAction, r.DestinationAction = f.SourceAction, f.DestinationAction
	}
	if f.Service.Name != "" {
		r.Service = f.Service.Namespace + "/" + f.Service.Name
	}
	return r
}

func (f *timedFlow) notCounted() string {
	switch {
	case f.Counts:
		return ""
	case f.NoTraffic():
		return NotCountedNoTraffic
	case f.Reporter == flowlog.ReporterDestination:
		return NotCountedBySource
	}
	return NotCountedByDestination
}

// endpoint is an endpoint's name for people.
func endpoint(e *flowlog.Endpoint) string {
	name := e.Name
	if e.Namespace != "" {
		name = e.Namespace + "/" + name
	}
	if e.Type != flowlog.TypeWorkload {
		name = e.Type + ":" + name
	}
	return name
}
