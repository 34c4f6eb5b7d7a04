package svcidprocessor

import (
	"testing"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/labelglob"
)

// raw is a record's attributes in Go's types.
type raw = map[string]any

// newRecord returns a flow record with these attributes.
func newRecord(t testing.TB, attrs raw) plog.LogRecord {
	t.Helper()
	record := plog.NewLogRecord()
	record.SetEventName(flowlog.EventName)
	require.NoError(t, record.Attributes().FromRaw(attrs))
	return record
}

// newBatch returns copies of records in one batch.
func newBatch(records ...plog.LogRecord) plog.Logs {
	logs := plog.NewLogs()
	dest := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	dest.EnsureCapacity(len(records))
	for _, record := range records {
		record.CopyTo(dest.AppendEmpty())
	}
	return logs
}

func recordsOf(logs plog.Logs) plog.LogRecordSlice {
	return logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
}

func newStamper(t testing.TB, cfg *Config) *stamper {
	t.Helper()
	keep, err := labelglob.Compile(cfg.KeepLabels)
	require.NoError(t, err)
	return &stamper{rules: newRules(cfg, newDirectory(cfg, clockwork.NewFakeClock())), keep: keep.Filter()}
}

// testConfig has two multi-Service namespaces and two label keys.
func testConfig() *Config {
	return &Config{
		Labels:                 []string{"service-identity", "app.kubernetes.io/name"},
		MultiServiceNamespaces: []string{"monitoring", "kube-system"},
		Separator:              "/",
	}
}
