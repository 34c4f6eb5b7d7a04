package flowlog

// Streams: the values of the resource attribute service.name, and with Loki's
// default settings its index label service_name.
const (
	// ServiceName is the resource attribute that names the stream.
	ServiceName = "service.name"
	// ClusterName is the resource attribute that tells clusters in one Loki apart.
	// The pipeline's configuration sets it; the receiver does not know its value.
	ClusterName = "k8s.cluster.name"

	// StreamFlows holds one record a flow and window.
	StreamFlows = "goldmane-flows"
	// StreamLive holds previews of flow records, where they are asked for.
	StreamLive = "goldmane-live"
)

// EventName is the event name of every flow record, and EventPreview that of every
// preview: a flow as Goldmane streamed it, before anything is decided. Nobody counts
// previews; the flow record comes when its window has settled.
const (
	EventName    = "calico.flow"
	EventPreview = "calico.flow.preview"
)

// Attributes of a flow record. A value that is unknown or empty is left out, never
// written as "" or "-".
const (
	// NetworkTransport is the protocol in lower case: tcp, udp, icmp, icmp6, sctp,
	// or the decimal number of a protocol that Calico has no name for.
	NetworkTransport = "network.transport"

	// SourceType and DestinationType are one of the Type values.
	SourceType      = "source.calico.endpoint.type"
	DestinationType = "destination.calico.endpoint.type"
	// SourceName and DestinationName are Calico's aggregated names: the pods'
	// generateName and "*", a pod, host or network set name, "pub" or "pvt".
	SourceName      = "source.calico.endpoint.name"
	DestinationName = "destination.calico.endpoint.name"
	// SourceNamespace and DestinationNamespace are absent for what has no namespace.
	SourceNamespace      = "source.k8s.namespace.name"
	DestinationNamespace = "destination.k8s.namespace.name"
	// SourceLabels and DestinationLabels are maps from label to value: the labels
	// that every contributing endpoint shares.
	SourceLabels      = "source.calico.endpoint.labels"
	DestinationLabels = "destination.calico.endpoint.labels"

	// DestinationPort is an int; absent where the protocol has no ports.
	DestinationPort = "destination.port"
	// ICMPType and ICMPCode are ints, for ICMP (v4) only: Calico packs the two into
	// the destination port.
	ICMPType = "calico.flow.icmp.type"
	ICMPCode = "calico.flow.icmp.code"

	// The Kubernetes Service that the source dialled, where the node saw one.
	DestinationServiceName      = "destination.k8s.service.name"
	DestinationServiceNamespace = "destination.k8s.service.namespace"
	DestinationServicePortName  = "destination.k8s.service.port.name"
	DestinationServicePort      = "destination.k8s.service.port" // int
	// FlowService is the four of them as one, namespace/name:portname:port. One
	// attribute costs Loki less than four.
	FlowService = "calico.flow.service"

	// FlowAction is the outcome: what the destination's node did where it decides, and
	// unconfirmed where it said nothing.
	FlowAction = "calico.flow.action"
	// FlowCounts is a bool: whether the record is part of sums. Those that are not speak of
	// traffic that another record counts, or of none.
	FlowCounts = "calico.flow.counts"
	// FlowSplit is an int: of how many rows of Goldmane's, which differ in their policies
	// only, the record was made. Absent where it was one.
	FlowSplit = "calico.flow.split"
	// FlowServiceTwin is true where the record names no Service, and a report of the same
	// two ends within reach does: the Service of a connection's first packets may not be
	// known yet.
	FlowServiceTwin = "calico.flow.service_twin"
	// FlowSourceAction and FlowDestinationAction are the two verdicts, written only
	// where the sides differ.
	FlowSourceAction      = "calico.flow.source.action"
	FlowDestinationAction = "calico.flow.destination.action"
	// FlowReporter says whose counters these are: one of the Reporter values.
	FlowReporter = "calico.flow.reporter"
	// FlowStart and FlowEnd are the window's bounds, ints, seconds since the epoch.
	FlowStart = "calico.flow.window.start"
	FlowEnd   = "calico.flow.window.end"
	// FlowNoTraffic is true where the window saw no packet: an idle connection, or a
	// denial that Calico goes on reporting after the verdict has changed.
	FlowNoTraffic = "calico.flow.no_traffic"

	// FlowLate is true where the flow was not in its window when that had settled, or could
	// not be decided then: it was handed on after the window had been listed again.
	FlowLate = "calico.flow.late"

	// Counters of the window, ints. The source's are what it sent to the
	// destination, the destination's what it sent back.
	FlowSourcePackets        = "calico.flow.source.packets"
	FlowSourceBytes          = "calico.flow.source.bytes"
	FlowDestinationPackets   = "calico.flow.destination.packets"
	FlowDestinationBytes     = "calico.flow.destination.bytes"
	FlowConnectionsStarted   = "calico.flow.connections.started"
	FlowConnectionsCompleted = "calico.flow.connections.completed"
	// FlowConnectionsLive are all that were seen, those that ended included.
	FlowConnectionsLive = "calico.flow.connections.live"

	// PolicyDeciding is the hit that made FlowAction what it is.
	PolicyDeciding = "calico.policy.deciding"
	// PolicyEgress is the trace of the source's node, PolicyIngress that of the
	// destination's: hits in the order of evaluation, separated by commas.
	PolicyEgress  = "calico.policy.egress"
	PolicyIngress = "calico.policy.ingress"
	// PolicyEgressPending and PolicyIngressPending are the traces with staged
	// policies in force, written only where they differ from the enforced ones.
	PolicyEgressPending  = "calico.policy.egress.pending"
	PolicyIngressPending = "calico.policy.ingress.pending"
	// PolicyStagedEnforced is true where an enforced trace has a staged policy in it, which
	// decided nothing (calico#13410).
	PolicyStagedEnforced = "calico.policy.staged_enforced"
	// PolicyPendingAction is the outcome that the pending traces would have; written
	// only together with one of them.
	PolicyPendingAction = "calico.policy.pending.action"
)

