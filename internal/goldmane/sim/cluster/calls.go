package cluster

// pace is how often and how hard two endpoints talk.
type pace struct {
	rate  float64 // the share of windows in which they do
	conns int64   // connections in such a window, about
	bytes int64   // a connection, about
}

var (
	busy   = pace{0.98, 40, 9000}
	steady = pace{0.85, 8, 4000}
	quiet  = pace{0.4, 2, 1500}
	rare   = pace{0.02, 1, 800}
)

// call is traffic from a workload to another's Service, or to its pods where it has none.
type call struct {
	from, to string // namespace/workload
	pace     pace
}

var calls = []call{
	{"ingress-nginx/controller", "frontend/web", busy},
	{"ingress-nginx/controller", "frontend/mobile-bff", busy},
	{"ingress-nginx/controller", "frontend/assets", busy},
	{"ingress-nginx/controller", "frontend/admin-ui", quiet},
	{"ingress-nginx/controller", "accounts/login", steady},
	{"ingress-nginx/controller", "marketing/tracking-pixel", busy},
	{"ingress-nginx/controller", "realtime/signalling", steady},
	{"ingress-nginx/controller", "argocd/argocd-server", quiet},
	{"ingress-nginx/controller", "monitoring/grafana", quiet},
	{"ingress-nginx/controller", "ingress-nginx/default-backend", quiet},
	{"ingress-nginx/controller", "analytics/superset", quiet},
	{"frontend/web", "catalog/catalog-api", busy},
	{"frontend/web", "cart/cart-api", busy},
	{"frontend/web", "checkout/checkout-api", steady},
	{"frontend/web", "accounts/login", steady},
	{"frontend/web", "search/search-api", busy},
	{"frontend/web", "recommendations/ranker", busy},
	{"frontend/web", "reviews/reviews-api", steady},
	{"frontend/web", "analytics/collector", steady},
	{"frontend/mobile-bff", "catalog/catalog-api", busy},
	{"frontend/mobile-bff", "cart/cart-api", steady},
	{"frontend/mobile-bff", "orders/orders-api", steady},
	{"frontend/mobile-bff", "accounts/profile", steady},
	{"frontend/mobile-bff", "search/search-api", steady},
	{"frontend/mobile-bff", "notifications/notifier", quiet},
	{"frontend/admin-ui", "orders/orders-api", quiet},
	{"frontend/admin-ui", "catalog/catalog-api", quiet},
	{"frontend/admin-ui", "inventory/stock-api", quiet},
	{"catalog/catalog-api", "catalog/pricing", busy},
	{"catalog/catalog-api", "catalog/catalog-cache", busy},
	{"catalog/catalog-api", "dbaas/pg-catalog", steady},
	{"catalog/catalog-api", "inventory/stock-api", steady},
	{"catalog/importer", "dbaas/pg-catalog", quiet},
	{"catalog/importer", "messaging/kafka", quiet},
	{"cart/cart-api", "cart/cart-store", busy},
	{"cart/cart-api", "catalog/pricing", steady},
	{"checkout/checkout-api", "cart/cart-api", steady},
	{"checkout/checkout-api", "checkout/tax", steady},
	{"checkout/checkout-api", "checkout/fraud-score", steady},
	{"checkout/checkout-api", "orders/orders-api", steady},
	{"checkout/checkout-api", "payments/payments-api", steady},
	{"checkout/checkout-api", "inventory/stock-api", steady},
	{"checkout/fraud-score", "recommendations/feature-store", steady},
	{"orders/orders-api", "dbaas/pgbouncer", steady},
	{"orders/orders-api", "accounts/profile", steady},
	{"orders/orders-worker", "dbaas/pg-orders", steady},
	{"orders/orders-worker", "messaging/kafka", steady},
	{"orders/orders-worker", "shipping/shipping-api", quiet},
	{"orders/orders-worker", "notifications/notifier", quiet},
	{"orders/outbox", "dbaas/pg-orders", steady},
	{"orders/outbox", "messaging/kafka", steady},
	{"payments/payments-api", "payments/card-vault", steady},
	{"payments/payments-api", "payments/psp-gateway", steady},
	{"payments/payments-api", "dbaas/pg-payments", steady},
	{"payments/payments-api", "messaging/rabbitmq", quiet},
	{"payments/reconciler", "dbaas/pg-payments", quiet},
	{"shipping/shipping-api", "shipping/label-printer", quiet},
	{"shipping/shipping-api", "dbaas/mysql-legacy", quiet},
	{"shipping/carrier-sync", "messaging/rabbitmq", quiet},
	{"inventory/stock-api", "dbaas/pg-catalog", steady},
	{"inventory/stock-projector", "messaging/kafka", steady},
	{"inventory/warehouse-sync", "dbaas/mysql-legacy", quiet},
	{"accounts/login", "accounts/sessions", busy},
	{"accounts/login", "dbaas/pg-accounts", steady},
	{"accounts/profile", "dbaas/pg-accounts", steady},
	{"search/search-api", "search/opensearch-data", busy},
	{"search/indexer", "search/opensearch-data", steady},
	{"search/indexer", "messaging/kafka", steady},
	{"search/opensearch-data", "search/opensearch-data", steady},
	{"recommendations/ranker", "recommendations/feature-store", busy},
	{"recommendations/trainer", "recommendations/feature-store", quiet},
	{"recommendations/trainer", "analytics/clickhouse", quiet},
	{"reviews/reviews-api", "dbaas/mongo-reviews", steady},
	{"reviews/reviews-api", "reviews/moderation", quiet},
	{"notifications/notifier", "notifications/mailer", steady},
	{"notifications/notifier", "notifications/push", steady},
	{"notifications/notifier", "messaging/rabbitmq", steady},
	{"marketing/campaigns", "notifications/mailer", quiet},
	{"marketing/campaigns", "catalog/catalog-api", quiet},
	{"marketing/newsletter", "notifications/mailer", quiet},
	{"marketing/tracking-pixel", "messaging/kafka", steady},
	{"analytics/collector", "messaging/kafka", busy},
	{"analytics/spark-driver", "analytics/spark-executor", steady},
	{"analytics/spark-executor", "analytics/spark-executor", steady},
	{"analytics/spark-executor", "analytics/clickhouse", steady},
	{"analytics/superset", "analytics/clickhouse", quiet},
	{"realtime/signalling", "accounts/sessions", quiet},
	{"messaging/kafka", "messaging/kafka", busy},
	{"messaging/kafka-ui", "messaging/kafka", quiet},
	{"messaging/schema-registry", "messaging/kafka", steady},
	{"messaging/rabbitmq", "messaging/rabbitmq", steady},
	{"dbaas/pgbouncer", "dbaas/pg-orders", busy},
	{"dbaas/pg-orders", "dbaas/pg-orders", steady},
	{"dbaas/pg-payments", "dbaas/pg-payments", steady},
	{"dbaas/pg-catalog", "dbaas/pg-catalog", steady},
	{"dbaas/mongo-reviews", "dbaas/mongo-reviews", steady},
	{"dbaas/pg-operator", "dbaas/pg-orders", quiet},
	{"monitoring/prometheus", "monitoring/alertmanager", steady},
	{"monitoring/alertmanager", "monitoring/alertmanager", steady},
	{"monitoring/alertmanager", "notifications/notifier", rare},
	{"monitoring/grafana", "monitoring/prometheus", quiet},
	{"monitoring/grafana", "monitoring/loki", quiet},
	{"monitoring/grafana", "monitoring/tempo", quiet},
	{"monitoring/otel-collector", "monitoring/tempo", busy},
	{"monitoring/otel-collector", "monitoring/loki", steady},
	{"monitoring/loki", "monitoring/loki", steady},
	{"monitoring/blackbox-exporter", "frontend/web", steady},
	{"frontend/web", "monitoring/otel-collector", steady},
	{"checkout/checkout-api", "monitoring/otel-collector", steady},
	{"payments/payments-api", "monitoring/otel-collector", steady},
	{"orders/orders-api", "monitoring/otel-collector", steady},
	{"search/search-api", "monitoring/otel-collector", steady},
	{"ci/runner", "monitoring/pushgateway", quiet},
	{"ci/runner", "ci/registry-mirror", quiet},
	{"ci/runner", "ci/build-cache", quiet},
	{"logging/fluent-bit", "logging/vector-aggregator", busy},
	{"logging/vector-aggregator", "monitoring/loki", busy},
	{"argocd/argocd-server", "argocd/argocd-redis", steady},
	{"argocd/argocd-server", "argocd/argocd-repo-server", quiet},
	{"argocd/argocd-application-controller", "argocd/argocd-repo-server", steady},
	{"argocd/argocd-application-controller", "argocd/argocd-redis", steady},
	{"calico-system/whisker", "calico-system/goldmane", steady},

	// Seen once in a while: what a watcher of new edges lives for.
	{"frontend/admin-ui", "accounts/profile", rare},
	{"sandbox/load-test", "frontend/web", rare},
	{"sandbox/load-test", "search/search-api", rare},
	{"sandbox/old-prototype", "catalog/catalog-api", rare},
	{"sandbox/debug-shell", "messaging/kafka-ui", rare},
	{"sandbox/debug-shell", "analytics/clickhouse", rare},
	{"sandbox/debug-shell", "monitoring/prometheus", rare},
	{"ci/runner", "argocd/argocd-server", rare},
	{"marketing/newsletter", "analytics/clickhouse", rare},
	{"reviews/moderation", "recommendations/ranker", rare},
	{"shipping/carrier-sync", "inventory/stock-api", rare},
	{"recommendations/trainer", "dbaas/mongo-reviews", rare},
}

