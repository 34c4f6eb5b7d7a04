package goldmanereceiver

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadata"
)

// Values of the metrics' attributes; metadata.yaml says what each means.
const (
	causeUnreachable = "unreachable"
	causeTLS         = "tls"
	causeTooLarge    = "too_large"
	causeTimeout     = "timeout"
	causeRefused     = "refused"
	causeGarbled     = "garbled"
)

// counters are the receiver's metrics.
type counters struct {
	*metadata.TelemetryBuilder
}

func newCounters(set component.TelemetrySettings) (counters, error) {
	builder, err := metadata.NewTelemetryBuilder(set)
	return counters{builder}, err
}

func with(key, value string) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String(key, value)))
}

// add counts n where it is not 0: a series appears when there is something to say.
func add(ctx context.Context, counter metric.Int64Counter, n int64, key, value string) {
	if n != 0 {
		counter.Add(ctx, n, with(key, value))
	}
}

// window counts a window of which the last has been said.
func (c counters) window(ctx context.Context, status string) {
	add(ctx, c.GoldmaneWindows, 1, "status", status)
}

// lost counts windows that can never be read.
func (c counters) lost(ctx context.Context, n int64) {
	add(ctx, c.GoldmaneWindows, n, "status", flowlog.StatusMissing)
}

func (c counters) listFailed(ctx context.Context, cause string) {
	add(ctx, c.GoldmaneListFailures, 1, "cause", cause)
}

// settled counts what became of the rows of one window.
func (c counters) settled(ctx context.Context, w *window, from *converter) {
	add(ctx, c.GoldmaneFlowsMerged, w.byReporter, "by", "reporter")
	add(ctx, c.GoldmaneFlowsMerged, w.byPolicyOrder, "by", "policy_order")
	add(ctx, c.GoldmaneFlowsMerged, w.byPolicies, "by", "policies")
	add(ctx, c.GoldmaneFlowsDiscarded, from.discarded.noFlow, "reason", "no_flow")
	add(ctx, c.GoldmaneFlowsDiscarded, from.discarded.noKey, "reason", "no_key")
	add(ctx, c.GoldmaneFlowsDiscarded, from.discarded.unfinished, "reason", "unfinished")
	add(ctx, c.GoldmaneFlowsDiscarded, from.discarded.otherWindow, "reason", "other_window")
	add(ctx, c.GoldmaneFlowsOdd, from.odd.unknownEnums, "reason", "unknown_enum")
	add(ctx, c.GoldmaneFlowsOdd, from.odd.noPolicies, "reason", "no_policies")
	add(ctx, c.GoldmaneFlowsOdd, from.odd.emptyHits, "reason", "empty_hit")
	add(ctx, c.GoldmaneFlowsOdd, from.odd.stagedEnforced, "reason", "staged_enforced")
	add(ctx, c.GoldmaneFlowsOdd, from.odd.badPolicies, "reason", "bad_policies")
	add(ctx, c.GoldmaneFlowsOdd, from.odd.badText, "reason", "bad_text")
	add(ctx, c.GoldmaneFlowsOdd, from.odd.labels, "reason", "label")
}
