// Package e2e tests the whole of goldtrail: the built Collector, a Goldmane simulator
// and a real Loki, as processes, over their real ports. `make e2e` builds what it needs
// and runs it; without the build tag e2e there is nothing here.
package e2e