// denial is an attempt that a policy stops.
type denial struct {
	call
	egress bool   // stopped on the source's node; else on the destination's
	by     string // tier/policy of an explicit rule; empty: the end of the default tier
}

var denials = []denial{
	{call{"sandbox/debug-shell", "payments/payments-api", quiet}, false, ""},
	{call{"sandbox/old-prototype", "orders/orders-api", steady}, false, ""},
	{call{"marketing/campaigns", "checkout/checkout-api", quiet}, false, ""},
	{call{"sandbox/debug-shell", "dbaas/pg-payments", quiet}, false, "security/guard-databases"},
	{call{"marketing/newsletter", "dbaas/pg-accounts", quiet}, false, "security/guard-databases"},
	{call{"reviews/reviews-api", "dbaas/mysql-legacy", quiet}, false, "security/guard-databases"},
	{call{"payments/card-vault", "monitoring/otel-collector", steady}, true, ""},
	{call{"accounts/login", "marketing/tracking-pixel", quiet}, true, ""},
	{call{"orders/outbox", "search/search-api", quiet}, true, ""},
	{call{"analytics/spark-executor", "dbaas/pg-orders", rare}, false, "security/guard-databases"},
	{call{"ci/runner", "payments/card-vault", rare}, false, ""},
}

// alone are calls that are always denied at their destination, from a workload of one Pod
// to another. The first ten whose Pods are on different nodes are made.
var alone = []call{
	{"sandbox/debug-shell", "dbaas/mysql-legacy", quiet},
	{"sandbox/old-prototype", "monitoring/grafana", quiet},
	{"marketing/newsletter", "orders/outbox", quiet},
	{"reviews/moderation", "payments/reconciler", quiet},
	{"monitoring/pushgateway", "dbaas/pg-operator", quiet},
	{"catalog/importer", "dbaas/mysql-legacy", steady},
	{"frontend/admin-ui", "analytics/superset", quiet},
	{"recommendations/trainer", "analytics/spark-driver", quiet},
	{"kube-system/descheduler", "argocd/argocd-redis", quiet},
	{"calico-system/whisker", "monitoring/tempo", quiet},
	{"ci/build-cache", "catalog/importer", steady},
	{"notifications/push", "messaging/kafka-ui", quiet},
	{"argocd/argocd-redis", "monitoring/pushgateway", quiet},
	{"shipping/carrier-sync", "frontend/admin-ui", quiet},
	{"external-secrets/external-secrets", "payments/reconciler", quiet},
	{"messaging/kafka-ui", "shipping/carrier-sync", quiet},
	{"cert-manager/cainjector", "dbaas/pg-operator", quiet},
	{"sandbox/debug-shell", "monitoring/kube-state-metrics", quiet},
}

