package goldmanereceiver

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// gauges are what is read when metrics are collected, from other goroutines.
type gauges struct {
	// oldestUnread is the start of the oldest window that is neither listed nor given up,
	// and oldestUntold of the oldest of which nothing has been handed on, in seconds.
	oldestUnread, oldestUntold atomic.Int64
	// oneSided is the share of a window's pairs that only one end has reported.
	oneSided share
}

// share is a part of a whole, as float bits; nothing before it is set.
type share struct{ bits atomic.Uint64 }

// Store sets the share to that of the window's pairs.
func (s *share) Store(known *flowlog.Coverage) {
	of := 0.0
	if known.Pairs > 0 {
		of = float64(known.OneSided) / float64(known.Pairs)
	}
	s.bits.Store(math.Float64bits(of) | shareSet)
}

// shareSet is the sign, which no share has.
const shareSet = 1 << 63

func (s *share) load() (of float64, ok bool) {
	bits := s.bits.Load()
	return math.Float64frombits(bits &^ shareSet), bits&shareSet != 0
}

// update is called by the receiver's goroutine.
func (g *gauges) update(r *goldmaneReceiver) {
	oldest := r.state.Next
	for _, start := range r.state.Open {
		oldest = min(oldest, start)
	}
	g.oldestUnread.Store(oldest)
	for i := range r.state.Held {
		if h := &r.state.Held[i]; !h.Decided {
			oldest = min(oldest, h.Start)
		}
	}
	g.oldestUntold.Store(oldest)
}

func (g *gauges) register(r *goldmaneReceiver) error {
	since := func(of *atomic.Int64, value func(start time.Time) time.Duration) metric.Float64Callback {
		return func(_ context.Context, o metric.Float64Observer) error {
			if start := of.Load(); start != 0 {
				o.Observe(value(time.Unix(start, 0)).Seconds())
			}
			return nil
		}
	}
	errs := []error{
		r.count.RegisterGoldmaneCursorAgeCallback(since(&g.oldestUntold, func(start time.Time) time.Duration {
			return max(0, r.clock.Since(start.Add(r.cfg.Window)))
		})),
		r.count.RegisterGoldmaneRingHeadroomCallback(since(&g.oldestUnread, func(start time.Time) time.Duration {
			return start.Add(ringWindows * r.cfg.Window).Sub(r.clock.Now())
		})),
	}
	errs = append(errs, r.count.RegisterGoldmanePairsOneSidedCallback(func(_ context.Context, o metric.Float64Observer) error {
		if of, ok := g.oneSided.load(); ok {
			o.Observe(of)
		}
		return nil
	}))
	if file := r.cfg.TLS.CertFile; file != "" {
		errs = append(errs, r.count.RegisterGoldmaneCertificateExpiryCallback(func(_ context.Context, o metric.Float64Observer) error {
			end, err := certificateEnd(file)
			if err == nil {
				o.Observe(float64(end.Unix()))
			}
			return err
		}))
	}
	return errors.Join(errs...)
}

// errNoCertificate is returned for a file that holds no PEM certificate.
var errNoCertificate = errors.New("'tls::cert_file' holds no PEM certificate")

// certificateEnd reads when a certificate ends. It is read at every collection of
// metrics, since it may have been renewed.
func certificateEnd(file string) (time.Time, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return time.Time{}, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return time.Time{}, errNoCertificate
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, err
	}
	return cert.NotAfter, nil
}
