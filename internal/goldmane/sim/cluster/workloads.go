package cluster

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

type kind int

const (
	deployment kind = iota
	statefulSet
	daemonSet
	static // one pod without a generateName
)

// guard says which policies a namespace has.
type guard int

const (
	open    guard = iota // none of its own: profiles decide
	ingress              // network policies for what comes in
	strict               // for both directions, below two tiers
)

// namespace is one of the cluster's, as written down below.
type namespace struct {
	name      string
	guard     guard
	multi     bool // holds several Services, told apart by the label service-identity
	workloads []spec
}

// spec is one workload as written down below. Its ports are those of its main
// container; a service port of 0 is a workload without a Service.
type spec struct {
	name        string
	kind        kind
	count       int    // of replicas
	portName    string // "-" is an unnamed port
	port        int64
	servicePort int64
	// identity is the value of the label service-identity, in multi-Service
	// namespaces. Some are missing there, as they are in life.
	identity string
}

var namespaces = []namespace{
	{name: "frontend", guard: ingress, workloads: []spec{
		{"web", deployment, 6, "http", 8080, 80, ""},
		{"mobile-bff", deployment, 4, "http", 8080, 80, ""},
		{"assets", deployment, 2, "http", 8080, 80, ""},
		{"admin-ui", deployment, 1, "http", 3000, 80, ""},
	}},
	{name: "catalog", guard: ingress, workloads: []spec{
		{"catalog-api", deployment, 4, "http", 8080, 80, ""},
		{"pricing", deployment, 2, "grpc", 9090, 9090, ""},
		{"importer", deployment, 1, "http", 8080, 0, ""},
		{"catalog-cache", statefulSet, 2, "-", 6379, 6379, ""},
	}},
	{name: "cart", guard: ingress, workloads: []spec{
		{"cart-api", deployment, 3, "http", 8080, 80, ""},
		{"cart-store", statefulSet, 3, "-", 6379, 6379, ""},
	}},
	{name: "checkout", guard: strict, workloads: []spec{
		{"checkout-api", deployment, 3, "http", 8080, 80, ""},
		{"tax", deployment, 2, "grpc", 9090, 9090, ""},
		{"fraud-score", deployment, 2, "grpc", 9090, 9090, ""},
	}},
	{name: "orders", guard: strict, workloads: []spec{
		{"orders-api", deployment, 3, "http", 8080, 80, ""},
		{"orders-worker", deployment, 3, "metrics", 9102, 0, ""},
		{"outbox", deployment, 1, "metrics", 9102, 0, ""},
	}},
	{name: "payments", guard: strict, workloads: []spec{
		{"payments-api", deployment, 3, "http", 8080, 80, ""},
		{"card-vault", deployment, 2, "grpc", 9443, 9443, ""},
		{"psp-gateway", deployment, 2, "http", 8080, 80, ""},
		{"reconciler", deployment, 1, "metrics", 9102, 0, ""},
	}},
	{name: "shipping", guard: ingress, workloads: []spec{
		{"shipping-api", deployment, 2, "http", 8080, 80, ""},
		{"label-printer", deployment, 1, "http", 8080, 80, ""},
		{"carrier-sync", deployment, 1, "metrics", 9102, 0, ""},
	}},
	{name: "inventory", guard: ingress, workloads: []spec{
		{"stock-api", deployment, 3, "http", 8080, 80, ""},
		{"warehouse-sync", deployment, 1, "metrics", 9102, 0, ""},
		{"stock-projector", deployment, 2, "metrics", 9102, 0, ""},
	}},
	{name: "accounts", guard: strict, workloads: []spec{
		{"login", deployment, 3, "https", 8443, 443, ""},
		{"profile", deployment, 2, "http", 8080, 80, ""},
		{"sessions", statefulSet, 3, "-", 6379, 6379, ""},
	}},
	{name: "search", guard: ingress, workloads: []spec{
		{"search-api", deployment, 3, "http", 8080, 80, ""},
		{"opensearch-data", statefulSet, 3, "http", 9200, 9200, ""},
		{"indexer", deployment, 2, "metrics", 9102, 0, ""},
		{"crawler", deployment, 2, "metrics", 9102, 0, ""},
	}},
	{name: "recommendations", guard: open, workloads: []spec{
		{"ranker", deployment, 3, "grpc", 9090, 9090, ""},
		{"feature-store", statefulSet, 2, "grpc", 6566, 6566, ""},
		{"trainer", static, 1, "http", 8888, 0, ""},
	}},
	{name: "reviews", guard: open, workloads: []spec{
		{"reviews-api", deployment, 2, "http", 8080, 80, ""},
		{"moderation", deployment, 1, "grpc", 9090, 9090, ""},
	}},
	{name: "notifications", guard: open, workloads: []spec{
		{"notifier", deployment, 2, "http", 8080, 80, ""},
		{"mailer", deployment, 2, "smtp", 2525, 25, ""},
		{"push", deployment, 1, "http", 8080, 80, ""},
	}},
	{name: "marketing", guard: open, workloads: []spec{
		{"campaigns", deployment, 2, "http", 8080, 80, ""},
		{"newsletter", deployment, 1, "http", 8080, 80, ""},
		{"tracking-pixel", deployment, 2, "http", 8080, 80, ""},
	}},
	{name: "analytics", guard: ingress, workloads: []spec{
		{"collector", deployment, 3, "http", 8080, 80, ""},
		{"spark-driver", static, 1, "-", 7078, 0, ""},
		{"spark-executor", deployment, 4, "-", 7079, 0, ""},
		{"clickhouse", statefulSet, 3, "http", 8123, 8123, ""},
		{"superset", deployment, 1, "http", 8088, 80, ""},
	}},
	{name: "realtime", guard: open, workloads: []spec{
		{"signalling", deployment, 2, "ws", 8080, 80, ""},
		{"coturn", daemonSet, 3, "turn", 3478, 3478, ""},
	}},
	{name: "messaging", guard: ingress, workloads: []spec{
		{"kafka", statefulSet, 3, "tcp-clients", 9092, 9092, ""},
		{"kafka-ui", deployment, 1, "http", 8080, 80, ""},
		{"schema-registry", deployment, 2, "http", 8081, 8081, ""},
		{"rabbitmq", statefulSet, 3, "amqp", 5672, 5672, ""},
	}},
	{name: "dbaas", guard: strict, multi: true, workloads: []spec{
		{"pg-orders", statefulSet, 3, "postgres", 5432, 5432, "orders-db"},
		{"pg-payments", statefulSet, 3, "postgres", 5432, 5432, "payments-db"},
		{"pg-catalog", statefulSet, 3, "postgres", 5432, 5432, "catalog-db"},
		{"pg-accounts", statefulSet, 2, "postgres", 5432, 5432, "accounts-db"},
		{"mysql-legacy", statefulSet, 1, "mysql", 3306, 3306, ""},
		{"pgbouncer", deployment, 2, "pgbouncer", 6432, 6432, "pooler"},
		{"pg-operator", deployment, 1, "webhook", 9443, 443, "operator"},
		{"mongo-reviews", statefulSet, 3, "mongo", 27017, 27017, "reviews-db"},
	}},
	{name: "monitoring", guard: ingress, multi: true, workloads: []spec{
		{"prometheus", statefulSet, 2, "web", 9090, 9090, "prometheus"},
		{"alertmanager", statefulSet, 3, "web", 9093, 9093, "alertmanager"},
		{"grafana", deployment, 1, "http", 3000, 80, "grafana"},
		{"loki", statefulSet, 3, "http-metrics", 3100, 3100, "loki"},
		{"tempo", statefulSet, 1, "otlp-grpc", 4317, 4317, "tempo"},
		{"otel-collector", deployment, 2, "otlp-grpc", 4317, 4317, ""},
		{"kube-state-metrics", deployment, 1, "http", 8080, 8080, "kube-state-metrics"},
		{"node-exporter", daemonSet, 9, "metrics", 9100, 9100, ""},
		{"blackbox-exporter", deployment, 1, "http", 9115, 9115, "blackbox"},
		{"pushgateway", deployment, 1, "http", 9091, 9091, "pushgateway"},
	}},
	{name: "kube-system", guard: open, multi: true, workloads: []spec{
		{"coredns", deployment, 3, "dns", 53, 53, "dns"},
		{"metrics-server", deployment, 2, "https", 10250, 443, "metrics-server"},
		{"csi-controller", deployment, 2, "healthz", 9808, 0, "storage"},
		{"cluster-autoscaler", deployment, 1, "http", 8085, 0, "autoscaler"},
		{"descheduler", deployment, 1, "https", 10258, 0, ""},
		{"snapshot-controller", deployment, 1, "http", 8080, 0, ""},
	}},
	{name: "ingress-nginx", guard: ingress, workloads: []spec{
		{"controller", daemonSet, 3, "https", 443, 443, ""},
		{"default-backend", deployment, 1, "http", 8080, 80, ""},
	}},
	{name: "cert-manager", guard: open, workloads: []spec{
		{"cert-manager", deployment, 1, "http-metrics", 9402, 0, ""},
		{"webhook", deployment, 2, "https", 10250, 443, ""},
		{"cainjector", deployment, 1, "http-metrics", 9402, 0, ""},
	}},
	{name: "external-secrets", guard: open, workloads: []spec{
		{"external-secrets", deployment, 1, "metrics", 8080, 0, ""},
		{"external-secrets-webhook", deployment, 1, "webhook", 10250, 443, ""},
	}},
	{name: "argocd", guard: ingress, workloads: []spec{
		{"argocd-server", deployment, 2, "http", 8080, 80, ""},
		{"argocd-repo-server", deployment, 2, "-", 8081, 8081, ""},
		{"argocd-application-controller", statefulSet, 1, "metrics", 8082, 0, ""},
		{"argocd-redis", deployment, 1, "redis", 6379, 6379, ""},
	}},
	{name: "ci", guard: open, workloads: []spec{
		{"runner", deployment, 2, "metrics", 9252, 0, ""},
		{"registry-mirror", deployment, 1, "http", 5000, 5000, ""},
		{"build-cache", statefulSet, 1, "grpc", 9092, 9092, ""},
	}},
	{name: "logging", guard: open, workloads: []spec{
		{"fluent-bit", daemonSet, 9, "http", 2020, 0, ""},
		{"vector-aggregator", statefulSet, 2, "vector", 6000, 6000, ""},
	}},
	{name: "calico-system", guard: open, workloads: []spec{
		{"goldmane", deployment, 1, "-", 7443, 7443, ""},
		{"whisker", deployment, 1, "-", 8081, 8081, ""},
		{"calico-kube-controllers", deployment, 1, "metrics", 9094, 0, ""},
	}},
	{name: "sandbox", guard: open, workloads: []spec{
		{"debug-shell", static, 1, "-", 22, 0, ""},
		{"load-test", deployment, 2, "http", 8089, 8089, ""},
		{"old-prototype", deployment, 1, "http", 8000, 80, ""},
	}},
}

