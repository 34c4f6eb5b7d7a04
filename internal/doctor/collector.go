package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"
)

// Collector says where the Collector tells of itself. What is "" is skipped.
type Collector struct {
	HealthURL  string // of the health_check extension
	MetricsURL string // of its own metrics, in Prometheus' format
}

func (c *Collector) examine(ctx context.Context, clock clockwork.Clock, s *section) {
	if c == nil {
		c = &Collector{}
	}
	if c.HealthURL == "" {
		s.skip("health", "not named: give --collector http://127.0.0.1:13133 after `kubectl port-forward -n goldtrail deploy/goldtrail 13133 8888`")
	} else {
		c.health(ctx, clock, s)
	}
	if c.MetricsURL == "" {
		s.skip("metrics", "not named: give --collector-metrics http://127.0.0.1:8888/metrics after `kubectl port-forward -n goldtrail deploy/goldtrail 13133 8888`")
	} else {
		c.metrics(ctx, clock, s)
	}
}

// fetch gets a page of the Collector or of Goldmane.
func fetch(ctx context.Context, address string) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	transport, isTransport := http.DefaultTransport.(*http.Transport)
	if !isTransport {
		return nil, fmt.Errorf("transport is %T", http.DefaultTransport)
	}
	transport = transport.Clone()
	transport.DisableKeepAlives = true
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, err
	}
	r := &reply{status: resp.StatusCode, body: body}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		r.date = date
	}
	return r, nil
}

// component is the status of one component, or of what it is part of, as health_check
// has it.
type component struct {
	Status     string               `json:"status"`
	Error      string               `json:"error"`
	Since      time.Time            `json:"status_time"`
	Components map[string]component `json:"components"`
}

// ill are the components that are not well, by name.
func (c *component) ill(name string, found map[string]component) {
	if len(c.Components) == 0 {
		if c.Status != "StatusOK" && c.Status != "" && name != "" {
			found[name] = *c
		}
		return
	}
	for name, part := range c.Components {
		part.ill(name, found)
	}
}

// health checks what health_check tells of the components.
func (c *Collector) health(ctx context.Context, clock clockwork.Clock, s *section) {
	before := clock.Now()
	address, err := url.Parse(c.HealthURL)
	if err != nil {
		s.fail("health", "'--collector' must be like http://127.0.0.1:13133", "%v", err)
		return
	}
	query := address.Query()
	query.Set("verbose", "") // with each component's status
	address.RawQuery = query.Encode()
	r, err := fetch(ctx, address.String())
	if err != nil {
		s.fail("health", "does the Collector run (`kubectl get pods -n goldtrail`), with the health_check extension? It listens at HEALTH_ENDPOINT", "%v", err)
		return
	}
	if !r.date.IsZero() {
		clockOffset(s, "the Collector's", r.date, before, clock.Now())
	}
	var all component
	if json.Unmarshal(r.body, &all) != nil || all.Status == "" {
		s.fail("health", "is it the health_check extension?", "%s answers %s", c.HealthURL, r.said())
		return
	}
	found := map[string]component{}
	all.ill("", found)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(found)) {
		text := name + " " + strings.TrimPrefix(found[name].Status, "Status")
		if found[name].Error != "" {
			text += " since " + found[name].Since.UTC().Format(time.RFC3339) + ": " + found[name].Error
		}
		parts = append(parts, text)
	}
	const remedy = "the Collector's log says more (`kubectl logs -n goldtrail deploy/goldtrail`)"
	switch {
	case len(parts) > 0 && strings.Contains(all.Status, "Recoverable"):
		s.warn("health", remedy+"; it is tried again", "%s", strings.Join(parts, "; "))
	case len(parts) > 0:
		s.fail("health", remedy, "%s", strings.Join(parts, "; "))
	case r.status != http.StatusOK, all.Components != nil && all.Status != "StatusOK":
		s.fail("health", remedy, "%s", r.said())
	case all.Components == nil:
		s.ok("health", "it runs; of its components it tells with --feature-gates=+extension.healthcheck.useComponentStatus")
	default:
		s.ok("health", "all components are well")
	}
}
