package stack

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

func flow(reporter goldmane.Reporter, action goldmane.Action, port int64, policies ...string) *goldmane.Flow {
	trace := &goldmane.PolicyTrace{}
	for _, name := range policies {
		trace.EnforcedPolicies = append(trace.EnforcedPolicies, &goldmane.PolicyHit{Name: name})
	}
	return &goldmane.Flow{Key: &goldmane.FlowKey{
		SourceName: "a", DestName: "b", DestPort: port, Proto: "tcp", Reporter: reporter, Action: action, Policies: trace,
	}}
}

// dialled is a flow whose source dialled a Service.
func dialled(f *goldmane.Flow) *goldmane.Flow {
	f.Key.DestServiceName = "s"
	return f
}

func TestRecords(t *testing.T) {
	const src, dst, allow, deny = goldmane.Reporter_Src, goldmane.Reporter_Dst, goldmane.Action_Allow, goldmane.Action_Deny
	for _, tt := range []struct {
		name        string
		flows       []*goldmane.Flow
		most, least int
	}{
		{"none", nil, 0, 0},
		{"both sides of one", []*goldmane.Flow{flow(src, allow, 80), flow(dst, allow, 80)}, 2, 1},
		{"denied by the destination", []*goldmane.Flow{flow(src, allow, 80), flow(dst, deny, 80)}, 2, 1},
		{"denied by the source", []*goldmane.Flow{flow(src, deny, 80), flow(dst, allow, 80)}, 2, 2},
		{"two ports", []*goldmane.Flow{flow(src, allow, 80), flow(dst, allow, 81)}, 2, 2},
		{"one side only", []*goldmane.Flow{flow(src, allow, 80), flow(src, allow, 81)}, 2, 2},
		{"two sources for one destination", []*goldmane.Flow{flow(src, allow, 80), dialled(flow(src, allow, 80)), flow(dst, allow, 80)}, 3, 2},
		{"a destination of two verdicts", []*goldmane.Flow{flow(src, allow, 80), flow(dst, allow, 80), flow(dst, deny, 80)}, 3, 2},
		{"other policies", []*goldmane.Flow{flow(src, allow, 80, "x"), flow(src, allow, 80, "y"), flow(src, allow, 80, "y", "x")}, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			least, most, err := Records(tt.flows, true)
			require.NoError(t, err)
			assert.Equal(t, []int{tt.least, tt.most}, []int{least, most})
			least, most, err = Records(tt.flows, false)
			require.NoError(t, err)
			assert.Equal(t, []int{tt.most, tt.most}, []int{least, most})
		})
	}
}

func TestRecordsRefusesAFlowWithoutAKey(t *testing.T) {
	_, _, err := Records([]*goldmane.Flow{{}}, true)
	require.ErrorContains(t, err, "without a key")
}
