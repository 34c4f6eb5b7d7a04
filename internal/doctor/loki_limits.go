package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

const (
	// wantedRetention is how long the trail is kept, as docs/loki.md has it.
	wantedRetention = 90 * 24 * time.Hour
	// attributes is how many a record has in Loki at most (docs/loki.md).
	attributes = 8
	// largestPush is the exporter's max_size in the shipped configurations, in MB.
	largestPush = 2
	// oldest is how old records are after an outage: Goldmane's hour.
	oldestRecord = time.Hour
)

// settings is Loki's configuration, as far as it tells. Limits of a tenant come before
// the general ones.
type settings struct {
	Limits    map[string]any `yaml:"limits_config"`
	Compactor struct {
		RetentionEnabled bool `yaml:"retention_enabled"`
	} `yaml:"compactor"`
	whole bool // /config was readable: what is not there is not set
}

// settings asks Loki for its configuration, and for the tenant's limits, which are more
// often let through.
func (l *Loki) settings(ctx context.Context) (c *settings, why string) {
	c = &settings{}
	r, err := l.get(ctx, "/config", nil)
	switch {
	case err != nil:
		why = err.Error()
	case r.status != http.StatusOK:
		why = "/config answers " + r.said()
	default:
		if err := yaml.Unmarshal(r.body, c); err != nil || c.Limits == nil {
			why = "/config is no configuration of Loki"
			c = &settings{}
		} else {
			c.whole = true
		}
	}
	if c.Limits == nil {
		c.Limits = map[string]any{}
	}
	maps.Copy(c.Limits, l.tenantLimits(ctx))
	return c, why
}

// tenantLimits are the limits that Loki tells a tenant, empty if it tells none.
func (l *Loki) tenantLimits(ctx context.Context) map[string]any {
	// A Loki without tenants calls its one "fake", and asks for it here all the same.
	r, err := l.ask(ctx, http.MethodGet, "/loki/api/v1/drilldown-limits", nil, func(h http.Header) {
		if h.Get("X-Scope-OrgID") == "" {
			h.Set("X-Scope-OrgID", "fake")
		}
	})
	if err != nil || r.status != http.StatusOK {
		return nil
	}
	var answer struct {
		Limits map[string]any `json:"limits"`
	}
	if json.Unmarshal(r.body, &answer) != nil {
		return nil // an older Loki, or another's page
	}
	return answer.Limits
}

