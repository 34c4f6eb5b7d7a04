package goldmanereceiver

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"

	"github.com/goldtrail/goldtrail/internal/labelglob"
)

const (
	defaultEndpoint       = "goldmane.calico-system.svc:7443"
	defaultWindow         = 15 * time.Second
	defaultFlush          = 15 * time.Second
	defaultMaxRecvMsgSize = 256 // MiB; Goldmane sends without a limit, about 440 B a flow
	defaultListTimeout    = time.Minute
	defaultCertReload     = time.Minute // certificates are looked at when a connection is made, no oftener than this
	defaultRetryInitial   = time.Second
	defaultRetryMax       = 30 * time.Second
	defaultMaxListShare   = 0.25

	// minKeepalive is the enforcement default of gRPC servers, which Goldmane keeps:
	// pings that come faster on a quiet connection draw a GOAWAY.
	minKeepalive     = 5 * time.Minute
	defaultKeepalive = 6 * time.Minute

	// ringWindows is how far back a List may safely reach: Goldmane keeps 240 windows
	// of history, and the oldest four can leave the ring while the call is under way.
	ringWindows = 236
)

// Config is the receiver's configuration.
type Config struct {
	// ClientConfig is how to reach Goldmane.
	configgrpc.ClientConfig `mapstructure:",squash"`

	// Window is the length of Goldmane's buckets, its AGGREGATION_WINDOW: whole
	// seconds.
	Window time.Duration `mapstructure:"window"`
	// FlushInterval is Felix's, its flowLogsFlushInterval.
	FlushInterval time.Duration `mapstructure:"flush_interval"`
	// SettleDelay is how long after its start a window is read.
	SettleDelay time.Duration `mapstructure:"settle_delay"`
	// MergeReporters makes one record of a flow that both nodes report.
	MergeReporters bool `mapstructure:"merge_reporters"`
	// Labels are globs of the endpoint labels to pass on; "*" matches "/" too.
	Labels []string `mapstructure:"labels"`
	// MaxRecvMsgSizeMiB bounds Goldmane's answer, in MiB.
	MaxRecvMsgSizeMiB int `mapstructure:"max_recv_msg_size_mib"`
	// ListTimeout bounds one call of List.
	ListTimeout time.Duration `mapstructure:"list_timeout"`
	// Retry spaces the attempts after a failure.
	Retry RetryConfig `mapstructure:"retry"`

	// RecheckDelay is how long after its start a window is listed once more, to find
	// flows that came late; 0 is never.
	RecheckDelay time.Duration `mapstructure:"recheck_delay"`
	// Live hands on what Goldmane streams at once, as previews that nobody counts.
	Live bool `mapstructure:"live"`
	// StorageID is the storage extension that keeps the cursor.
	StorageID *component.ID `mapstructure:"storage"`
	// StartAt is where to begin without a cursor: StartAtOldest or StartAtNow.
	StartAt string `mapstructure:"start_at"`
	// MaxListShare is the share of Goldmane's time that calls may take, over 0 and at
	// most 1.
	MaxListShare float64 `mapstructure:"max_list_share"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// Values of Config.StartAt.
const (
	StartAtOldest = "oldest"
	StartAtNow    = "now"
)

// RetryConfig spaces attempts: exponential, with jitter, without an end.
type RetryConfig struct {
	InitialInterval time.Duration `mapstructure:"initial_interval"`
	MaxInterval     time.Duration `mapstructure:"max_interval"`

	// prevent unkeyed literal initialization
	_ struct{}
}

var (
	_ confmap.Validator   = (*Config)(nil)
	_ confmap.Unmarshaler = (*Config)(nil)
)

// Unmarshal implements confmap.Unmarshaler. Delays that are not given follow from the
// window and from how often nodes flush.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if err := conf.Unmarshal(c); err != nil {
		return err
	}
	if !conf.IsSet("flush_interval") {
		c.FlushInterval = c.Window // as the default is of the default window
	}
	if !conf.IsSet("settle_delay") {
		c.SettleDelay = c.defaultSettleDelay()
	}
	if !conf.IsSet("recheck_delay") {
		c.RecheckDelay = c.SettleDelay + recheckWindows*c.Window
	}
	return nil
}

// recheckWindows is how many windows after it was first listed a window is listed again,
// 5 min 15 s: nodes send again, when they reconnect, what is up to 5 minutes old.
const recheckWindows = 21

// longestFlush is how long a node's flows of one flush can span: Felix adds up to a tenth.
func (c *Config) longestFlush() time.Duration { return c.FlushInterval + c.FlushInterval/10 }

// leastSettleDelay is when nodes have sent a window's flows, half a second of travel included:
// a flush is stamped with its start, and comes when it is over. 32 s of the default window.
func (c *Config) leastSettleDelay() time.Duration { return c.Window + c.longestFlush() + c.Window/30 }

// defaultSettleDelay leaves most of a window for what is slow, in whole windows: 45 s of the
// default window.
func (c *Config) defaultSettleDelay() time.Duration {
	if c.Window <= 0 {
		return 0
	}
	return (c.leastSettleDelay() + c.Window - 1).Truncate(c.Window)
}

// reachWindows is how many windows the two ends' reports of one packet may stand apart: each
// node flushes on a phase of its own. 2 of the default ones; more than that once in 10,000
// packets.
func (c *Config) reachWindows() int64 {
	return int64((c.longestFlush() + c.Window - 1) / c.Window)
}

// silenceWindows is in how many windows either way a node that is well has flushed, and has
// nearly always reported what the other end has: one less than the reach, which is for the
// last in ten thousand. At the full reach a cut of four windows does not show: its ends are
// in reach of each of them (issue 12).
func (c *Config) silenceWindows() int64 { return max(1, c.reachWindows()-1) }

func createDefaultConfig() component.Config {
	client := configgrpc.NewDefaultClientConfig()
	client.Endpoint = defaultEndpoint
	client.TLS.ReloadInterval = defaultCertReload
	keepalive := configgrpc.NewDefaultKeepaliveClientConfig()
	keepalive.Time = defaultKeepalive
	client.Keepalive = configoptional.Some(keepalive)
	cfg := &Config{
		ClientConfig:      client,
		Window:            defaultWindow,
		FlushInterval:     defaultFlush,
		MergeReporters:    true,
		Labels:            []string{"*"},
		MaxRecvMsgSizeMiB: defaultMaxRecvMsgSize,
		ListTimeout:       defaultListTimeout,
		StartAt:           StartAtOldest,
		MaxListShare:      defaultMaxListShare,
		Retry:             RetryConfig{InitialInterval: defaultRetryInitial, MaxInterval: defaultRetryMax},
	}
	cfg.SettleDelay = cfg.defaultSettleDelay()
	cfg.RecheckDelay = cfg.SettleDelay + recheckWindows*cfg.Window
	return cfg
}

// Validate implements confmap.Validator. Every error names the key, the value, the
// rule and the remedy. The embedded ClientConfig is validated by the Collector.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key string, value any, rule string) {
		errs = append(errs, fmt.Errorf("'%s' is %v: %s", key, value, rule))
	}
	if c.Endpoint == "" {
		refuse("endpoint", `""`, "must be host:port of Goldmane; in a cluster of the Tigera operator it is "+defaultEndpoint)
	}
	if k := c.Keepalive.Get(); k != nil && k.Time < minKeepalive {
		refuse("keepalive::time", k.Time, fmt.Sprintf("must be at least %v; Goldmane closes connections that ping faster", minKeepalive))
	}
	if c.Window < time.Second || c.Window%time.Second != 0 {
		refuse("window", c.Window, "must be a whole number of seconds, the AGGREGATION_WINDOW of Goldmane; leave it out unless Goldmane's was changed from 15s")
	} else {
		c.validateDelays(refuse)
	}
	if c.StartAt != StartAtOldest && c.StartAt != StartAtNow {
		refuse("start_at", fmt.Sprintf("%q", c.StartAt), "must be \"oldest\", the oldest window that Goldmane has, or \"now\"")
	}
	if !(c.MaxListShare > 0 && c.MaxListShare <= 1) {
		refuse("max_list_share", c.MaxListShare, "must be over 0 and at most 1: the share of Goldmane's time that reading may take")
	}
	if c.MaxRecvMsgSizeMiB < 1 || c.MaxRecvMsgSizeMiB > 2047 {
		refuse("max_recv_msg_size_mib", c.MaxRecvMsgSizeMiB, "must be from 1 to 2047, in MiB; a flow takes about 440 bytes")
	}
	if c.ListTimeout <= 0 {
		refuse("list_timeout", c.ListTimeout, "must be more than 0s; Goldmane took 0.8s for 50,000 flows, 60s leaves room for a busy one")
	}
	if c.Retry.InitialInterval <= 0 {
		refuse("retry::initial_interval", c.Retry.InitialInterval, "must be more than 0s, such as 1s")
	}
	if c.Retry.MaxInterval < c.Retry.InitialInterval {
		refuse("retry::max_interval", c.Retry.MaxInterval, fmt.Sprintf("must be at least 'retry::initial_interval', which is %v", c.Retry.InitialInterval))
	}
	for i, label := range c.Labels {
		if err := labelglob.Valid(label); err != nil {
			refuse(fmt.Sprintf("labels[%d]", i), fmt.Sprintf("%q", label), err.Error())
		}
	}
	return errors.Join(errs...)
}

// validateDelays holds the delays to the window, with which Goldmane's and Felix's times scale.
func (c *Config) validateDelays(refuse func(key string, value any, rule string)) {
	if most := c.Window * ringWindows / 8; c.FlushInterval <= 0 || c.FlushInterval > most {
		refuse("flush_interval", c.FlushInterval, fmt.Sprintf("must be more than 0s and at most %v: Felix's flowLogsFlushInterval, which is 15s unless the FelixConfiguration says otherwise", most))
		return
	}
	if least := c.leastSettleDelay(); c.SettleDelay < least {
		refuse("settle_delay", c.SettleDelay, fmt.Sprintf("must be at least %v; nodes that flush every %v ('flush_interval') send a window's flows until about %v after its start", least, c.FlushInterval, c.Window+c.longestFlush()))
	}
	if most := c.Window * ringWindows / 2; c.SettleDelay > most {
		refuse("settle_delay", c.SettleDelay, fmt.Sprintf("must be at most %v; Goldmane forgets a window %v after its start, and half of that is kept for outages", most, c.Window*ringWindows))
	}
	if c.RecheckDelay != 0 && (c.RecheckDelay <= c.SettleDelay || c.RecheckDelay > c.Window*ringWindows/2) {
		refuse("recheck_delay", c.RecheckDelay, fmt.Sprintf("must be more than 'settle_delay', which is %v, and at most %v; or 0s, to list each window only once", c.SettleDelay, c.Window*ringWindows/2))
	}
}