// nodes of the cluster. Those with a host endpoint report probes by their name; the
// rest, an autoscaled group, is just "pvt" to Calico.
var nodes = []node{
	{"node-a1", "eu-1a", true},
	{"node-a2", "eu-1a", true},
	{"node-a3", "eu-1a", true},
	{"node-b1", "eu-1b", true},
	{"node-b2", "eu-1b", true},
	{"node-b3", "eu-1b", false},
	{"node-c1", "eu-1c", true},
	{"node-c2", "eu-1c", false},
	{"node-c3", "eu-1c", false},
	{"node-w1", "warehouse", true},
}

// remote is the node in the warehouse, behind a thin line: its Felix flushes every 300 s.
// It has only the Pods that are said to be there.
const remote = 9

// atRemote are the workloads of that node. What runs on every node runs there besides.
var atRemote = map[string]bool{"shipping/label-printer": true, "inventory/warehouse-sync": true}

var everywhere = map[string]bool{"monitoring/node-exporter": true, "logging/fluent-bit": true}

type node struct {
	name, zone   string
	hostEndpoint bool
}

// workload is a spec with its place in the cluster.
type workload struct {
	spec
	namespace namespace
	called    string   // the name that Calico gives to its Pods together
	labels    []string // that all of its Pods share
	replicas  []traffic.Pod
	nodes     []int // that have a replica, in order
}

