package flowlog

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
)

// Every kind of line says its version, and who reads it refuses another one by name.
func TestEveryLineHasAVersion(t *testing.T) {
	line := func(write func(plog.LogRecord)) string {
		lr := plog.NewLogRecord()
		write(lr)
		return lr.Body().Str()
	}
	flow, closed := denied(), Closing{}
	text, _ := flow.AppendLine(nil)
	seen, rolled := FirstSeen{Edge: toGrafana()}, rollup()
	for kind, test := range map[string]struct {
		line  string
		parse func(string) error
	}{
		"flow":       {string(text), func(s string) error { _, err := ParseLine(s); return err }},
		"rollup":     {line(rolled.WriteTo), func(s string) error { _, err := ParseRollup(s); return err }},
		"first_seen": {line(seen.WriteTo), func(s string) error { _, err := ParseFirstSeen(s); return err }},
		"closing":    {line(closed.WriteTo), func(s string) error { _, err := ParseClosing(s); return err }},
		"coverage":   {line((&Coverage{Start: 15, End: 30, Status: StatusComplete}).WriteTo), func(s string) error { _, err := ParseCoverage(s); return err }},
		"gap":        {line((&Gap{From: 15, To: 30, Window: 15, Cause: CauseRejected}).WriteTo), func(s string) error { _, err := ParseGap(s); return err }},
	} {
		require.NoError(t, test.parse(test.line), kind)
		for _, other := range []string{strings.Replace(test.line, Version, "v1", 1), strings.Replace(test.line, Version, "v3", 1), strings.TrimPrefix(test.line, Version+" ")} {
			require.ErrorIs(t, test.parse(other), ErrVersion, kind)
		}
	}
}
