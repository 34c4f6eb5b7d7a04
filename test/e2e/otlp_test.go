//go:build e2e

package e2e

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
)

// newOTLPServer serves OTLP over HTTP in Loki's place: it calls take with all logs that
// come, from several goroutines. It returns what LOKI_URL is to be.
func newOTLPServer(t *testing.T, take func(plog.Logs)) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		logs, err := readLogs(r.Body)
		if err != nil {
			t.Errorf("cannot read what the Collector exports: %v", err)
			return
		}
		take(logs)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func readLogs(zipped io.Reader) (plog.Logs, error) {
	reader, err := gzip.NewReader(zipped)
	if err != nil {
		return plog.Logs{}, err
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		return plog.Logs{}, err
	}
	request := plogotlp.NewExportRequest()
	if err := request.UnmarshalProto(body); err != nil {
		return plog.Logs{}, err
	}
	return request.Logs(), nil
}
