//go:build e2e

package queries

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// dashboard is what a test needs to know of Grafana's JSON. Unknown fields are Grafana's.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID         int        `json:"id"`
		Title      string     `json:"title"`
		Type       string     `json:"type"`
		Datasource datasource `json:"datasource"`
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct {
			RefID     string `json:"refId"`
			QueryType string `json:"queryType"`
			Expr      string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob("../../../deploy/dashboards/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := map[string]dashboard{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var d dashboard
		require.NoError(t, json.Unmarshal(text, &d), file)
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = d
	}
	return all
}

// A dashboard of Grafana 11 or newer, wherever its data sources are.
func TestDashboardsAreWhole(t *testing.T) {
	variable := regexp.MustCompile(`\$\{?(\w+)`)
	uids := map[string]bool{}
	for name, d := range dashboards(t) {
		t.Run(name, func(t *testing.T) {
			assert.GreaterOrEqual(t, d.SchemaVersion, 39, "Grafana 11.0's is 39")
			assert.NotEmpty(t, d.Title)
			assert.False(t, uids[d.UID], "uid %q", d.UID)
			uids[d.UID] = true
			known := []string{"__range", "__interval", "__rate_interval", "__auto"}
			for _, v := range d.Templating.List {
				known = append(known, v.Name)
			}
			ids := map[int]bool{}
			for _, p := range d.Panels {
				assert.False(t, ids[p.ID], "panel id %d is there twice", p.ID)
				ids[p.ID] = true
				assert.Equal(t, "${"+p.Datasource.Type+"}", p.Datasource.UID, "%s: the data source is a variable", p.Title)
				assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, "%s: Grafana is 24 wide", p.Title)
				assert.NotEmpty(t, p.Targets, p.Title)
				texts := []string{p.Datasource.UID}
				for _, target := range p.Targets {
					texts = append(texts, target.Expr)
				}
				for _, found := range variable.FindAllStringSubmatch(strings.Join(texts, " "), -1) {
					assert.Contains(t, known, found[1], "%s: a variable that is not there", p.Title)
				}
			}
		})
	}
}

// shown is what a panel shows of the known trail: one of them. The queries must say the
// same. add adds a number to the series with those labels.
type shown struct {
	numbers func(from, to int64, add func(labels map[string]string, n float64))
	lines   func(from, to int64) []string
	// top is how many series there are at most, the greatest first; 0 is all.
	top int
}

type labels = map[string]string

// Every LogQL query of every dashboard says of the known trail what Go says of it.
func TestDashboardsSayWhatTheTrailHolds(t *testing.T) {
	const service = "payments"
	fill := strings.NewReplacer("$cluster", cluster, "$service", service, "$__range", "24h", "$__auto", "1h")
	asked := map[string]bool{}
	for board, d := range dashboards(t) {
		for _, p := range d.Panels {
			if p.Datasource.Type != "loki" {
				continue // test/promql asks those
			}
			for _, target := range p.Targets {
				name := board + "/" + p.Title + "/" + target.RefID
				asked[name] = true
				t.Run(name, func(t *testing.T) {
					want, known := shownOf(service)[name]
					require.True(t, known, "there is nothing to compare with: add it to shownOf")
					query := fill.Replace(target.Expr)
					if target.QueryType == "instant" {
						kind, result := ask(t, query, end, 0, 0)
						require.Equal(t, "vector", kind)
						requirePoints(t, want.numbersOf(0, begin, end), pointsOf(t, result), query)
						return
					}
					require.Equal(t, "range", target.QueryType)
					kind, result := ask(t, query, end, day*time.Second, hour*time.Second)
					if want.lines != nil {
						require.Equal(t, "streams", kind)
						lines := want.lines(begin, end)
						require.NotEmpty(t, lines)
						assert.ElementsMatch(t, lines, linesOf(result), query)
						return
					}
					require.Equal(t, "matrix", kind)
					all := points{}
					for at := begin; at <= end; at += hour {
						maps.Copy(all, want.numbersOf(at, at-hour, at))
					}
					requirePoints(t, all, pointsOf(t, result), query)
				})
			}
		}
	}
	for name := range shownOf(service) {
		assert.True(t, asked[name], "%s is no panel's any more", name)
	}
}

