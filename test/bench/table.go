package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// reference is the layout that questions are compared with.
const reference = "everything as attributes"

// table prints the results, a row a layout and encoding. CPU times are for 100,000
// records; in brackets is how many times as fast a question is as in the row of the
// same encoding that has everything as attributes.
func table(w io.Writer, results []*result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "layout\tchunks\tB/record\tCPU Loki\tCollector")
	for _, name := range questionNames {
		fmt.Fprint(t, "\t", name)
	}
	fmt.Fprintln(t)
	for _, r := range results {
		per := func(d time.Duration) float64 { return d.Seconds() * 100_000 / float64(r.records) }
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%.2f s\t%.2f s", r.layout.name, r.encoding, float64(r.stored)/float64(r.records), per(r.loki), per(r.collector))
		for i, d := range r.questions {
			fmt.Fprintf(t, "\t%d ms", d.Milliseconds())
			for _, other := range results {
				if other.layout.name == reference && other.encoding == r.encoding && other != r {
					fmt.Fprintf(t, " (%.1f)", other.questions[i].Seconds()/d.Seconds())
				}
			}
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}
