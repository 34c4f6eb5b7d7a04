//go:generate mdatagen metadata.yaml

// Package edgesconnector is the Collector connector `edges`. From flow and coverage
// records, after svcid, it makes rollups and first_seen events (logs to logs), and metrics
// (logs to metrics). docs/trail-format.md says what they are.
//
// What it guarantees:
//
//   - Sums are those of the flow records that count, by what they say themselves, in whatever
//     order they come. A record that comes again exactly, after a crash of the receiver,
//     counts once. Those that do not count, and previews, change nothing; those that do not
//     say are left out, counted and warned of.
//   - An outcome that nobody has confirmed is an edge of its own, in everything.
//   - An edge to an address whose Service another record names is known without an event, for
//     as long as all its records have such a twin.
//   - A rollup is said when its interval can no longer change: when every window has its
//     final coverage record, or when nothing came for it for a while. What comes later
//     amends it. At shutdown all that is not said yet is said, as provisional.
//   - A sequence is a pure function of what the rollup takes into account, so that one which
//     is said again after a crash is an exact repeat, or has a higher sequence.
//   - With `storage`, ConsumeLogs returns only when what it was given would survive SIGKILL.
//     If the storage fails, that is logged and counted, and flows go on. What cannot be read
//     is given up for good: the journal belongs to one state, and its entries have checksums.
//   - A pipeline that refuses rollups never holds up flows: they are said again later, and
//     after seven days given up and counted.
//   - Origins (k8s.cluster.name and the other resource attributes) are kept apart.
//   - Memory is bounded by `known_edges::max` and `metrics::max_series`; what is over a
//     bound is summed up in an overflow edge or series, never dropped.
//
// ConsumeLogs may be called concurrently.
package edgesconnector