func requirePoints(t *testing.T, want, got points, query string) {
	t.Helper()
	require.NotEmpty(t, want, "the known trail says nothing of it: a test of nothing")
	require.Len(t, got, len(want), "%s\n%v", query, got)
	for key, n := range want {
		require.Contains(t, got, key, query)
		assert.InEpsilon(t, n+1, got[key]+1, 1e-9, "%s of %s", key, query)
	}
}

// numbersOf are the points of a query of (from, to], at the time at.
func (s *shown) numbersOf(at, from, to int64) points {
	p := points{}
	s.numbers(from, to, func(l map[string]string, n float64) { p.add(at, l, n) })
	if s.top > 0 && len(p) > s.top {
		names := slices.SortedFunc(maps.Keys(p), func(a, b string) int { return cmp.Compare(p[b], p[a]) })
		for _, name := range names[s.top:] {
			delete(p, name)
		}
	}
	return p
}

// within calls visit with every record of a stream in (from, to].
func within(stream string, from, to int64, visit func(*record)) {
	for i := range trail {
		r := &trail[i]
		if r.stream == stream && r.time.After(time.Unix(from, 0)) && !r.time.After(time.Unix(to, 0)) {
			visit(r)
		}
	}
}

// eachHour calls visit with every final rollup of an hour.
func eachHour(from, to int64, visit func(*flowlog.Rollup)) {
	within(flowlog.StreamEdges, from, to, func(r *record) {
		if r.rollup != nil && r.rollup.Final {
			visit(r.rollup)
		}
	})
}

// rolled is a panel about final rollups: name says which series one belongs to, or nil,
// and count what it adds.
func rolled(top int, count func(*flowlog.Rollup) int64, name func(*flowlog.Rollup) labels) shown {
	return shown{top: top, numbers: func(from, to int64, add func(map[string]string, float64)) {
		eachHour(from, to, func(r *flowlog.Rollup) {
			if l := name(r); l != nil {
				add(l, float64(count(r)))
			}
		})
	}}
}

// inMegabytes is a panel with the numbers of another by a million: the node graph has no units
// of its own.
func inMegabytes(s shown) shown {
	return shown{top: s.top, numbers: func(from, to int64, add func(map[string]string, float64)) {
		s.numbers(from, to, func(l map[string]string, n float64) { add(l, n/1e6) })
	}}
}

func bytesOf(r *flowlog.Rollup) int64 { return r.SourceBytes + r.DestinationBytes }
func flowsIn(r *flowlog.Rollup) int64 { return r.Flows }

// where is the labels if the condition holds, and none otherwise.
func where(condition bool, l labels) labels {
	if condition {
		return l
	}
	return nil
}

func pair(r *flowlog.Rollup) labels { return labels{"source": r.Source, "target": r.Destination} }

// colorOf is the colour of an outcome in the service map.
func colorOf(action string) string {
	switch action {
	case flowlog.ActionDeny:
		return "red"
	case flowlog.ActionUnconfirmed:
		return "orange"
	}
	return "green"
}

func outside(identity string) bool {
	return identity == "internet" || identity == "private" || strings.HasPrefix(identity, "networkset:")
}

func untold(identity string) bool { return identity == "?" || strings.HasSuffix(identity, "/?") }

func port(r *flowlog.Rollup) string {
	line := strings.Fields(string(r.AppendLine(nil)))
	return line[10]
}

// ofStream are the lines of a stream that accept takes.
func ofStream(stream string, accept func(*record) bool) shown {
	return shown{lines: func(from, to int64) []string {
		var lines []string
		within(stream, from, to, func(r *record) {
			if accept(r) {
				lines = append(lines, r.line)
			}
		})
		slices.Reverse(lines)
		return lines
	}}
}

