// Package goldmane is the wire of Calico's flow aggregator: its Flows and
// FlowCollector services, generated from goldmane.proto.
//
// # Provenance
//
// The definition is our own text of a published interface. Message, field and enum
// names and numbers were compared with Calico's goldmane/proto/api.proto at
// v3.30.7, v3.31.7, v3.32.1 and master (commit 87c15906, 22 August 2026). The
// Statistics service is left out: nothing here uses it.
//
// Between those versions the interface differs in four places, and goldmane.proto
// is their union: policy kinds 7 and 8 exist up to 3.31 only, kind 11 and filter
// types 7 and 8 since 3.32 only, Filter fields 9 and 10 are ignored before 3.32,
// and PolicyMatch changed its strings to StringMatch in 3.32.
//
// Enum numbers that have no name here are kept as numbers, as proto3 does.
//
// Regenerate with `make generate`.
package goldmane
