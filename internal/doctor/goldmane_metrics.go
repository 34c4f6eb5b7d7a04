package doctor

import (
	"context"
	"net"
)

// What Goldmane counts, in Calico's source at every release from v3.30.0 to v3.32.1, and
// what will be v3.33. It is served at /metrics of PROMETHEUS_PORT, which is 0, none, by
// default; the Tigera operator sets it by `metricsPort` of the Goldmane resource since its
// version 1.42, that of Calico 3.32, and makes the Service goldmane-metrics.
const (
	// clientsMetric is a gauge: the nodes that are connected. The code has it since 3.30.0
	// but registers it, and so serves it, only from 3.33 on (calico#12216).
	clientsMetric = "goldmane_collector_num_clients"
	// perClientMetric is a counter by source, the client's ip:port. That of a connection
	// that has ended stays until Goldmane restarts.
	perClientMetric = "goldmane_collector_received_flows"
	// receivedMetric and droppedMetric are counters: flows that were taken in, and those
	// that were not because the intake was full for five seconds.
	receivedMetric = "goldmane_aggr_received_flows_total"
	droppedMetric  = "goldmane_aggr_dropped_flows_total"
)

const (
	// metricsHint says what a person has to know before they do it.
	metricsHint = "give --goldmane-metrics http://127.0.0.1:9081/metrics after `kubectl port-forward -n calico-system svc/goldmane-metrics 9081`, where `metricsPort: 9081` is set in the Goldmane resource (Tigera operator 1.42 and newer; setting it restarts Goldmane, which then forgets its hour)"
	// silentRemedy is for nodes that do not reach Goldmane.
	silentRemedy = "a node's Felix does not reach Goldmane: see the log of calico-node on each node (`kubectl logs -n calico-system -l k8s-app=calico-node -c calico-node --prefix | grep -i goldmane`), a NetworkPolicy or firewall on the way to 7443/tcp of Goldmane, and which nodes are connected"
)

// metrics checks what Goldmane counts.
func (g *Goldmane) metrics(ctx context.Context, s *section) {
	const name = "metrics"
	m, err := scrape(ctx, g.MetricsURL)
	if err != nil {
		s.fail(name, "'--goldmane-metrics' is where Goldmane serves Prometheus: "+metricsHint, "%v", err)
		return
	}
	received, there := m.sum(receivedMetric)
	if !there {
		s.warn(name, "is it Goldmane's? "+metricsHint, "there are %d metrics, and none of Goldmane", len(m))
		return
	}
	m.nodes(s)
	const dropped = "dropped flows"
	if n, _ := m.sum(droppedMetric); n > 0 {
		s.warn(dropped, "Goldmane was overloaded, or a reader of its stream has stalled it: `kubectl logs -n calico-system deployment/goldmane` says \"receive channel full\" then; find and end the reader, or give Goldmane more CPU",
			"of %.0f flows since it started it has dropped %.0f: they are in no window, and the trail does not know of them", received+n, n)
		return
	}
	s.ok(dropped, "none of %.0f since it started", received)
}

// nodes says how many nodes reach Goldmane. How many there are Kubernetes knows, which is
// asked for nothing but the rights of svcid.
func (m metrics) nodes(s *section) {
	const (
		name    = "nodes"
		compare = "as many as there are (`kubectl get nodes`)?"
	)
	if connected, there := m.sum(clientsMetric); there {
		if connected < 1 {
			s.fail(name, silentRemedy, "none is connected")
			return
		}
		s.ok(name, "%.0f connected: %s", connected, compare)
		return
	}
	addresses := map[string]bool{}
	for _, of := range m.series(perClientMetric) {
		if host, _, err := net.SplitHostPort(labelOf(of, "source")); err == nil && value(of) > 0 {
			addresses[host] = true
		}
	}
	if len(addresses) == 0 {
		s.fail(name, silentRemedy, "none has sent a flow since Goldmane started")
		return
	}
	s.ok(name, "%d have sent flows since Goldmane started: %s How many are connected it tells from Calico 3.33 on", len(addresses), compare)
}
