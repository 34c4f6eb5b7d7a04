// Package goldmanereceiver reads the flows that Calico's Goldmane aggregates and
// hands them on as log records, window by window.
//
// What it guarantees:
//
//   - A window is read with one Flows.List of exactly its bounds, settle_delay after
//     its start, late flows included, and listed again at recheck_delay. It is decided when
//     the windows within reach of it have been listed, because the two ends' reports of one
//     packet may stand in neighbouring windows.
//   - What is handed on never changes. What cannot be decided yet is withheld; it leaves, with
//     what came late, when the windows within reach have been listed again.
//   - A record says what became of its traffic and whether it counts: the sum of the records
//     that count has each packet once, whether reports are merged or not.
//   - A record is a pure function of what was listed: the same answers always make the same
//     body, attributes and timestamp.
//   - A window stays where it is, in Goldmane's ring, until the pipeline has taken what is
//     due before it. No window waits for another that cannot be read, but for a window's time.
//   - Of a window that is not done with, Goldmane's answer is kept compressed, and of each of
//     its pairs a byte: no flows.
//   - The live lane, where it is asked for, is drained at once whatever the pipeline does; it
//     brings previews, which nobody counts.
//   - With a storage, a crash repeats the records of one step of one window at most, exactly,
//     whatever Goldmane would answer now.
//   - Every window gets one final word: a coverage record, or a place in a gap record. It
//     says when nodes were silent.
//   - What cannot become a record is counted, by reason.
//
// Data goes one way: dial (connect.go) → List (list.go) → an answer, kept with what it says
// of each pair (read.go, pairs.go, held.go) → the two steps of a window (settle.go): flows in
// the trail's terms (convert.go, trace.go), decided (verdict.go), merged and ordered (merge.go,
// window.go) → batches for the pipeline (deliver.go).
package goldmanereceiver

//go:generate mdatagen metadata.yaml
