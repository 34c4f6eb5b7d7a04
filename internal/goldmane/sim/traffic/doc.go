// Package traffic is what a cluster really sends, and what its nodes report of it.
//
// Traffic is a function of time: each pair of ends has connections, each with its
// instant, its Pods, its packets. A node's flush collects those of its Pods since the
// flush before, so that over time the source's reports, the destination's and the truth
// are the same, to the unit, and whoever reads the reports can be held to the truth.
//
// What stands between the truth and its reader is what real nodes do. Each flushes on
// its own clock, every 15 s plus up to 1.5 s, and stamps a flush with its start, so that
// one window in twenty has nothing of a node. Flushes come late; a node that was cut off
// sends its last five minutes again, which Goldmane counts twice; one goes silent; one
// flushes every 300 s. A policy that is replaced makes a node report the same counters
// under both. A denial is an Allow to the source's node.
//
// The times of all this are in windows: where a window lasts a second instead of
// fifteen, five minutes last twenty seconds.
//
// Everything is a pure function of the configuration and the time asked for.
package traffic
