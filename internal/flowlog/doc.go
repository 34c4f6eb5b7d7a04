// Package flowlog is the vocabulary of the trail: what a flow record says and how
// it is written. The receiver writes records, the processor adds the identities,
// everything else reads them; all of them meet here and nowhere else, so that a
// name is spelled once.
//
// The contract for readers outside this repository is docs/trail-format.md. A test
// holds that page to the names in this package.
package flowlog
