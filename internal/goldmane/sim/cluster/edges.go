package cluster

import (
	"fmt"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

type verdict int

const (
	allowed verdict = iota
	egressDenied
	ingressDenied
)

// endpoint is one side of an edge: a workload, or something that only has a name.
type endpoint struct {
	workload  *workload
	typ       goldmane.EndpointType
	namespace string
	name      string
	labels    []string // of what is no workload
}

func (p endpoint) is(id string) bool { return p.workload != nil && p.workload.id() == id }

// edge is who talks to whom, where, and what the policies say.
type edge struct {
	id       string
	seed     uint64 // of its own randomness
	src, dst endpoint
	port     int64
	proto    string
	pace     pace
	verdict  verdict
	by       string // the GlobalNetworkPolicy of tier security that denies, if one does
	service  *traffic.Service

	onNodes  []int // of the destination, where only those have a part in it
	pooled   bool  // keeps connections open when it is silent
	phantom  bool  // a denial without traffic, reported for good (calico#13185)
	fleeting bool  // from Pods that live for seconds
	begin    time.Time
	end      time.Time
}

func workloadEndpoint(w *workload) endpoint {
	return endpoint{workload: w, typ: goldmane.EndpointType_WorkloadEndpoint, namespace: w.namespace.name, name: w.called}
}

// outsideEndpoint reads the notation of the table: pub, pvt, ns/networkset or
// " globalnetworkset".
func outsideEndpoint(s string) endpoint {
	if s == public || s == private {
		return endpoint{typ: goldmane.EndpointType_Network, name: s}
	}
	if set, ok := strings.CutPrefix(s, " "); ok {
		return endpoint{typ: goldmane.EndpointType_NetworkSet, name: set, labels: []string{"partner=" + set}}
	}
	ns, set, _ := strings.Cut(s, "/")
	return endpoint{
		typ: goldmane.EndpointType_NetworkSet, namespace: ns, name: set,
		labels: []string{"partner=" + set, "projectcalico.org/namespace=" + ns},
	}
}

func (c *Cluster) newEdge(src, dst endpoint, port int64, proto string, p pace) *edge {
	e := &edge{
		id:  fmt.Sprintf("%s/%s>%s/%s:%d/%s", src.namespace, src.name, dst.namespace, dst.name, port, proto),
		src: src, dst: dst, port: port, proto: proto, pace: p,
	}
	e.seed = hash(c.seed, e.id)
	return e
}

// toService makes the edge one that was dialled through a Service.
func (e *edge) toService(namespace, name, portName string, port int64) {
	if portName == "-" {
		portName = ""
	}
	e.service = &traffic.Service{Namespace: namespace, Name: name, PortName: portName, Port: port}
}

// callEdge goes to the workload's Service if it has one.
func (c *Cluster) callEdge(k call) *edge { return c.callOf(c.get(k.from), c.get(k.to), k.pace) }

func (c *Cluster) callOf(from, to *workload, p pace) *edge {
	e := c.newEdge(workloadEndpoint(from), workloadEndpoint(to), to.port, "tcp", p)
	e.pooled = to.kind == statefulSet
	if to.servicePort != 0 {
		e.toService(to.namespace.name, to.name, to.portName, to.servicePort)
	}
	return e
}

func (c *Cluster) add(e *edge) *edge {
	c.edges = append(c.edges, e)
	return e
}

// connect draws all edges that last.
func (c *Cluster) connect() {
	for _, k := range calls {
		c.add(c.callEdge(k))
	}
	for _, d := range denials {
		e := c.add(c.callEdge(d.call))
		e.pooled = false
		e.verdict = ingressDenied
		if d.egress {
			e.verdict = egressDenied
		}
		_, e.by, _ = strings.Cut(d.by, "/")
	}
	for _, o := range outsides {
		c.add(c.outEdge(o))
	}
	for _, o := range deniedOut {
		c.add(c.outEdge(o)).verdict = egressDenied
	}
	for _, o := range inbound {
		to := c.get(o.to)
		e := c.add(c.newEdge(outsideEndpoint(o.from), workloadEndpoint(to), o.port, o.proto, o.pace))
		if o.to == "ingress-nginx/controller" && (o.port == 443 || o.port == 80) {
			e.toService("ingress-nginx", "ingress-nginx-controller", map[int64]string{443: "https", 80: "http"}[o.port], o.port)
		}
	}
	c.add(c.callEdge(call{"sandbox/old-prototype", "cart/cart-api", pace{}})).phantom = true
	for _, k := range c.alone() {
		e := c.add(c.callEdge(k))
		e.pooled = false
		e.verdict = ingressDenied
	}
	tabled := make(map[string]bool)
	for _, e := range c.edges {
		tabled[e.id] = true
	}
	for _, w := range c.workloads {
		for _, e := range c.platform(w) {
			if !tabled[e.id] {
				c.add(e)
			}
		}
	}
}

func (c *Cluster) outEdge(o outside) *edge {
	return c.newEdge(workloadEndpoint(c.get(o.from)), outsideEndpoint(o.to), o.port, o.proto, o.pace)
}

var probes = pace{0.95, 2, 700}

// platform is what nearly every workload has: DNS, scraping, probes, the Kubernetes API
// and something on the internet.
func (c *Cluster) platform(w *workload) []*edge {
	var es []*edge
	add := func(e *edge) *edge {
		es = append(es, e)
		return e
	}
	self := workloadEndpoint(w)
	chance := func(what string) float64 { return unit(c.seed, hash(0, w.id(), what)) }

	if dns := c.get("kube-system/coredns"); w != dns {
		add(c.newEdge(self, workloadEndpoint(dns), 53, "udp", pace{0.3, 12, 260})).
			toService("kube-system", "kube-dns", "dns", 53)
		if chance("dns-tcp") < 0.15 {
			add(c.newEdge(self, workloadEndpoint(dns), 53, "tcp", rare)).
				toService("kube-system", "kube-dns", "dns-tcp", 53)
		}
	}
	if prometheus := c.get("monitoring/prometheus"); w != prometheus && chance("scrape") < 0.45 {
		port := int64(9102)
		if strings.Contains(w.portName, "metrics") {
			port = w.port
		}
		add(c.newEdge(workloadEndpoint(prometheus), self, port, "tcp", pace{0.5, 1, 30000})).pooled = true
	}
	if chance("probe") < 0.4 {
		var anonymous []int // nodes without a host endpoint
		for _, n := range w.nodes {
			if nodes[n].hostEndpoint {
				kubelet := endpoint{
					typ: goldmane.EndpointType_HostEndpoint, name: nodes[n].name,
					labels: []string{"kubernetes.io/hostname=" + nodes[n].name, "topology.kubernetes.io/zone=" + nodes[n].zone},
				}
				add(c.newEdge(kubelet, self, w.port, "tcp", probes)).onNodes = []int{n}
			} else {
				anonymous = append(anonymous, n)
			}
		}
		if len(anonymous) > 0 {
			add(c.newEdge(outsideEndpoint(private), self, w.port, "tcp", probes)).onNodes = anonymous
		}
	}
	switch w.namespace.name {
	case "kube-system", "cert-manager", "external-secrets", "argocd", "calico-system", "logging", "dbaas", "monitoring", "ci":
		if chance("api") < 0.9 {
			e := add(c.newEdge(self, outsideEndpoint(private), 6443, "tcp", pace{0.9, 1, 12000}))
			e.pooled = true
			e.toService("default", "kubernetes", "https", 443)
		}
	}
	if w.namespace.guard != strict && chance("internet") < 0.75 {
		add(c.newEdge(self, outsideEndpoint(public), 443, "tcp", pace{0.7, 3, 7000})).pooled = chance("keepalive") < 0.5
	}
	if chance("private") < 0.5 {
		add(c.newEdge(self, outsideEndpoint(private), 443, "tcp", pace{0.7, 2, 5000}))
	}
	if chance("time") < 0.15 {
		add(c.newEdge(self, outsideEndpoint(public), 123, "udp", pace{0.3, 1, 152}))
	}
	return es
}
