package svcidprocessor

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/goldtrail/goldtrail/processor/svcidprocessor/internal/metadata"
)

var sideNames = [sideCount]string{source: "source", destination: "destination"}

// counters hold the instruments and, made beforehand, the attributes of every series.
// Safe for concurrent use.
type counters struct {
	telemetry *metadata.TelemetryBuilder
	endpoints [sideCount][basisCount][]metric.AddOption
	malformed [sideCount][fieldCount][]metric.AddOption
}

func newCounters(set component.TelemetrySettings) (*counters, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, err
	}
	c := &counters{telemetry: telemetry}
	for s := range sideCount {
		for b := range basisCount {
			c.endpoints[s][b] = series(attribute.String("basis", basisNames[b]), attribute.String("side", sideNames[s]))
		}
		for f := range fieldCount {
			c.malformed[s][f] = series(attribute.String("attribute", readKeys[s][f]))
		}
	}
	return c, nil
}

func series(attrs ...attribute.KeyValue) []metric.AddOption {
	return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attrs...))}
}

func (c *counters) add(ctx context.Context, t *tally) {
	for s := range sideCount {
		for b, n := range t.endpoints[s] {
			if n > 0 {
				c.telemetry.SvcidEndpoints.Add(ctx, n, c.endpoints[s][b]...)
			}
		}
		for f, n := range t.malformed[s] {
			if n > 0 {
				c.telemetry.SvcidMalformedAttributes.Add(ctx, n, c.malformed[s][f]...)
			}
		}
	}
}
