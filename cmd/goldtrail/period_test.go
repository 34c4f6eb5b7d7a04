package main

import (
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A time without a day is today's, or yesterday's if that is still to come; but an end is
// after its beginning where it can be.
func TestTimesWithoutADay(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse("01-02 15:04", text)
		require.NoError(t, err)
		return when.AddDate(2026, 0, 0)
	}
	e := &environment{clock: clockwork.NewFakeClockAt(at("11-22 06:53")), zone: time.UTC}
	for _, tt := range []struct{ from, to, wantFrom, wantTo string }{
		{"06:40", "07:30", "11-22 06:40", "11-22 06:53"},
		{"26h", "07:30", "11-21 04:53", "11-21 07:30"},
		{"06:40", "06:50:00", "11-22 06:40", "11-22 06:50"},
		{"22:00", "07:30", "11-21 22:00", "11-22 06:53"},
		{"07:00", "07:30", "11-21 07:00", "11-21 07:30"},
		{"22:00", "02:00", "11-21 22:00", "11-22 02:00"},
		{"06:40", "06:30", "", ""},
		{"06:53", "07:30", "", ""},
	} {
		span, err := (&period{from: tt.from, to: tt.to}).span(e, nil)
		if tt.wantTo == "" {
			require.ErrorContains(t, err, "it must begin before it ends", tt)
			continue
		}
		require.NoError(t, err, tt)
		assert.Equal(t, at(tt.wantFrom), span.From, tt)
		assert.Equal(t, at(tt.wantTo), span.To, tt)
	}
}
