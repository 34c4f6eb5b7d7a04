package main

// layout is a way to keep a record in Loki. All of them come out of the same
// configuration but for what stands before the exporter.
type layout struct {
	name string
	set  []string // overrides of the Collector's configuration
	// limits is YAML for Loki's limits_config.
	limits string
	// variant is true for what is measured beside the layouts, with snappy only.
	variant bool
	// questions are the five, in LogQL; SEL stands for the stream, RANGE for all of the
	// time.
	questions [questionCount]string
}

const questionCount = 5

var questionNames = [questionCount]string{"top edges", "one destination", "denied", "text", "bytes by source"}

// encodings are those of Loki's chunks; snappy is its default.
var encodings = [...]string{"snappy", "zstd"}

const transform = "processors.transform/loki.log_statements="

var layouts = []layout{
	{
		name: "in use",
		questions: [questionCount]string{
			`topk(10, sum by (source_service_identity, destination_service_identity) (count_over_time(SEL [RANGE])))`,
			`sum by (source_service_identity) (count_over_time(SEL | destination_service_identity="payments" [RANGE]))`,
			"sum by (source_service_identity, destination_service_identity) (count_over_time(SEL |~ `^v2 deny ` [RANGE]))",
			`SEL |= "pg-payments"`,
			`sum by (source_service_identity) (sum_over_time(SEL | pattern "v2 <_> <_> -> <_> <_> <_> <_> <_>/<bytes> <_>" | unwrap bytes [RANGE]))`,
		},
	},
	{
		// What the pipeline makes without a transform.
		name: reference,
		set:  []string{"service.pipelines.logs.processors=[svcid, resource]"},
		questions: [questionCount]string{
			`topk(10, sum by (source_service_identity, destination_service_identity) (count_over_time(SEL [RANGE])))`,
			`sum by (source_service_identity) (count_over_time(SEL | destination_service_identity="payments" [RANGE]))`,
			`sum by (source_service_identity, destination_service_identity) (count_over_time(SEL | calico_flow_action="deny" [RANGE]))`,
			`SEL |= "pg-payments"`,
			`sum by (source_service_identity) (sum_over_time(SEL | unwrap calico_flow_source_bytes [RANGE]))`,
		},
	},
	{
		// What most exporters of flows write. A body that is a map becomes JSON.
		name: "JSON line with labels",
		set: []string{
			"processors.svcid.keep_labels=['*', '*/*']",
			transform + `['set(log.body, log.attributes) where resource.attributes["service.name"] == "goldmane-flows"', 'keep_keys(log.attributes, [])']`,
		},
		questions: [questionCount]string{
			`topk(10, sum by (s, d) (count_over_time(SEL | json s="[\"source.service.identity\"]", d="[\"destination.service.identity\"]" [RANGE])))`,
			`sum by (s) (count_over_time(SEL |= "\"destination.service.identity\":\"payments\"" | json s="[\"source.service.identity\"]" [RANGE]))`,
			`sum by (s, d) (count_over_time(SEL |= "\"calico.flow.action\":\"deny\"" | json s="[\"source.service.identity\"]", d="[\"destination.service.identity\"]" [RANGE]))`,
			`SEL |= "pg-payments"`,
			`sum by (s) (sum_over_time(SEL | json s="[\"source.service.identity\"]", bytes="[\"calico.flow.source.bytes\"]" | unwrap bytes [RANGE]))`,
		},
	},
	{
		// What docs/loki.md shows: another stream for what was denied.
		name:    "in use, outcome as a label",
		variant: true,
		set:     []string{transform + `['keep_keys(log.attributes, ["source.service.identity", "destination.service.identity", "calico.flow.service", "calico.policy.egress", "calico.policy.ingress", "calico.policy.egress.pending", "calico.policy.ingress.pending", "calico.flow.action"]) where resource.attributes["service.name"] == "goldmane-flows"']`},
		limits: `  otlp_config:
    log_attributes:
      - action: index_label
        attributes: [calico.flow.action]
`,
		questions: [questionCount]string{
			`topk(10, sum by (source_service_identity, destination_service_identity) (count_over_time(SEL [RANGE])))`,
			`sum by (source_service_identity) (count_over_time(SEL | destination_service_identity="payments" [RANGE]))`,
			`sum by (source_service_identity, destination_service_identity) (count_over_time({service_name="goldmane-flows", k8s_cluster_name="bench", calico_flow_action="deny"} [RANGE]))`,
			`SEL |= "pg-payments"`,
			`sum by (source_service_identity) (sum_over_time(SEL | pattern "v2 <_> <_> -> <_> <_> <_> <_> <_>/<bytes> <_>" | unwrap bytes [RANGE]))`,
		},
	},
}
