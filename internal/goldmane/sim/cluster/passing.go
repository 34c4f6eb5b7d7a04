package cluster

import (
	"fmt"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

// nominal is what the tables' times are meant in: where a window is shorter, so are they.
const nominal = 15 * time.Second

// passing are the edges that come and go: relayed media and scans, on ports that are
// drawn anew in each window, and jobs, whose Pods have a new name each time.
func (c *Cluster) passing(window time.Duration) []traffic.Passing {
	made := func(span int64, edges func(epoch int64) []*edge) traffic.Passing {
		return traffic.Passing{Span: span, Pairs: func(epoch int64) []traffic.Pair { return c.pairs(edges(epoch)) }}
	}
	return []traffic.Passing{
		made(1, c.strangers),
		made(int64(time.Hour/nominal), func(hour int64) []*edge { return c.jobs(hour, window) }),
		made(scanEvery, func(run int64) []*edge { return c.scan(run, window) }),
	}
}

// strangers are the relayed media and the scans of one window.
func (c *Cluster) strangers(index int64) []*edge {
	draw := func(what string, i int) float64 { return unit(c.seed, uint64(index), hash(0, what), uint64(i)) }
	taken := map[int64]bool{80: true, 443: true, 10254: true} // the gate serves these
	port := func(what string, i int, from, span int64) int64 {
		// Every third port is this window's, so that the windows beside it have others.
		p := from + int64(float64(span/3)*draw(what, i))*3 + index%3
		for taken[p] {
			p += 3
		}
		taken[p] = true
		return p
	}
	var es []*edge
	turn := workloadEndpoint(c.get("realtime/coturn"))
	for i := range 125 + int(60*draw("turns", 0)) {
		es = append(es, c.newEdge(turn, outsideEndpoint(public), port("turn", i, 49152, 16000), "udp", pace{1, 1, 90000}))
	}
	gate := workloadEndpoint(c.get("ingress-nginx/controller"))
	for i := range 45 + int(40*draw("scans", 0)) {
		e := c.newEdge(outsideEndpoint(public), gate, port("scan", i, 1, 10000), "tcp", pace{1, 1, 60})
		e.verdict = ingressDenied
		es = append(es, e)
	}
	return es
}

// jobs run in the first ten minutes of their hour.
func (c *Cluster) jobs(hour int64, window time.Duration) []*edge {
	const runs = int64(10 * time.Minute / nominal)
	begin := time.Unix(0, hour*int64(time.Hour/nominal)*int64(window))
	var es []*edge
	for _, j := range []struct{ namespace, name, to string }{
		{"dbaas", "pg-backup", "dbaas/pg-orders"},
		{"orders", "invoice-run", "dbaas/pg-orders"},
		{"search", "reindex", "search/opensearch-data"},
		{"analytics", "hourly-rollup", "analytics/clickhouse"},
	} {
		e := c.callOf(c.job(j.namespace, j.name, hour*60, 1), c.get(j.to), steady)
		e.begin, e.end = begin, begin.Add(time.Duration(runs)*window)
		es = append(es, e)
	}
	return es
}

const (
	// scanEvery is five minutes, in windows.
	scanEvery = int64(5 * time.Minute / nominal)
	// registryTLS is a port that nothing else of the mirror's is reached on: what its node
	// takes for a private address is no other's there.
	registryTLS = 5443
)

// scan is the Pods that look at a few images every five minutes, each for seconds.
func (c *Cluster) scan(run int64, window time.Duration) []*edge {
	pods := c.job("ci", "image-scan", run*5, 4)
	e := c.newEdge(workloadEndpoint(pods), workloadEndpoint(c.get("ci/registry-mirror")), registryTLS, "tcp", pace{1, 4, 20000})
	e.fleeting = true
	e.begin = time.Unix(0, run*scanEvery*int64(window))
	e.end = e.begin.Add(3 * window)
	return []*edge{e}
}

// job is a workload of a job that was due in a minute, counted as Kubernetes does.
func (c *Cluster) job(namespace, name string, minute int64, count int) *workload {
	ns := c.namespaces[namespace]
	w := newWorkload(c.seed, ns, spec{name: name, kind: static, count: count, identity: map[bool]string{true: "backup"}[ns.multi]})
	w.called = fmt.Sprintf("%s-%d-*", name, minute)
	return w
}