func (w *workload) id() string { return w.namespace.name + "/" + w.name }

func newWorkload(seed uint64, ns namespace, s spec) *workload {
	w := &workload{spec: s, namespace: ns}
	revision := suffix(seed, ns.name, s.name)
	w.labels = []string{
		"app.kubernetes.io/name=" + s.name,
		"app.kubernetes.io/instance=" + ns.name,
		"app.kubernetes.io/managed-by=Helm",
		"app.kubernetes.io/part-of=" + ns.name,
		fmt.Sprintf("app.kubernetes.io/version=%d.%d.%d", revision[0]%4, revision[1]%20, revision[2]%10),
		"projectcalico.org/namespace=" + ns.name,
		"projectcalico.org/orchestrator=k8s",
		"projectcalico.org/serviceaccount=" + s.name,
	}
	if s.identity != "" {
		w.labels = append(w.labels, "service-identity="+s.identity)
	}
	switch s.kind {
	case deployment:
		hash := revision[:9]
		w.called = s.name + "-" + hash + "-*"
		w.labels = append(w.labels, "pod-template-hash="+hash)
	case daemonSet, statefulSet:
		w.called = s.name + "-*"
		w.labels = append(w.labels, "controller-revision-hash="+s.name+"-"+revision[:9])
	case static:
		w.called = s.name
	}
	slices.Sort(w.labels)
	first := int(hash(seed, ns.name, s.name) % remote)
	for i := range s.count {
		n := (first + i*4) % remote // 4 and 9 are coprime: replicas spread before they share
		if atRemote[w.id()] {
			n = remote
		}
		w.place(i, n)
	}
	if everywhere[w.id()] {
		w.place(s.count, remote)
	}
	slices.Sort(w.nodes)
	w.nodes = slices.Compact(w.nodes)
	return w
}

