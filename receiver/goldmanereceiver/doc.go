// Package goldmanereceiver reads the flows that Calico's Goldmane aggregates and
// hands them on as log records, window by window.
//
// What it guarantees:
//
//   - A window is read with one Flows.List of exactly its bounds, settle_delay after
//     its start, late flows included, and handed on in one order. At recheck_delay it is
//     listed again, and what is new is handed on, marked late.
//   - A record is a pure function of its flow and window: the same flow always makes
//     the same body, attributes and timestamp.
//   - A window stays where it is, in Goldmane's ring, until the pipeline has taken
//     the one before it: nothing is queued here beyond one window. A window that cannot be
//     read holds up no other.
//   - The live lane, where it is asked for, is drained at once whatever the pipeline does;
//     what it hands on and what the listing adds make the same sum.
//   - With a storage, a crash repeats the records of one window at most.
//   - Every window gets one final word: a coverage record, or a place in a gap record.
//   - What cannot become a record is counted, by reason.
//
// Data goes one way: dial (connect.go) → List (list.go) → flows in the trail's terms
// (convert.go, trace.go) → one window, merged and ordered (window.go, merge.go) →
// batches for the pipeline (deliver.go).
package goldmanereceiver

//go:generate mdatagen metadata.yaml
