package edgesconnector

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
)

const (
	day = 24 * time.Hour

	defaultInterval        = time.Hour
	defaultLearn           = day
	defaultExpire          = 90 * day
	defaultMaxEdges        = 100_000
	defaultMetricsInterval = time.Minute
	defaultMaxSeries       = 20_000
	// minMaxSeries is room for the overflow series and for one edge.
	minMaxSeries = 2 * pointsAnEdge
)

// Config is the connector's configuration.
type Config struct {
	// Interval is what a rollup sums up, aligned to the epoch: a whole part of a day. There is
	// one of each quarter of it too.
	Interval time.Duration `mapstructure:"interval"`
	// Daily adds a rollup of every edge and day.
	Daily bool `mapstructure:"daily"`
	// StorageID is the storage extension that keeps what is not said yet, and the known
	// edges.
	StorageID *component.ID `mapstructure:"storage"`
	// KnownEdges is what is remembered of edges.
	KnownEdges KnownEdgesConfig `mapstructure:"known_edges"`
	// Metrics is of the logs to metrics side only.
	Metrics MetricsConfig `mapstructure:"metrics"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// KnownEdgesConfig is what is remembered of edges.
type KnownEdgesConfig struct {
	// Learn is how long after the first window edges become known without an event.
	Learn time.Duration `mapstructure:"learn"`
	// Expire is how long an edge must not be seen to be forgotten.
	Expire time.Duration `mapstructure:"expire"`
	// Max is how many edges are told apart, for each cluster.
	Max int `mapstructure:"max"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// MetricsConfig is of the logs to metrics side.
type MetricsConfig struct {
	// Interval is how often metrics are handed on.
	Interval time.Duration `mapstructure:"interval"`
	// MaxSeries is how many series there are at most, for each cluster, the overflow
	// series included.
	MaxSeries int `mapstructure:"max_series"`

	// prevent unkeyed literal initialization
	_ struct{}
}

var _ confmap.Validator = (*Config)(nil)

func createDefaultConfig() component.Config {
	return &Config{
		Interval:   defaultInterval,
		Daily:      true,
		KnownEdges: KnownEdgesConfig{Learn: defaultLearn, Expire: defaultExpire, Max: defaultMaxEdges},
		Metrics:    MetricsConfig{Interval: defaultMetricsInterval, MaxSeries: defaultMaxSeries},
	}
}

// Validate implements confmap.Validator. Every error names the key, the value, the rule
// and the remedy.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key string, value any, rule string) {
		errs = append(errs, fmt.Errorf("'%s' is %v: %s", key, value, rule))
	}
	switch {
	case c.Interval < time.Minute || c.Interval%(4*time.Second) != 0 || day%c.Interval != 0:
		refuse("interval", c.Interval, "must be a whole part of a day, at least 1m and a multiple of 4s, such as 20m or 1h, so that quarters add up to intervals and intervals to days; leave it out for 1h, which the goldtrail command reads")
	case c.Daily && c.Interval == day:
		refuse("interval", c.Interval, "is what 'daily' gives already; set 'daily' to false, or choose a shorter interval")
	}
	if c.KnownEdges.Learn < 0 {
		refuse("known_edges::learn", c.KnownEdges.Learn, "must be at least 0s, which says first_seen of every edge at once; leave it out for 24h")
	}
	if c.KnownEdges.Expire < day {
		refuse("known_edges::expire", c.KnownEdges.Expire, "must be at least 24h; an edge that is used once a day would be new every day. Leave it out for 2160h, 90 days")
	}
	if c.KnownEdges.Max < 1 {
		refuse("known_edges::max", c.KnownEdges.Max, fmt.Sprintf("must be at least 1; an edge takes up to 1.2 KB of memory. Leave it out for %d", defaultMaxEdges))
	}
	if c.Metrics.Interval < time.Second {
		refuse("metrics::interval", c.Metrics.Interval, "must be at least 1s; leave it out for 1m")
	}
	if c.Metrics.MaxSeries < minMaxSeries {
		refuse("metrics::max_series", c.Metrics.MaxSeries, fmt.Sprintf("must be at least %d: an edge has up to %d series, and so has the overflow; leave it out for %d", minMaxSeries, pointsAnEdge, defaultMaxSeries))
	}
	return errors.Join(errs...)
}
