package doctor

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// A window that is read on time has the ring's hour before it is lost.
	lowHeadroom = 30 * time.Minute
	noHeadroom  = 5 * time.Minute
	// A window is handed on 75 s after its start, a minute after its end; twice that is
	// late. Where nodes flush every 300 s it is handed on six minutes after its end.
	oldCursor = 2 * time.Minute
)

// metrics are what a process counts, the Collector or Goldmane.
type metrics map[string]*dto.MetricFamily

// suffixes are what an exporter of metrics puts behind a name, by how it is set.
var suffixes = []string{"", "_total", "_seconds", "_seconds_total"}

// series are the values of a metric.
func (m metrics) series(name string) []*dto.Metric {
	for _, suffix := range suffixes {
		if family := m[name+suffix]; family != nil {
			return family.Metric
		}
	}
	return nil
}

// sum adds a metric's series up; false if there is none.
func (m metrics) sum(name string) (total float64, there bool) {
	for _, s := range m.series(name) {
		total += value(s)
	}
	return total, len(m.series(name)) > 0
}

// by adds a metric's series up by a label; series of which it is 0 are left out.
func (m metrics) by(name, label string) string {
	var parts []string
	for _, s := range m.series(name) {
		if value(s) != 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f", labelOf(s, label), value(s)))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func value(s *dto.Metric) float64 {
	switch {
	case s.Counter != nil:
		return s.Counter.GetValue()
	case s.Gauge != nil:
		return s.Gauge.GetValue()
	}
	return s.Untyped.GetValue()
}

func labelOf(s *dto.Metric, name string) string {
	for _, l := range s.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// scrape gets a page of metrics in Prometheus' text format.
func scrape(ctx context.Context, address string) (metrics, error) {
	r, err := fetch(ctx, address)
	if err != nil {
		return nil, err
	}
	if r.status != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", address, r.said())
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("%s serves no metrics: %w", address, err)
	}
	return families, nil
}

// metrics checks what the Collector counts.
func (c *Collector) metrics(ctx context.Context, clock clockwork.Clock, s *section) {
	m, err := scrape(ctx, c.MetricsURL)
	if err != nil {
		s.fail("metrics", "'--collector-metrics' is where service::telemetry::metrics serves Prometheus: METRICS_HOST and METRICS_PORT of the shipped configurations, with /metrics behind", "%v", err)
		return
	}
	headroom, there := m.sum("goldtrail_goldmane_ring_headroom")
	if !there {
		s.warn("metrics", "is it the port of the Collector's own metrics (8888), and not that of the edges' counters (8889)? Is the receiver `goldmane` in a pipeline? Is service::telemetry::metrics::level none?",
			"there are %d metrics, and none of the receiver", len(m))
		return
	}
	m.reading(s, time.Duration(headroom*float64(time.Second)))
	m.lost(s)
	m.exporting(s)
	if ends, there := m.sum("goldtrail_goldmane_certificate_expiry"); there && ends > 0 {
		s.dates("client certificate", "the receiver's client certificate", time.Time{}, time.Unix(int64(ends), 0), clock.Now(), renewClient)
	}
}

// reading checks whether windows are read in time.
func (m metrics) reading(s *section, headroom time.Duration) {
	age, _ := m.sum("goldtrail_goldmane_cursor_age")
	behind := time.Duration(age * float64(time.Second))
	failures := m.by("goldtrail_goldmane_list_failures", "cause")
	detail := fmt.Sprintf("it is %s behind, and %s before windows are lost", span(behind), span(headroom))
	if failures != "" {
		detail += "; calls that failed since it started: " + failures
	}
	const remedy = "see the health of the receiver and of the exporter: either Goldmane cannot be read, or the pipeline takes nothing"
	switch {
	case headroom < noHeadroom:
		s.fail("reading", remedy, "%s", detail)
	case headroom < lowHeadroom, behind > oldCursor:
		s.warn("reading", remedy+"; after an outage it catches up by itself, and with a 'flush_interval' of 300s 6 min are as it should be", "%s", detail)
	default:
		s.ok("reading", "%s", detail)
	}
}

// lost checks whether something is missing in the trail for good.
func (m metrics) lost(s *section) {
	if n, _ := m.sum("goldtrail_goldmane_records_rejected"); n > 0 {
		s.fail("rejected", "the Collector's log says which component refuses them, and why", "%.0f records were rejected for good since it started: they are not in the trail", n)
	} else {
		s.ok("rejected", "no record was rejected")
	}
	windows := m.by("goldtrail_goldmane_windows", "status")
	if windows == "" {
		s.ok("windows", "none is settled for good yet: that is said after six and a half minutes")
		return
	}
	if strings.Contains(windows, "missing") || strings.Contains(windows, "partial") {
		s.warn("windows", "`goldtrail coverage --since 24h` says which, and why", "since it started: %s", windows)
		return
	}
	s.ok("windows", "since it started: %s", windows)
}

// exporting checks whether records get out.
func (m metrics) exporting(s *section) {
	const loki = "see Loki's checks; the Collector's log has what Loki says"
	if n, _ := m.sum("otelcol_exporter_send_failed_log_records"); n > 0 {
		s.fail("exporter", loki, "%s: records that could not be sent, and were dropped", m.by("otelcol_exporter_send_failed_log_records", "exporter"))
	} else if n, _ := m.sum("otelcol_exporter_enqueue_failed_log_records"); n > 0 {
		s.warn("exporter", loki+". The receiver waits and tries again: nothing is lost while Goldmane keeps it", "%s: records that found the queue full", m.by("otelcol_exporter_enqueue_failed_log_records", "exporter"))
	} else {
		s.ok("exporter", "records sent: %s; none failed", orNone(m.by("otelcol_exporter_sent_log_records", "exporter")))
	}
	for _, capacity := range m.series("otelcol_exporter_queue_capacity") {
		name := labelOf(capacity, "exporter")
		if labelOf(capacity, "data_type") != "logs" || value(capacity) == 0 {
			continue
		}
		for _, size := range m.series("otelcol_exporter_queue_size") {
			if labelOf(size, "exporter") != name || labelOf(size, "data_type") != "logs" {
				continue
			}
			share := 100 * value(size) / value(capacity)
			detail := fmt.Sprintf("%s: %.0f of %.0f, %.0f %%", name, value(size), value(capacity), share)
			switch {
			case share >= 90:
				s.fail("queue", loki, "%s", detail)
			case share >= 50:
				s.warn("queue", loki, "%s", detail)
			default:
				s.ok("queue", "%s", detail)
			}
		}
	}
}

func orNone(text string) string {
	if text == "" {
		return "none yet"
	}
	return text
}
