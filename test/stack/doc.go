// Package stack runs the real parts of goldtrail as processes: Loki, the Goldmane
// simulator, the Collector, and a Kubernetes API. The demo and the end-to-end tests
// share it.
//
// The programs are named by LOKI_BIN, GOLDMANE_SIM_BIN, COLLECTOR_BIN, ETCD_BIN and
// KUBE_APISERVER_BIN, which the Makefile sets after it has built them. LOKI_URL makes
// the stack use a Loki that is running already instead of starting one.
//
// Everything a Stack starts ends with it: Stop ends the processes, and where the
// operating system can (Linux), they are killed when this process dies without Stop.
package stack
