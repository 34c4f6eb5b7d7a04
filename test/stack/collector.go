package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
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
	// EdgesURL is where the examples serve the edges' counters to Prometheus.
	EdgesURL string
	// MetricsURL is where it serves its own metrics.
	MetricsURL string
	HealthURL  string // of its health_check
}

// Collector starts otelcol-goldtrail and returns once its health_check answers. The
// configuration must take the ports of health_check and of its own metrics from
// HEALTH_ENDPOINT and METRICS_PORT, and of the edges' metrics from EDGES_METRICS_PORT, as
// those under examples/ do.
func (s *Stack) Collector(ctx context.Context, o CollectorOptions) (*Collector, error) {
	ports, err := FreePorts(3)
	if err != nil {
		return nil, err
	}
	endpoint := "127.0.0.1:" + strconv.Itoa(int(ports[0]))
	c := &Collector{
		HealthURL: "http://" + endpoint, MetricsURL: fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[1]),
		EdgesURL: fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[2]),
	}
	env := append(environ(o.Env), "HEALTH_ENDPOINT="+endpoint,
		"METRICS_PORT="+strconv.Itoa(int(ports[1])), "EDGES_METRICS_PORT="+strconv.Itoa(int(ports[2])))
	c.Process, err = s.start(ctx, "otelcol-goldtrail", "COLLECTOR_BIN", collectorArgs(o), env,
		func(ctx context.Context, _ *Process) error { return answers(ctx, c.HealthURL) })
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Healthy returns nil if the Collector's health_check answers with 200.
func (c *Collector) Healthy(ctx context.Context) error { return answers(ctx, c.HealthURL) }

// Status returns the status that the Collector's health_check tells of all components
// together: StatusOK, StatusRecoverableError.
func (c *Collector) Status(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.HealthURL, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	var health struct {
		Status string `json:"status"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&health); err != nil {
		return "", fmt.Errorf("health_check at %s: %w", c.HealthURL, err)
	}
	return health.Status, nil
}

// Metric adds up the series of one of the Collector's own metrics, whose name begins
// so. It is 0 where there is none yet.
func (c *Collector) Metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.MetricsURL, http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	return sumOfSeries(resp.Body, name)
}

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

// statusGate lets health_check tell the components' status, as the image does.
const statusGate = "--feature-gates=+extension.healthcheck.useComponentStatus"

func collectorArgs(o CollectorOptions) []string {
	args := []string{statusGate, "--config", o.Config}
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
