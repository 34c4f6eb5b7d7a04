package trail

import (
	"fmt"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// Flow is one flow record.
type Flow struct {
	Time time.Time
	Edge flowlog.Edge
	flowlog.Flow
}

// ParseFlow reads an entry of the flow stream. It fails, wrapping flowlog.ErrNotALine,
// for an entry that is none.
func ParseFlow(e *Entry) (Flow, error) {
	flow, err := e.Flow()
	if err != nil {
		return Flow{}, fmt.Errorf("entry of %s: %w", e.Time.UTC().Format(time.RFC3339Nano), err)
	}
	return Flow{Time: e.Time, Flow: flow, Edge: flowlog.Edge{
		Source:      e.Metadata[sourceLabel],
		Destination: e.Metadata[destinationLabel],
		Port:        flow.Port,
		Transport:   flow.Transport,
		Action:      flow.Action,
	}}, nil
}
