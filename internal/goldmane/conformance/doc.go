// Package conformance states what clients of Goldmane have to live with, once, as
// tests. They run against the simulator always, and against a real Goldmane where
// GOLDMANE_BIN names its binary:
//
//	GOLDMANE_BIN=… GOLDMANE_VERSION=3.32.1 go test -count=1 -run TestConformance ./internal/goldmane/conformance/
//
// The suite starts the binary on loopback, a process for each behaviour, with windows
// of 2 s. GOLDMANE_VERSION tells it which Goldmane that is, where versions differ;
// without it the newest is assumed. Where a real one and the simulator disagree, the
// simulator is wrong.
package conformance
