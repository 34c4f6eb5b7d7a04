package goldmanereceiver

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// stateBefore is the version of state that is still understood: format v1 of the trail,
// which decided each window by itself.
const stateBefore = 2

// upgrade makes a state of what version 2 has stored. Where reading stands is kept, so that
// no hour is written twice. The windows that were to be listed again, six minutes of them,
// end as they are: what was handed on of them was decided by another rule.
func (s *store) upgrade(ctx context.Context, stored []byte, st *state) error {
	var before struct {
		Recheck  []int64 `json:"recheck"`
		Rejected []int64 `json:"rejected"`
		Live     []int64 `json:"live"`
	}
	err := json.Unmarshal(stored, &before)
	st.Version = stateVersion
	ops := []*storage.Operation{storage.DeleteOperation("outbox")}
	for _, start := range before.Recheck {
		h := held{
			Start: start, Decided: true, Rejected: slices.Contains(before.Rejected, start),
			Known: flowlog.Coverage{Start: start, End: start + st.Window},
		}
		doubt(&h.Known, flowlog.CauseNotRechecked)
		st.hold(h)
		ops = append(ops, storage.DeleteOperation(partKey(ledgerPart, start)))
	}
	for _, start := range before.Live {
		ops = append(ops, storage.DeleteOperation(fmt.Sprintf("live/%d", start)))
	}
	s.save(ctx, st, ops...)
	s.logger.Info("The cursor of an older version is taken up: reading goes on where it stood, and the records are of format v2 from here on",
		zap.Int("windows that are not listed again", len(before.Recheck)))
	return err
}
