// Package trail reads flow records back from Loki.
//
// A Client reads entries of a time range, whole and in order; Edges sums them up into
// who talks to whom. What an entry says is defined by internal/flowlog.
package trail