// deniedOut are attempts to leave the cluster that an egress policy stops.
var deniedOut = []outside{
	{"payments/card-vault", public, 443, "tcp", quiet},
	{"payments/reconciler", public, 22, "tcp", rare},
	{"dbaas/pg-payments", public, 443, "tcp", quiet},
	{"checkout/tax", public, 80, "tcp", quiet},
	{"orders/orders-worker", public, 9001, "tcp", quiet},
	{"accounts/sessions", public, 123, "udp", steady},
}

// Endpoints that are no workload. A name with a slash is a NetworkSet, one with a
// blank before it a GlobalNetworkSet.
const (
	public  = "pub"
	private = "pvt"
)

// outside is traffic from a workload to something outside of the cluster.
type outside struct {
	from, to string
	port     int64
	proto    string
	pace     pace
}

var outsides = []outside{
	{"payments/psp-gateway", " psp-acquirers", 443, "tcp", steady},
	{"payments/psp-gateway", "payments/card-schemes", 8583, "tcp", steady},
	{"payments/reconciler", " psp-acquirers", 22, "tcp", rare},
	{"shipping/carrier-sync", "shipping/carriers", 443, "tcp", steady},
	{"shipping/carrier-sync", "shipping/carriers", 990, "tcp", quiet},
	{"shipping/label-printer", private, 9100, "tcp", quiet},
	{"inventory/warehouse-sync", "inventory/warehouses", 1883, "tcp", steady},
	{"inventory/warehouse-sync", private, 1521, "tcp", steady},
	{"checkout/fraud-score", " fraud-feeds", 443, "tcp", steady},
	{"notifications/mailer", public, 25, "tcp", steady},
	{"notifications/mailer", public, 465, "tcp", quiet},
	{"notifications/mailer", public, 587, "tcp", steady},
	{"notifications/push", public, 5223, "tcp", steady},
	{"notifications/push", public, 5228, "tcp", steady},
	{"search/crawler", public, 80, "tcp", busy},
	{"search/crawler", public, 8080, "tcp", quiet},
	{"search/crawler", public, 8443, "tcp", quiet},
	{"catalog/importer", public, 21, "tcp", quiet},
	{"catalog/importer", private, 445, "tcp", quiet},
	{"frontend/assets", private, 9000, "tcp", steady},
	{"frontend/web", private, 6379, "tcp", steady},
	{"frontend/mobile-bff", private, 6379, "tcp", quiet},
	{"catalog/pricing", private, 3306, "tcp", steady},
	{"analytics/spark-driver", private, 9083, "tcp", steady},
	{"analytics/spark-executor", private, 9000, "tcp", busy},
	{"analytics/clickhouse", private, 9000, "tcp", steady},
	{"analytics/superset", private, 5432, "tcp", quiet},
	{"recommendations/trainer", private, 2049, "tcp", busy},
	{"recommendations/trainer", private, 111, "tcp", rare},
	{"recommendations/feature-store", private, 9042, "tcp", steady},
	{"accounts/login", private, 636, "tcp", steady},
	{"accounts/login", private, 88, "udp", quiet},
	{"argocd/argocd-repo-server", private, 22, "tcp", quiet},
	{"argocd/argocd-repo-server", public, 22, "tcp", quiet},
	{"ci/runner", public, 22, "tcp", quiet},
	{"ci/runner", public, 9418, "tcp", rare},
	{"ci/runner", private, 2376, "tcp", quiet},
	{"monitoring/blackbox-exporter", public, 2048, "icmp", steady},
	{"monitoring/blackbox-exporter", private, 2048, "icmp", steady},
	{"monitoring/blackbox-exporter", public, 0, "icmp6", quiet},
	{"monitoring/blackbox-exporter", public, 53, "udp", quiet},
	{"monitoring/blackbox-exporter", public, 80, "tcp", steady},
	{"monitoring/alertmanager", private, 25, "tcp", rare},
	{"monitoring/prometheus", private, 9100, "tcp", steady},
	{"monitoring/prometheus", private, 9182, "tcp", quiet},
	{"monitoring/prometheus", private, 10250, "tcp", steady},
	{"monitoring/loki", private, 9000, "tcp", busy},
	{"monitoring/tempo", private, 9000, "tcp", steady},
	{"monitoring/otel-collector", public, 4317, "tcp", steady},
	{"logging/vector-aggregator", private, 514, "udp", steady},
	{"logging/vector-aggregator", private, 6514, "tcp", quiet},
	{"kube-system/coredns", private, 53, "udp", busy},
	{"kube-system/coredns", private, 53, "tcp", quiet},
	{"kube-system/metrics-server", private, 10250, "tcp", busy},
	{"kube-system/csi-controller", private, 3260, "tcp", quiet},
	{"messaging/kafka", private, 9093, "tcp", steady},
	{"messaging/schema-registry", public, 9092, "tcp", quiet},
	{"realtime/signalling", public, 443, "udp", quiet},
	{"cert-manager/cert-manager", public, 53, "udp", quiet},
	{"dbaas/pg-orders", private, 5432, "tcp", quiet},
	{"dbaas/pg-catalog", private, 9000, "tcp", steady},
	{"dbaas/mysql-legacy", private, 3306, "tcp", steady},
	{"sandbox/load-test", public, 8089, "tcp", rare},
	{"sandbox/old-prototype", public, 6667, "tcp", rare},
	{"sandbox/debug-shell", public, 4444, "tcp", rare},
}

