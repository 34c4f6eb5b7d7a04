// Package cluster is a believable Kubernetes cluster as Calico's nodes report it: a
// shop of a hundred-odd workloads in two dozen namespaces, with DNS, scraping, probes,
// ingress, databases outside, denied attempts and rare visitors.
//
// It is made up: tables of who calls whom, and a timetable of what goes wrong, on the
// engine of package traffic, which says what was really sent and what nodes make of it.
// Once an hour a node is cut off and sends its last five minutes again; every few hours
// one is silent for three minutes; the one in the warehouse flushes every 300 s; policies
// are replaced by equal ones; Pods live for seconds; a denial without traffic is reported
// for ever.
//
// Everything is a pure function of the seed and the time.
package cluster
