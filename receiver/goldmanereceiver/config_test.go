package goldmanereceiver

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func load(t *testing.T, section string) (*Config, error) {
	t.Helper()
	all, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	sub, err := all.Sub(section)
	require.NoError(t, err)
	cfg := createDefaultConfig().(*Config)
	if err := sub.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

func TestDefaultConfig(t *testing.T) {
	cfg, err := load(t, "defaults")
	require.NoError(t, err)
	assert.Equal(t, createDefaultConfig(), cfg)
	assert.Equal(t, "goldmane.calico-system.svc:7443", cfg.Endpoint)
	assert.Equal(t, 15*time.Second, cfg.Window)
	assert.Equal(t, 15*time.Second, cfg.FlushInterval)
	assert.Equal(t, 45*time.Second, cfg.SettleDelay)
	assert.Equal(t, 6*time.Minute, cfg.RecheckDelay)
	assert.Equal(t, int64(2), cfg.reachWindows())
	assert.Equal(t, 256, cfg.MaxRecvMsgSizeMiB)
	assert.True(t, cfg.MergeReporters)
	assert.False(t, cfg.TLS.Insecure, "plaintext must be asked for")
	assert.Equal(t, time.Minute, cfg.TLS.ReloadInterval)
	assert.GreaterOrEqual(t, cfg.Keepalive.Get().Time, 5*time.Minute)
}

func TestEveryKey(t *testing.T) {
	cfg, err := load(t, "everything")
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1:17443", cfg.Endpoint)
	assert.True(t, cfg.TLS.Insecure)
	assert.Equal(t, time.Second, cfg.Window)
	assert.Equal(t, 1500*time.Millisecond, cfg.FlushInterval)
	assert.Equal(t, 4*time.Second, cfg.SettleDelay)
	assert.False(t, cfg.MergeReporters)
	assert.Equal(t, 24*time.Second, cfg.RecheckDelay)
	assert.Equal(t, "file_storage/cursor", cfg.StorageID.String())
	assert.True(t, cfg.Live)
	assert.Equal(t, StartAtNow, cfg.StartAt)
	assert.InDelta(t, 0.5, cfg.MaxListShare, 0)
	assert.Equal(t, []string{"app.kubernetes.io/*", "service-identity"}, cfg.Labels)
	assert.Equal(t, 64, cfg.MaxRecvMsgSizeMiB)
	assert.Equal(t, 5*time.Second, cfg.ListTimeout)
	assert.Equal(t, RetryConfig{InitialInterval: 100 * time.Millisecond, MaxInterval: 2 * time.Second}, cfg.Retry)
	assert.Equal(t, 10*time.Minute, cfg.Keepalive.Get().Time)
}

func TestAKeyThatDoesNotExist(t *testing.T) {
	_, err := load(t, "misspelt")
	require.ErrorContains(t, err, "invalid keys: settle_dealy")
}

func TestValidate(t *testing.T) {
	for name, test := range map[string]struct {
		change map[string]any
		want   string
	}{
		"endpoint empty":          {map[string]any{"endpoint": ""}, `'endpoint' is "": must be host:port of Goldmane; in a cluster of the Tigera operator it is goldmane.calico-system.svc:7443`},
		"endpoint without a port": {map[string]any{"endpoint": "goldmane"}, "missing port in address"},
		"keepalive too fast":      {map[string]any{"keepalive": map[string]any{"time": "30s"}}, "'keepalive::time' is 30s: must be at least 5m0s; Goldmane closes connections that ping faster"},
		"window of a fraction":    {map[string]any{"window": "1500ms"}, "'window' is 1.5s: must be a whole number of seconds, the AGGREGATION_WINDOW of Goldmane; leave it out unless Goldmane's was changed from 15s"},
		"window of nothing":       {map[string]any{"window": "0s"}, "'window' is 0s: must be a whole number of seconds"},
		"settled too soon":        {map[string]any{"settle_delay": "10s"}, "'settle_delay' is 10s: must be at least 32s; nodes that flush every 15s ('flush_interval') send a window's flows until about 31.5s after its start"},
		"settled too late":        {map[string]any{"settle_delay": "45m"}, "'settle_delay' is 45m0s: must be at most 29m30s; Goldmane forgets a window 59m0s after its start, and half of that is kept for outages"},
		"rechecked too soon":      {map[string]any{"recheck_delay": "45s"}, "'recheck_delay' is 45s: must be more than 'settle_delay', which is 45s, and at most 29m30s; or 0s, to list each window only once"},
		"rechecked too late":      {map[string]any{"recheck_delay": "1h"}, "'recheck_delay' is 1h0m0s: must be more than"},
		"an unknown start":        {map[string]any{"start_at": "newest"}, `'start_at' is "newest": must be "oldest", the oldest window that Goldmane has, or "now"`},
		"no flushes":              {map[string]any{"flush_interval": "0s"}, "'flush_interval' is 0s: must be more than 0s and at most 7m22.5s: Felix's flowLogsFlushInterval, which is 15s unless the FelixConfiguration says otherwise"},
		"flushes too rare":        {map[string]any{"flush_interval": "8m"}, "'flush_interval' is 8m0s: must be more than 0s and at most 7m22.5s"},
		"settled before a flush":  {map[string]any{"flush_interval": "300s", "settle_delay": "45s"}, "'settle_delay' is 45s: must be at least 5m45.5s; nodes that flush every 5m0s ('flush_interval') send a window's flows until about 5m45s after its start"},
		"no share of time":        {map[string]any{"max_list_share": 0.0}, "'max_list_share' is 0: must be over 0 and at most 1"},
		"more than all the time":  {map[string]any{"max_list_share": 1.5}, "'max_list_share' is 1.5: must be over 0 and at most 1"},
		"no room for an answer":   {map[string]any{"max_recv_msg_size_mib": 0}, "'max_recv_msg_size_mib' is 0: must be from 1 to 2047, in MiB; a flow takes about 440 bytes"},
		"more room than an int32": {map[string]any{"max_recv_msg_size_mib": 2048}, "'max_recv_msg_size_mib' is 2048: must be from 1 to 2047"},
		"no time for an answer":   {map[string]any{"list_timeout": "0s"}, "'list_timeout' is 0s: must be more than 0s"},
		"no pause":                {map[string]any{"retry": map[string]any{"initial_interval": "0s"}}, "'retry::initial_interval' is 0s: must be more than 0s, such as 1s"},
		"pauses that shrink":      {map[string]any{"retry": map[string]any{"max_interval": "10ms"}}, "'retry::max_interval' is 10ms: must be at least 'retry::initial_interval', which is 1s"},
		"a broken glob":           {map[string]any{"labels": []any{"app", "[a"}}, `'labels[1]' is "[a": must be made of the characters of a label key, '*' and '?'`},
		"a broken TLS version":    {map[string]any{"tls": map[string]any{"min_version": "0.9"}}, "unsupported TLS version"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := createDefaultConfig().(*Config)
			require.NoError(t, confmap.NewFromStringMap(test.change).Unmarshal(cfg))
			require.ErrorContains(t, confmap.Validate(cfg), test.want)
		})
	}
}

