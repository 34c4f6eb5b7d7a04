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
	endpoints [sideCount][basisCount][reasonCount][]metric.AddOption
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
			for r := range reasonCount {
				attrs := []attribute.KeyValue{attribute.String("basis", basisNames[b]), attribute.String("side", sideNames[s])}
				if r != reasonNone {
					attrs = append(attrs, attribute.String("reason", reasonNames[r]))
				}
				c.endpoints[s][b][r] = series(attrs...)
			}
		}
		for f := range fieldCount {
			if readKeys[s][f] == "" {
				continue
			}
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
		for b := range basisCount {
			for r, n := range t.endpoints[s][b] {
				if n > 0 {
					c.telemetry.SvcidEndpoints.Add(ctx, n, c.endpoints[s][b][r]...)
				}
			}
		}
		for f, n := range t.malformed[s] {
			if n > 0 {
				c.telemetry.SvcidMalformedAttributes.Add(ctx, n, c.malformed[s][f]...)
			}
		}
	}
}
