package trail

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// Behind a hole of a day a few flows are wanted, and there are 28,800: they are not all read.
func TestFlowsBehindAHoleReadsFew(t *testing.T) {
	m := &memory{}
	now := at(t, "23:00:00")
	dense := now - 24*3600
	for start := dense - 6*3600; start < dense; start += defaultWindow {
		for i := range 20 {
			m.flow(start, fmt.Sprint("source-", i), false)
		}
		m.covered(start, 20, 0, true)
	}
	m.flow(dense-20*3600, "first", false)
	counting := &counting{memory: m}
	trail := &Trail{Source: counting, Clock: clockwork.NewFakeClockAt(time.Unix(now, 0))}
	a, err := trail.Flows(t.Context(), &FlowsQuestion{Span: unix(dense-20*3600, now), Limit: 3})
	require.NoError(t, err)
	require.Len(t, a.Flows, 3)
	assert.Equal(t, time.Unix(dense-defaultWindow, 0).UTC(), a.Flows[0].Window)
	assert.True(t, a.More)
	t.Logf("%d flows handed on, read back to %s", counting.flows, a.Back)
	assert.Less(t, counting.flows, 16_000)

	// Of a filter that few match, all are found.
	few := &FlowsQuestion{Span: unix(dense-20*3600, now), Filter: Filter{Source: []string{"first"}}, Limit: 3}
	a, err = trail.Flows(t.Context(), few)
	require.NoError(t, err)
	require.Len(t, a.Flows, 1)
	assert.False(t, a.More)
	assert.Equal(t, int64(6*240), a.Coverage.Complete)

	// And all are all, each once.
	a, err = trail.Flows(t.Context(), &FlowsQuestion{Span: unix(dense-20*3600, now)})
	require.NoError(t, err)
	assert.Len(t, a.Flows, 6*240*20+1)
	all := a.Flows
	a, err = trail.Flows(t.Context(), &FlowsQuestion{Span: unix(dense-20*3600, now), Limit: 7000})
	require.NoError(t, err)
	assert.Equal(t, all[:7000], a.Flows)
}

// counting counts the flow records that are handed on.
type counting struct {
	*memory
	flows int
}

func (c *counting) Read(ctx context.Context, q *Question, fn func(*Entry) error) error {
	return c.memory.Read(ctx, q, func(e *Entry) error {
		if q.Stream == flowlog.StreamFlows {
			c.flows++
		}
		return fn(e)
	})
}
