package goldmanereceiver

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A source dials the Service and the Pods alike, and counts the same at both; its
// destination, on the same node, knows the Service. Were both records given it, they would
// be one to Loki and to every reader.
func TestReportsThatDifferInTheServiceOnlyStayTwo(t *testing.T) {
	w, _ := assemble(t, true, row(), row(noService(bySrc)), row(withService(dstDenied)))
	assert.Len(t, w.records, 2)
	assert.NotEqual(t, w.records[0].line, w.records[1].line)
	w, _ = assemble(t, true, row(noService(bySrc)), row(withService(dstAllowed)))
	assert.Len(t, w.records, 1)
	assert.Equal(t, "api", w.flows[w.records[0].flow].Service.Name, "where there is one report, the destination knows better")
}
