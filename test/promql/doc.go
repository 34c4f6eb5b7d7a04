// Package promql runs every PromQL query of deploy/dashboards and deploy/alerts in
// Prometheus's own engine, on known samples.
//
// testdata/series.txt says which metrics and labels the queries may use: the end-to-end
// tests hold it to a running Collector, the tests here hold the queries to it.
package promql
