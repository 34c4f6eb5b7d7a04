package stack

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// CollectorOptions say how to run the Collector.
type CollectorOptions struct {
	Config string            // path of the configuration file
	Set    []string          // overrides, as in --set: receivers.goldmane.window=1s
	Env    map[string]string // what the file's ${env:...} find
}

// Collector is a running Collector.
type Collector struct {
	*Process
	healthURL string
}

// Collector starts otelcol-goldtrail and returns once its health_check answers. The
// configuration must take the ports of health_check and of its own metrics from
// HEALTH_ENDPOINT and METRICS_PORT, as those under examples/ do.
func (s *Stack) Collector(ctx context.Context, o CollectorOptions) (*Collector, error) {
	ports, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	endpoint := "127.0.0.1:" + strconv.Itoa(int(ports[0]))
	c := &Collector{healthURL: "http://" + endpoint}
	env := append(environ(o.Env), "HEALTH_ENDPOINT="+endpoint, "METRICS_PORT="+strconv.Itoa(int(ports[1])))
	c.Process, err = s.start(ctx, "otelcol-goldtrail", "COLLECTOR_BIN", collectorArgs(o), env,
		func(ctx context.Context, _ *Process) error { return answers(ctx, c.healthURL) })
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Healthy returns nil if the Collector's health_check answers with 200.
func (c *Collector) Healthy(ctx context.Context) error { return answers(ctx, c.healthURL) }

// Validate runs `otelcol-goldtrail validate` and returns nil if the configuration is
// good, otherwise an error with what the Collector wrote.
func (s *Stack) Validate(ctx context.Context, o CollectorOptions) error {
	p, err := s.launch("validate", "COLLECTOR_BIN", append([]string{"validate"}, collectorArgs(o)...), environ(o.Env))
	if err != nil {
		return err
	}
	if err := p.ExitError(ctx); err != nil {
		return fmt.Errorf("%s: %w", o.Config, err)
	}
	return nil
}

func collectorArgs(o CollectorOptions) []string {
	args := []string{"--config", o.Config}
	for _, set := range o.Set {
		args = append(args, "--set", set)
	}
	return args
}

func environ(env map[string]string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
