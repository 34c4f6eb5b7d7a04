// Package cluster is a believable Kubernetes cluster as Calico's nodes report it: a
// shop of a hundred-odd workloads in two dozen namespaces, with DNS, scraping, probes,
// ingress, databases outside, denied attempts and rare visitors.
//
// It is made up, but the shape follows what Felix sends: allowed pod-to-pod traffic is
// reported by both nodes, traffic with an outside endpoint by one, an egress denial by
// the source's node alone; one key comes from every node that has a replica, each with
// the labels of its own pods; and each node has its own flush cycle of 15 to 16.5 s, so
// that about 6 % of a window's flows reach Goldmane after the window was streamed.
//
// Everything is a pure function of the seed and the window's start.
package cluster
