// Package queries runs every LogQL query that is shipped against a real Loki: those of
// deploy/dashboards and deploy/alerts, whose results are compared with what Go computes
// from the same records, and those of docs/queries.md, whose output stands on that page.
// Without the build tag e2e there is nothing here.
package queries
