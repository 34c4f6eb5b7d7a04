package goldmanereceiver

import (
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
)

// ignore leaves out what a counter's assertion does not ask.
var ignore = metricdatatest.IgnoreTimestamp()

// sum is one point of a counter, with one attribute or none.
func sum(n int, keyAndValue ...string) []metricdata.DataPoint[int64] {
	set := attribute.NewSet()
	if len(keyAndValue) == 2 {
		set = attribute.NewSet(attribute.String(keyAndValue[0], keyAndValue[1]))
	}
	return []metricdata.DataPoint[int64]{{Value: int64(n), Attributes: set}}
}

// sumOf are the points of a counter with one attribute.
func sumOf(key string, values map[string]int) []metricdata.DataPoint[int64] {
	var all []metricdata.DataPoint[int64]
	for value, n := range values {
		all = append(all, sum(n, key, value)...)
	}
	return all
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