// Streams of what edgesconnector makes of flow and coverage records.
const (
	// StreamEdges holds a rollup of every edge and interval, and first_seen events.
	StreamEdges = "goldmane-edges"
	// StreamEdgesQuarters holds a rollup of every edge and quarter of an interval, for what
	// of a question is less than an interval: the running hour above all (issue 6).
	StreamEdgesQuarters = "goldmane-edges-quarters"
	// StreamEdgesDaily holds a rollup of every edge and day. It is a stream of its own
	// because a question about months then reads a twenty-fourth of the records.
	StreamEdgesDaily = "goldmane-edges-daily"
)

// Event names of the edge streams.
const (
	EventRollup    = "calico.edge.rollup"
	EventFirstSeen = "calico.edge.first_seen"
	EventClosing   = "calico.edge.closing"
)

// Attributes of rollups, beside the edge (SourceIdentity, DestinationIdentity,
// DestinationPort, NetworkTransport, FlowAction) and the sums, which have the names that
// a flow's counters have.
const (
	// EdgeIntervalStart and EdgeIntervalEnd bound the interval, ints, seconds since the epoch.
	EdgeIntervalStart = "calico.edge.interval.start"
	EdgeIntervalEnd   = "calico.edge.interval.end"
	// EdgeIntervalEdges is how many edges a closed interval has rollups of, an int.
	EdgeIntervalEdges = "calico.edge.interval.edges"
	// EdgeFinal is a bool, EdgeSequence an int: of several rollups of one edge and
	// interval the one with the highest is true.
	EdgeFinal    = "calico.edge.final"
	EdgeSequence = "calico.edge.sequence"
	// Counts, ints: flow records that count, windows that the edge was seen in, windows of
	// the interval that are complete, and that it has.
	EdgeFlows           = "calico.edge.flows"
	EdgeWindows         = "calico.edge.windows"
	EdgeWindowsComplete = "calico.edge.windows.complete"
	EdgeWindowsTotal    = "calico.edge.windows.total"
	// EdgeFirst and EdgeLast are the start of the first window that the edge was seen in,
	// and the end of the last, ints, seconds since the epoch.
	EdgeFirst = "calico.edge.first"
	EdgeLast  = "calico.edge.last"
	// EdgePolicies are the hits that decided, separated by commas; EdgePoliciesMore
	// counts the records that were decided by a hit which is not among them.
	EdgePolicies     = "calico.edge.policies"
	EdgePoliciesMore = "calico.edge.policies.more"
)