// inbound is traffic from outside to a workload: reported by the destination alone.
var inbound = []outside{ // from is the outside here, to the workload
	{public, "ingress-nginx/controller", 443, "tcp", busy},
	{public, "ingress-nginx/controller", 80, "tcp", busy},
	{private, "ingress-nginx/controller", 10254, "tcp", busy}, // the load balancer's check
	{private, "ingress-nginx/controller", 443, "tcp", steady},
	{" office", "ingress-nginx/controller", 443, "tcp", steady},
	{public, "realtime/coturn", 3478, "udp", busy},
	{public, "realtime/coturn", 5349, "tcp", steady},
	{"payments/card-schemes", "payments/psp-gateway", 8443, "tcp", quiet},
	{"inventory/warehouses", "inventory/warehouse-sync", 8883, "tcp", quiet},
	{private, "messaging/kafka", 9094, "tcp", steady},
	{private, "messaging/rabbitmq", 5671, "tcp", quiet},
	{private, "dbaas/pg-operator", 9443, "tcp", quiet},
	{private, "dbaas/mysql-legacy", 3306, "tcp", steady},
	{private, "cert-manager/webhook", 10250, "tcp", quiet},
	{private, "external-secrets/external-secrets-webhook", 10250, "tcp", quiet},
	{private, "kube-system/metrics-server", 10250, "tcp", steady},
	{private, "monitoring/node-exporter", 9100, "tcp", quiet},
	{private, "monitoring/prometheus", 9090, "tcp", quiet},
	{private, "analytics/clickhouse", 9000, "tcp", quiet},
	{public, "realtime/coturn", 2048, "icmp", quiet},
	{public, "ingress-nginx/controller", 2048, "icmp", quiet},
}
