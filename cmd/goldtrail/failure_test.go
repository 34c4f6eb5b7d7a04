package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
)

// The messages are tested by the scripts.
func TestExitCodes(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(refuses.Close)
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write([]byte(`{"status":"success","data":[]}`))
		assert.NoError(t, err)
	}))
	t.Cleanup(empty.Close)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write([]byte("<html>Log in"))
		assert.NoError(t, err)
	}))
	t.Cleanup(page.Close)
	for _, tt := range []struct {
		want int
		args []string
	}{
		{exitAnswered, nil},
		{exitAnswered, []string{"edges", "--help"}},
		{exitUsage, []string{"edges", "--bogus"}},
		{exitUsage, []string{"bogus"}},
		{exitUsage, []string{"edges", "--since", "x"}},
		{exitLoki, []string{"edges", "--addr", "http://127.0.0.1:1"}},
		{exitLoki, []string{"edges", "--addr", refuses.URL}},
		{exitLoki, []string{"edges", "--addr", page.URL}},
		{exitNoData, []string{"edges", "--addr", empty.URL}},
		{exitFailed, []string{"edges", "--file", "nothere"}},
	} {
		var out, errs bytes.Buffer
		e := &environment{out: &out, err: &errs, getenv: func(string) string { return "" }, clock: clockwork.NewFakeClockAt(now), zone: time.UTC}
		assert.Equal(t, tt.want, run(context.Background(), e, tt.args), "%v: %s", tt.args, &errs)
	}
}