// Attributes that svcidprocessor adds.
const (
	SourceIdentity      = "source.service.identity"
	DestinationIdentity = "destination.service.identity"
	// The bases say what each identity rests on: one of the Basis values.
	SourceIdentityBasis      = "source.service.identity_basis"
	DestinationIdentityBasis = "destination.service.identity_basis"
	// The reasons say why an identity could not be told, or not for sure: one of the
	// Reason values. Absent where there is nothing to excuse.
	SourceIdentityReason      = "source.service.identity_reason"
	DestinationIdentityReason = "destination.service.identity_reason"
)

// Values of SourceType and DestinationType. An endpoint type that has no name here
// is written as "type-" and its number.
const (
	TypeWorkload   = "workload"
	TypeHost       = "host"
	TypeNetworkSet = "networkset"
	TypeNetwork    = "network"
)

// Names that Calico gives to endpoints of TypeNetwork.
const (
	NetworkPublic  = "pub"
	NetworkPrivate = "pvt" // 10/8, 172.16/12 and 192.168/16, nothing else
)

// Values of FlowAction and its like. An action that has no name here is written as
// "action-" and its number.
const (
	ActionAllow = "allow"
	ActionDeny  = "deny"
	// ActionUnconfirmed is an outcome, and no verdict of a node: the source's node let the
	// traffic go, and the destination's node has not said what became of it.
	ActionUnconfirmed = "unconfirmed"
	ActionPass        = "pass" // in policy hits only
)

// Values of FlowReporter. A reporter that has no name here is written as
// "reporter-" and its number.
const (
	ReporterSource      = "src"
	ReporterDestination = "dst"
	// ReporterBoth: both nodes reported the flow and the record is their merger,
	// with the source's counters.
	ReporterBoth = "both"
)

// Values of SourceIdentityBasis and DestinationIdentityBasis.
const (
	BasisNamespace = "namespace"
	BasisLabel     = "label"
	// BasisWorkload: not on the flow, but on the Pods that the flow names, or on what
	// they were made from, as the Kubernetes API has them.
	BasisWorkload = "workload"
	// BasisService: Calico does not know the endpoint, but knows the Kubernetes Service
	// that was dialled. Of destinations only.
	BasisService    = "service"
	BasisUnlabelled = "unlabelled" // a multi-Service namespace, and no label to tell by
	BasisHost       = "host"
	BasisNetworkSet = "networkset"
	BasisNetwork    = "network"
	// BasisUnknown: an endpoint type or network name that has no rule, or a workload
	// without a namespace. The identity is then "?".
	BasisUnknown = "unknown"
)

// Values of SourceIdentityReason and DestinationIdentityReason.
const (
	// ReasonMissing: no label of those that are asked for, neither on the flow nor, where
	// the Kubernetes API is asked, on the workload.
	ReasonMissing = "missing"
	// ReasonMixed: the workload's Pods carry different values, or some of them none.
	ReasonMixed = "mixed"
	// ReasonUnknownWorkload: the Kubernetes API knows no such Pods, nor what they were
	// made from.
	ReasonUnknownWorkload = "unknown_workload"
	// ReasonAPIUnavailable: the Kubernetes API could not be asked.
	ReasonAPIUnavailable = "api_unavailable"
)