// text is a setting as it stands there, "" if it is not known.
func (c *settings) text(key string) string {
	v, ok := c.Limits[key]
	if !ok || v == nil {
		return ""
	}
	if f, ok := v.(float64); ok { // JSON's
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

func (c *settings) number(key string) (float64, bool) {
	n, err := strconv.ParseFloat(c.text(key), 64)
	return n, err == nil
}

func (c *settings) duration(key string) (time.Duration, bool) {
	d, err := model.ParseDuration(c.text(key))
	return time.Duration(d), err == nil
}

// limits checks what Loki is set to, as far as it tells.
func (l *Loki) limits(ctx context.Context, s *section) {
	c, why := l.settings(ctx)
	c.structuredMetadata(s, why)
	c.pushes(s, why)
	c.queries(s, why)
	c.retention(s, l.Cluster, why)
}

func (c *settings) structuredMetadata(s *section, why string) {
	const name = "structured metadata"
	allowed := c.text("allow_structured_metadata") // which /config leaves out where it is false
	entries, known := c.number("max_structured_metadata_entries_count")
	switch {
	case allowed == "" && !c.whole:
		s.skip(name, "cannot be told: %s", why)
	case allowed != "true":
		s.fail(name, "set limits_config::allow_structured_metadata to true (schema v13 and tsdb are needed for it)", "it is not allowed: Loki refuses OTLP")
	case known && entries > 0 && entries < attributes:
		s.fail(name, fmt.Sprintf("raise limits_config::max_structured_metadata_entries_count to %d or more; Loki's default is 128", attributes), "%g attributes a record are allowed: the trail has up to %d", entries, attributes)
	default:
		s.ok(name, "allowed, up to %s attributes and %s a record; the trail has up to %d", c.text("max_structured_metadata_entries_count"), c.text("max_structured_metadata_size"), attributes)
	}
}

func (c *settings) pushes(s *section, why string) {
	const name = "pushes"
	burst, known := c.number("ingestion_burst_size_mb")
	if !known {
		s.skip(name, "cannot be told: %s", why)
		return
	}
	age, limited := c.duration("reject_old_samples_max_age")
	limited = limited && c.text("reject_old_samples") == "true"
	switch {
	case burst < largestPush:
		s.fail(name, "raise limits_config::ingestion_burst_size_mb (Loki's default is 6), or lower max_size of the exporter's batch", "the burst is %g MB: a push of %d MB, as large as the shipped exporter makes them, can never pass", burst, largestPush)
	case limited && age <= oldestRecord:
		s.fail(name, "raise limits_config::reject_old_samples_max_age (Loki's default is a week)", "records older than %s are refused: after an outage the Collector reads an hour back", c.text("reject_old_samples_max_age"))
	default:
		s.ok(name, "%s MB/s, burst %s MB; records up to %s old", c.text("ingestion_rate_mb"), c.text("ingestion_burst_size_mb"), c.text("reject_old_samples_max_age"))
	}
}

func (c *settings) queries(s *section, why string) {
	const name = "queries"
	var known []string
	for _, key := range []string{"max_query_length", "split_queries_by_interval", "max_query_series", "max_entries_limit_per_query", "max_query_lookback"} {
		if text := c.text(key); text != "" {
			known = append(known, key+" "+text)
		}
	}
	if len(known) == 0 {
		s.skip(name, "cannot be told: %s", why)
		return
	}
	if back, ok := c.duration("max_query_lookback"); ok && back > 0 && back < wantedRetention {
		s.warn(name, "raise limits_config::max_query_lookback, or set it to 0", "nothing older than %s is shown, however long it is kept (max_query_lookback)", c.text("max_query_lookback"))
		return
	}
	s.ok(name, "%s; goldtrail keeps to them, LogQL of one's own must", strings.Join(known, ", "))
}

// retention checks how long the trail is kept.
func (c *settings) retention(s *section, cluster, why string) {
	const (
		name   = "retention"
		remedy = "keep goldmane-.* for 2160h: docs/loki.md, \"Keep it for 90 days\""
	)
	general, known := c.duration("retention_period")
	switch {
	case !c.whole && known && general > 0 && general < wantedRetention:
		s.warn(name, remedy, "the tenant's retention_period is %s, unless a retention_stream says otherwise, which cannot be told: %s", c.text("retention_period"), why)
		return
	case !c.whole:
		s.skip(name, "cannot be told: %s", why)
		return
	case !c.Compactor.RetentionEnabled:
		s.warn(name, remedy, "nothing is ever deleted (compactor::retention_enabled is false): the trail is kept, and so is all else, until the store is full")
		return
	case !known:
		s.skip(name, "retention_period is %q", c.text("retention_period"))
		return
	}
	var kept, short []string
	// Quarters are not among them: in hours that are over, the hour's rollups say what they do.
	for _, stream := range []string{flowlog.StreamFlows, flowlog.StreamCoverage, flowlog.StreamEdges, flowlog.StreamEdgesDaily} {
		period, err := c.period(general, map[string]string{"service_name": stream, "k8s_cluster_name": cluster})
		if err != nil {
			s.skip(name, "cannot be told: %v", err)
			return
		}
		text := stream + " " + model.Duration(period).String()
		if period == 0 {
			text = stream + " for ever"
		}
		if period > 0 && period < wantedRetention {
			short = append(short, text)
		}
		kept = append(kept, text)
	}
	if len(short) > 0 {
		s.warn(name, remedy, "kept for less than 90 days: %s", strings.Join(short, ", "))
		return
	}
	s.ok(name, "%s", strings.Join(kept, ", "))
}

// streamRetention is one of limits_config::retention_stream.
type streamRetention struct {
	Selector string         `yaml:"selector"`
	Priority int            `yaml:"priority"`
	Period   model.Duration `yaml:"period"`
}

// period is how long a stream is kept: the retention_stream of the highest priority that
// selects it, and of those the shortest, or else the general one. 0 is for ever.
func (c *settings) period(general time.Duration, labels map[string]string) (time.Duration, error) {
	text, err := yaml.Marshal(c.Limits["retention_stream"])
	if err != nil {
		return 0, err
	}
	var list []streamRetention
	if err := yaml.Unmarshal(text, &list); err != nil {
		return 0, fmt.Errorf("retention_stream: %w", err)
	}
	list = slices.DeleteFunc(list, func(r streamRetention) bool {
		var selects bool
		if err == nil {
			selects, err = selectorMatches(r.Selector, labels)
		}
		return !selects
	})
	if err != nil || len(list) == 0 {
		return general, err
	}
	best := slices.MinFunc(list, func(a, b streamRetention) int {
		if a.Priority != b.Priority {
			return b.Priority - a.Priority
		}
		return int(a.Period - b.Period)
	})
	return time.Duration(best.Period), nil
}