// place puts the ith replica on node n.
func (w *workload) place(i, n int) {
	labels := append(slices.Clone(w.labels), "topology.kubernetes.io/zone="+nodes[n].zone)
	if w.kind == statefulSet {
		labels = append(labels,
			fmt.Sprintf("apps.kubernetes.io/pod-index=%d", i),
			fmt.Sprintf("statefulset.kubernetes.io/pod-name=%s-%d", w.name, i))
	}
	slices.Sort(labels)
	w.replicas = append(w.replicas, traffic.Pod{Node: n, Labels: labels})
	w.nodes = append(w.nodes, n)
}

// suffix is what Kubernetes hangs on a ReplicaSet's name, out of its own alphabet.
func suffix(seed uint64, parts ...string) string {
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	h := hash(seed, parts...)
	var b strings.Builder
	for range 10 {
		b.WriteByte(alphabet[h%uint64(len(alphabet))])
		h = h/uint64(len(alphabet)) ^ h<<37
	}
	return b.String()
}

// hash is a number that depends on all of its arguments and nothing else.
func hash(seed uint64, parts ...string) uint64 {
	h := mix(seed + 0x9e3779b97f4a7c15)
	for _, p := range parts {
		f := fnv.New64a()
		_, _ = f.Write([]byte(p)) // never fails
		h = mix(h ^ f.Sum64())
	}
	return h
}

// mix spreads close numbers far apart (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// unit is a number in [0, 1) that depends on its arguments alone.
func unit(seed uint64, parts ...uint64) float64 {
	h := mix(seed + 0x9e3779b97f4a7c15)
	for _, p := range parts {
		h = mix(h ^ mix(p+0x9e3779b97f4a7c15))
	}
	return float64(h>>11) / (1 << 53)
}
