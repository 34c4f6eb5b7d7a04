package edgesconnector

import (
	"bytes"
	"fmt"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// state is all that is summed up, for each origin. Fields are exported for gob.
type state struct {
	Version  int
	Settings settings
	Clusters []*cluster
}

// stateVersion is the version of state's form, and of the journal's. Of others, version
// summedByReporter is migrated.
const (
	stateVersion = 3
	// summedByReporter is the version whose sums were made by another rule. Its form differs
	// in what windows remember, and its journal's in that entries have no checksum and are
	// named by their number alone.
	summedByReporter = 2
)

func newState(set settings) *state { return &state{Version: stateVersion, Settings: set} }

// cluster returns the cluster with that resource, which it makes if it is new.
func (s *state) cluster(resource []byte) *cluster {
	for _, c := range s.Clusters {
		if bytes.Equal(c.Resource, resource) {
			return c
		}
	}
	c := newCluster(resource, s.Settings)
	s.Clusters = append(s.Clusters, c)
	return c
}

// sweep forgets what is over and done with.
func (s *state) sweep() {
	for _, c := range s.Clusters {
		c.sweep()
	}
}

// restore makes what gob does not keep.
func (s *state) restore() {
	for _, c := range s.Clusters {
		c.set = s.Settings
		c.Edges.restore(s.Settings.MaxEdges)
		for g, all := range c.Intervals {
			if all == nil { // gob leaves out what is empty
				c.Intervals[g] = map[int64]*interval{}
			}
			for _, i := range all {
				if i.Sums == nil {
					i.Sums = map[uint32]*sum{}
				}
				for _, s := range i.Sums {
					if len(s.Policies) > 0 {
						s.Policies = c.Edges.names.list(s.Policies)
					}
				}
			}
		}
		if c.Windows == nil {
			c.Windows = map[int64]*window{}
		}
	}
}

// migrate makes a state of summedByReporter one of this version. Its sums are given up, and
// what they were of is over: what was said of an interval must not be said again of less.
// The day that is running is summed up from there on, and its rollups say so, since they
// know of fewer windows.
func (s *state) migrate() {
	for _, c := range s.Clusters {
		c.Windows, c.Finals = map[int64]*window{}, nil
		for g := range c.Intervals {
			c.Intervals[g] = map[int64]*interval{}
		}
		length := s.Settings.Lengths[wholes]
		c.Horizon = max(c.Horizon, (c.Newest+length-1)/length*length)
	}
	s.Version = stateVersion
}

// change goes on with other settings. Intervals of another length are given up.
func (s *state) change(set settings) (lost bool) {
	for _, c := range s.Clusters {
		for g, length := range set.Lengths {
			if length != s.Settings.Lengths[g] {
				lost = lost || length > 0 && len(c.Intervals[g]) > 0
				c.Intervals[g] = map[int64]*interval{}
			}
		}
		c.set = set
		c.Edges.max = set.MaxEdges
	}
	s.Settings = set
	return lost
}

// originOf is a resource without its service.name, as state.Clusters has it. Attributes
// are in the order of their keys: that of the record's says nothing.
func originOf(resource pcommon.Resource) ([]byte, error) {
	logs := plog.NewLogs()
	attrs := logs.ResourceLogs().AppendEmpty().Resource().Attributes()
	for _, key := range sortedKeys(resource.Attributes()) {
		if key != flowlog.ServiceName {
			v, _ := resource.Attributes().Get(key)
			v.CopyTo(attrs.PutEmpty(key))
		}
	}
	return (&plog.ProtoMarshaler{}).MarshalLogs(logs)
}

// newLogs returns logs of an origin and stream, and where its records go.
func newLogs(origin []byte, stream string) (plog.Logs, plog.LogRecordSlice, error) {
	logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(origin)
	if err != nil || logs.ResourceLogs().Len() != 1 {
		return plog.Logs{}, plog.LogRecordSlice{}, fmt.Errorf("the resource of stored records cannot be read: %w", err)
	}
	resource := logs.ResourceLogs().At(0)
	resource.Resource().Attributes().PutStr(flowlog.ServiceName, stream)
	return logs, resource.ScopeLogs().AppendEmpty().LogRecords(), nil
}
