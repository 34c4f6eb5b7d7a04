package goldmanereceiver

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadatatest"
)

// A crash between storing what is about to be handed on and taking note that it was, and a
// Goldmane that would answer otherwise now: the flow has counted on, its other side has
// been reported, and there is one more.
func TestAfterACrashTheSameIsHandedOn(t *testing.T) {
	r := newRig(t, nil, nil)
	cfg := r.config()
	r.store(cfg)
	r.start(cfg)
	r.advance(0)
	next := r.receiver.state.Next
	r.stop()

	at := func(f *goldmane.Flow) { f.StartTime, f.EndTime = next, next+15 }
	w, err := newWindow(next, encode(t, row(port(77), at)), r.receiver.convert, true, earlier{})
	require.NoError(t, err)
	known := r.receiver.coverage(&task{start: next}, w)
	after, ops := r.receiver.after(&task{start: next}, w, true)
	keep, err := openStore(context.Background(), r, cfg.StorageID, r.receiver.set.ID, r.receiver.set.Logger)
	require.NoError(t, err)
	require.NoError(t, keep.fillOutbox(context.Background(), w, &known, after, ops))
	require.NoError(t, keep.client.Close(context.Background()))

	r.push(next, port(77), later60)
	r.push(next, port(77), atDestination)
	r.push(next, port(78))
	r.start(cfg)
	r.awaitRecords(1)
	assert.Equal(t, []string{w.records[0].line}, r.bodies())
	r.run(time.Minute)
	r.stop()
	r.start(cfg)
	r.run(6 * time.Minute)
	r.awaitRecords(3)
	late := 0
	for _, line := range r.bodies() {
		if strings.HasSuffix(line, " late") {
			late++
		}
	}
	assert.Equal(t, 2, late, "what has come since is found when the window is listed again")
	metadatatest.AssertEqualGoldmaneFlowsRaised(t, r.telemetry, sum(1), ignore)
}
