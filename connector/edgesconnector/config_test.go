package edgesconnector

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func TestLoadConfig(t *testing.T) {
	conf, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	load := func(key string) *Config {
		cfg := createDefaultConfig().(*Config)
		sub, err := conf.Sub(key)
		require.NoError(t, err)
		require.NoError(t, sub.Unmarshal(cfg))
		require.NoError(t, cfg.Validate())
		return cfg
	}
	assert.Equal(t, createDefaultConfig(), component.Config(load("edges")))
	assert.Equal(t, &Config{
		Interval: 15 * time.Minute, Daily: false, StorageID: &fileStorage,
		KnownEdges: KnownEdgesConfig{Learn: 0, Expire: 720 * time.Hour, Max: 5000},
		Metrics:    MetricsConfig{Interval: 30 * time.Second, MaxSeries: 2000},
	}, load("edges/all"))

	cfg := createDefaultConfig()
	require.ErrorContains(t, confmap.NewFromStringMap(map[string]any{"intervals": "1h"}).Unmarshal(cfg), "intervals")
}

func TestValidate(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"too short":          {func(c *Config) { c.Interval = time.Second }, "'interval' is 1s: must be a whole part of a day, at least 1m and a multiple of 4s, such as 20m or 1h, so that quarters add up to intervals and intervals to days; leave it out for 1h, which the goldtrail command reads"},
		"no whole quarters":  {func(c *Config) { c.Interval = 90 * time.Second }, "'interval' is 1m30s: must be a whole part of a day, at least 1m and a multiple of 4s"},
		"no part of a day":   {func(c *Config) { c.Interval = 7 * time.Hour }, "'interval' is 7h0m0s: must be a whole part of a day,"},
		"negative":           {func(c *Config) { c.Interval = -time.Hour }, "'interval' is -1h0m0s"},
		"days twice":         {func(c *Config) { c.Interval = day }, "'interval' is 24h0m0s: is what 'daily' gives already; set 'daily' to false, or choose a shorter interval"},
		"learns backwards":   {func(c *Config) { c.KnownEdges.Learn = -1 }, "'known_edges::learn' is -1ns: must be at least 0s"},
		"forgets at once":    {func(c *Config) { c.KnownEdges.Expire = time.Hour }, "'known_edges::expire' is 1h0m0s: must be at least 24h"},
		"knows nothing":      {func(c *Config) { c.KnownEdges.Max = 0 }, "'known_edges::max' is 0: must be at least 1"},
		"hands on for ever":  {func(c *Config) { c.Metrics.Interval = 0 }, "'metrics::interval' is 0s: must be at least 1s"},
		"no series":          {func(c *Config) { c.Metrics.MaxSeries = 9 }, "'metrics::max_series' is 9: must be at least 10"},
		"two things at once": {func(c *Config) { c.Metrics.MaxSeries, c.KnownEdges.Max = 0, 0 }, "'metrics::max_series' is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := createDefaultConfig().(*Config)
			test.change(cfg)
			require.ErrorContains(t, cfg.Validate(), test.want)
		})
	}
	cfg := createDefaultConfig().(*Config)
	cfg.Interval, cfg.Daily = day, false
	require.NoError(t, cfg.Validate())
}