func shownOf(service string) map[string]shown {
	final := func(r *record, status string) bool {
		return r.coverage != nil && r.coverage.Final && (status == "" || r.coverage.Status == status)
	}
	gaps := func(from, to int64) (windows int64) {
		within(flowlog.StreamCoverage, from, to, func(r *record) {
			if r.gap != nil {
				windows += r.gap.Windows()
			}
		})
		return windows
	}
	return map[string]shown{
		"overview/Service map/A": inMegabytes(rolled(0, bytesOf, func(r *flowlog.Rollup) labels {
			return labels{"id": r.Source + " " + r.Destination + " " + r.Action, "source": r.Source, "target": r.Destination, "color": colorOf(r.Action)}
		})),
		"overview/Top talkers/A": rolled(20, bytesOf, pair),
		"overview/Denied/A": rolled(20, flowsIn, func(r *flowlog.Rollup) labels {
			return where(r.Action == flowlog.ActionDeny, pair(r))
		}),
		"overview/External/A": rolled(20, bytesOf, func(r *flowlog.Rollup) labels {
			return where(outside(r.Source) || outside(r.Destination), labels{"source": r.Source, "target": r.Destination, "outcome": r.Action})
		}),
		"overview/Unattributed/A": rolled(20, flowsIn, func(r *flowlog.Rollup) labels {
			return where(untold(r.Source) || untold(r.Destination), pair(r))
		}),
		"overview/Flow records by time/A": rolled(0, flowsIn, func(r *flowlog.Rollup) labels { return labels{"outcome": r.Action} }),
		"overview/New edges/A":            ofStream(flowlog.StreamEdges, func(r *record) bool { return r.seen != nil }),

		"service/Peers in/A": rolled(0, flowsIn, func(r *flowlog.Rollup) labels {
			return where(r.Destination == service, labels{"source": r.Source, "outcome": r.Action})
		}),
		"service/Peers out/A": rolled(0, flowsIn, func(r *flowlog.Rollup) labels {
			return where(r.Source == service, labels{"target": r.Destination, "outcome": r.Action})
		}),
		"service/Ports/A": rolled(0, flowsIn, func(r *flowlog.Rollup) labels {
			return where(r.Destination == service, labels{"port": port(r), "outcome": r.Action})
		}),
		"service/Policies/A": rolled(0, flowsIn, func(r *flowlog.Rollup) labels {
			return where(r.Destination == service, labels{"hits": strings.Join(r.Policies, ",")})
		}),
		"service/Bytes by time/A": rolled(0, bytesOf, func(r *flowlog.Rollup) labels { return where(r.Destination == service, labels{}) }),
		"service/Bytes by time/B": rolled(0, bytesOf, func(r *flowlog.Rollup) labels { return where(r.Source == service, labels{}) }),
		"service/Flow records/A": ofStream(flowlog.StreamFlows, func(r *record) bool {
			return r.flow.source == service || r.flow.destination == service
		}),

		"health/Windows complete/A": {numbers: func(from, to int64, add func(map[string]string, float64)) {
			var complete, all float64
			within(flowlog.StreamCoverage, from, to, func(r *record) {
				if final(r, "") {
					all++
				}
				if final(r, flowlog.StatusComplete) {
					complete++
				}
			})
			add(labels{}, complete/(all+float64(gaps(from, to))))
		}},
		"health/Windows by status/A": {numbers: func(from, to int64, add func(map[string]string, float64)) {
			within(flowlog.StreamCoverage, from, to, func(r *record) {
				if final(r, "") {
					add(labels{"status": r.coverage.Status}, 1)
				}
			})
		}},
		"health/Partial windows by cause/A": {numbers: func(from, to int64, add func(map[string]string, float64)) {
			within(flowlog.StreamCoverage, from, to, func(r *record) {
				if final(r, flowlog.StatusPartial) {
					add(labels{"cause": r.coverage.Cause}, 1)
				}
			})
		}},
		"health/Missing windows/A": {numbers: func(from, to int64, add func(map[string]string, float64)) {
			add(labels{"cause": lost.Cause}, float64(gaps(from, to)))
		}},
		"health/Gaps/A": ofStream(flowlog.StreamCoverage, func(r *record) bool { return r.gap != nil }),
	}
}
