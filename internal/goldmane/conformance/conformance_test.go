package conformance

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// behaviour is one thing that every Goldmane does. Each runs on a Goldmane of its own.
type behaviour struct {
	name string
	run  func(*testing.T, *target)
}

func TestConformance(t *testing.T) {
	var all []behaviour
	for _, group := range [][]behaviour{listing, paging, streaming, collecting, ending} {
		all = append(all, group...)
	}
	for name, start := range makers() {
		t.Run(name, func(t *testing.T) {
			for _, b := range all {
				t.Run(b.name, func(t *testing.T) {
					t.Parallel()
					b.run(t, newTarget(t, start))
				})
			}
		})
	}
}
