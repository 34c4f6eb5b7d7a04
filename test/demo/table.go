package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

const (
	// shownAllowed and shownDenied are how many edges the table shows: a screenful, in
	// which the denied ones have their place although they carry few bytes.
	shownAllowed = 32
	shownDenied  = 8

	// internet is svcidprocessor's identity of public addresses.
	internet = "internet"
)

// table is who talked to whom in a run of windows.
type table struct {
	edges                         trail.Edges
	first, last                   int64
	windows, flows, want, records int
	unlabelled                    map[string]struct{} // identities
}

func newTable() *table { return &table{unlabelled: map[string]struct{}{}} }

func (t *table) add(c *checked) error {
	if t.windows == 0 {
		t.first = c.start
	}
	t.last = c.start
	t.windows++
	t.flows += c.flows
	t.want += c.want
	t.records += len(c.entries)
	for i := range c.entries {
		if err := t.edges.Add(&c.entries[i]); err != nil {
			return err
		}
		for _, key := range []string{flowlog.SourceIdentity, flowlog.DestinationIdentity} {
			if identity := c.entries[i].Metadata[trail.Label(key)]; strings.HasSuffix(identity, "/?") {
				t.unlabelled[identity] = struct{}{}
			}
		}
	}
	return nil
}

func (t *table) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nSOURCE\tDESTINATION\tPORT\tACTION\tFLOWS\t     BYTES")
	all := t.edges.ByBytes()
	allowed, denied, hidden, outside := 0, 0, 0, 0
	for _, e := range all {
		if e.Action == flowlog.ActionAllow {
			allowed++
		} else {
			denied++
		}
		if e.Action == flowlog.ActionAllow && allowed > shownAllowed || e.Action != flowlog.ActionAllow && denied > shownDenied {
			hidden++
			if e.Source == internet || e.Destination == internet {
				outside++
			}
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%5d\t%10s\n", e.Source, e.Destination, port(&e.Edge), e.Action, e.Records, size(e.Bytes))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if hidden > 0 {
		// One edge a port: scans and calls add up to many that were seen once.
		fmt.Fprintf(out, "... and %d more, %d of them from or to the internet\n", hidden, outside)
	}
	_, err := fmt.Fprintf(out, "\n%d windows from %s to %s: Goldmane serves %d flows, which make %d records; Loki holds %d\n%d edges, %d of them denied; %d identities unlabelled\n",
		t.windows, clock(t.first), clock(t.last), t.flows, t.want, t.records, len(all), denied, len(t.unlabelled))
	return err
}

func port(e *trail.Edge) string {
	if e.Port == 0 {
		return e.Transport
	}
	return strconv.FormatInt(e.Port, 10) + "/" + e.Transport
}

// size is a number of bytes in a unit that keeps it below 1000.
func size(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if f < 1000 {
			if unit == "B" {
				return strconv.FormatInt(n, 10) + " B"
			}
			return strconv.FormatFloat(f, 'f', 1, 64) + " " + unit
		}
		f /= 1000
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " TB"
}
