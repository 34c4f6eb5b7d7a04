package stack

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// sumOfSeries adds up the series, in Prometheus' text format, whose name begins so and
// that have all of the labels, each written as there: resource="pods".
func sumOfSeries(metrics io.Reader, name string, labels ...string) (float64, error) {
	sum := 0.0
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 || !strings.HasPrefix(fields[0], name) ||
			slices.ContainsFunc(labels, func(label string) bool { return !strings.Contains(fields[0], label) }) {
			continue
		}
		value, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum += value
	}
	return sum, lines.Err()
}