func TestDelaysFollowTheWindow(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	require.NoError(t, confmap.NewFromStringMap(map[string]any{"window": "2s"}).Unmarshal(cfg))
	require.NoError(t, confmap.Validate(cfg))
	assert.Equal(t, 2*time.Second, cfg.FlushInterval)
	assert.Equal(t, 6*time.Second, cfg.SettleDelay)
	assert.Equal(t, 48*time.Second, cfg.RecheckDelay)
	assert.Equal(t, int64(2), cfg.reachWindows())
}

// Nodes that flush every five minutes send later, and their two reports of one packet lie
// further apart.
func TestDelaysFollowTheFlushInterval(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	require.NoError(t, confmap.NewFromStringMap(map[string]any{"flush_interval": "300s"}).Unmarshal(cfg))
	require.NoError(t, confmap.Validate(cfg))
	assert.Equal(t, 6*time.Minute, cfg.SettleDelay)
	assert.Equal(t, 11*time.Minute+15*time.Second, cfg.RecheckDelay)
	assert.Equal(t, int64(22), cfg.reachWindows())
}

// With the live lane reports are merged all the same: what it brings is a preview.
func TestTheLiveLaneNeedsNothingElse(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	require.NoError(t, confmap.NewFromStringMap(map[string]any{"live": true}).Unmarshal(cfg))
	require.NoError(t, confmap.Validate(cfg))
	assert.True(t, cfg.MergeReporters)
}

// Two wrong keys are two messages: nobody should have to start the collector twice
// to find them.
func TestValidateReportsEverything(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Endpoint, cfg.ListTimeout = "", -1
	err := confmap.Validate(cfg)
	require.ErrorContains(t, err, "'endpoint'")
	require.ErrorContains(t, err, "'list_timeout'")
}

func TestTheREADMENamesEveryKey(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	for _, prefix := range []string{"", "retry::"} {
		of := reflect.TypeFor[Config]()
		if prefix != "" {
			of = reflect.TypeFor[RetryConfig]()
		}
		for i := range of.NumField() {
			key := of.Field(i).Tag.Get("mapstructure")
			if key == "" || key[0] == ',' || key == "retry" {
				continue
			}
			assert.Contains(t, string(page), "| `"+prefix+key+"` | ", "add %s to the table in README.md", key)
		}
	}
	for _, value := range []string{defaultEndpoint, "15s", "256", "60s", "6m"} {
		assert.Contains(t, string(page), "| `"+value+"` |")
	}
}
