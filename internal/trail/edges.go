package trail

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// Edge is who talks to whom, by what, and whether it may.
type Edge struct {
	Source, Destination string // service identities; "" where the record has none
	Port                int64  // the destination's; 0 where the transport has none
	Transport, Action   string
}

// Traffic is what was recorded of an edge.
type Traffic struct {
	Records        int64 // one per flow and window
	Packets, Bytes int64 // both directions
	First, Last    time.Time
}

// Edges sums records up by edge. The zero value is empty and ready. It is not safe for
// concurrent use.
type Edges struct {
	traffic map[Edge]Traffic
}

// Add counts a flow record. It fails, wrapping flowlog.ErrNotALine, for an entry that
// is none.
func (s *Edges) Add(e *Entry) error {
	flow, err := flowlog.ParseLine(e.Line)
	if err != nil {
		return fmt.Errorf("entry of %s: %w", e.Time.UTC().Format(time.RFC3339Nano), err)
	}
	edge := Edge{
		Source:      e.Metadata[Label(flowlog.SourceIdentity)],
		Destination: e.Metadata[Label(flowlog.DestinationIdentity)],
		Port:        flow.Port,
		Transport:   flow.Transport,
		Action:      flow.Action,
	}
	t, known := s.traffic[edge]
	if !known || e.Time.Before(t.First) {
		t.First = e.Time
	}
	if e.Time.After(t.Last) {
		t.Last = e.Time
	}
	t.Records++
	t.Packets += flow.SourcePackets + flow.DestinationPackets
	t.Bytes += flow.SourceBytes + flow.DestinationBytes
	if s.traffic == nil {
		s.traffic = make(map[Edge]Traffic)
	}
	s.traffic[edge] = t
	return nil
}

// EdgeTraffic is an edge and its traffic.
type EdgeTraffic struct {
	Edge
	Traffic
}

// ByBytes returns all edges, the one with the most bytes first; equal ones in the order
// of their names.
func (s *Edges) ByBytes() []EdgeTraffic {
	list := make([]EdgeTraffic, 0, len(s.traffic))
	for edge, traffic := range s.traffic {
		list = append(list, EdgeTraffic{edge, traffic})
	}
	slices.SortFunc(list, func(a, b EdgeTraffic) int {
		return cmp.Or(
			cmp.Compare(b.Bytes, a.Bytes),
			cmp.Compare(a.Source, b.Source),
			cmp.Compare(a.Destination, b.Destination),
			cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.Transport, b.Transport),
			cmp.Compare(a.Action, b.Action),
		)
	})
	return list
}
