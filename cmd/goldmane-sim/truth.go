package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

// longestTruth is the longest stretch that is told at once: making the truth is work.
const longestTruth = 24 * time.Hour

// truthServer tells what was really sent.
type truthServer struct {
	traffic *traffic.Traffic
}

// serveTruth listens until it is stopped.
func (o *options) serveTruth(ctx context.Context, t *traffic.Traffic) (stop func() error, err error) {
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", o.truthListen)
	if err != nil {
		return nil, fmt.Errorf("'--truth-listen': %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /truth", &truthServer{t})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	fmt.Fprintf(o.log, "goldmane-sim: truth at http://%s/truth\n", lis.Addr())
	return func() error {
		err := srv.Close()
		if served := <-served; !errors.Is(served, http.ErrServerClosed) {
			return served
		}
		return err
	}, nil
}

// ServeHTTP answers with what was sent from the second from to the second to, that one
// not included.
func (s *truthServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var bounds [2]time.Time
	for i, name := range []string{"from", "to"} {
		seconds, err := strconv.ParseInt(r.FormValue(name), 10, 64)
		if err != nil || seconds < 0 || seconds > 1<<33 {
			http.Error(w, fmt.Sprintf("%q is %q: must be seconds since 1970", name, r.FormValue(name)), http.StatusBadRequest)
			return
		}
		bounds[i] = time.Unix(seconds, 0)
	}
	if length := bounds[1].Sub(bounds[0]); length < 0 || length > longestTruth {
		http.Error(w, fmt.Sprintf("from \"from\" to \"to\" it is %s: must be 0s to %s", length, longestTruth), http.StatusBadRequest)
		return
	}
	truth := s.traffic.Truth(bounds[0], bounds[1])
	if truth == nil {
		truth = []traffic.Truth{} // a list in JSON too
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(truth) // a client that is gone is no concern
}
