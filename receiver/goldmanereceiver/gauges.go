package goldmanereceiver

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// gauges are what is read when metrics are collected, from other goroutines.
type gauges struct {
	// oldestUnread is the start of the oldest window that is neither in the trail nor
	// given up, in seconds.
	oldestUnread atomic.Int64
}

// update is called by the receiver's goroutine.
func (g *gauges) update(r *goldmaneReceiver) {
	oldest := r.state.Next
	for _, start := range r.state.Open {
		oldest = min(oldest, start)
	}
	g.oldestUnread.Store(oldest)
}

func (g *gauges) register(r *goldmaneReceiver) error {
	unread := func(value func(start time.Time) time.Duration) metric.Float64Callback {
		return func(_ context.Context, o metric.Float64Observer) error {
			if start := g.oldestUnread.Load(); start != 0 {
				o.Observe(value(time.Unix(start, 0)).Seconds())
			}
			return nil
		}
	}
	errs := []error{
		r.count.RegisterGoldmaneCursorAgeCallback(unread(func(start time.Time) time.Duration {
			return max(0, r.clock.Since(start.Add(r.cfg.Window)))
		})),
		r.count.RegisterGoldmaneRingHeadroomCallback(unread(func(start time.Time) time.Duration {
			return start.Add(ringWindows * r.cfg.Window).Sub(r.clock.Now())
		})),
	}
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
