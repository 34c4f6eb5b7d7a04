//go:build e2e

package queries

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/test/stack"
)

const lokiRules = "../../../deploy/alerts/loki-rules.yaml"

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert string `yaml:"alert"`
			Expr  string `yaml:"expr"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func readRules(t *testing.T) (all rules, names []string) {
	t.Helper()
	text, err := os.ReadFile(lokiRules)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &all))
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			names = append(names, r.Alert)
		}
	}
	require.NotEmpty(t, names)
	return all, names
}

// Loki's own ruler takes the file, and says which alerts it has. It refuses a file with
// a mistake in a query, so that taking it means something.
func TestLokiRulerTakesTheAlerts(t *testing.T) {
	text, err := os.ReadFile(lokiRules)
	require.NoError(t, err)
	_, names := readRules(t)
	got := rulerHas(t, string(text))
	assert.Equal(t, names, got)
	broken := strings.Replace(string(text), "count_over_time(", "count_over_tim(", 1)
	require.NotEqual(t, string(text), broken)
	assert.Empty(t, rulerHas(t, broken), "the ruler takes everything")
}

// rulerHas runs a Loki with that file of rules and returns the alerts that its ruler
// has, none if it refuses the file.
func rulerHas(t *testing.T, text string) []string {
	t.Helper()
	dir := t.TempDir()
	tenant := filepath.Join(dir, "rules", "fake") // the tenant of a Loki without tenants
	require.NoError(t, os.MkdirAll(tenant, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(tenant, "goldtrail.yaml"), []byte(text), 0o600))
	s := stack.New(dir)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	address, process, err := s.OwnLoki(t.Context(), stack.LokiOptions{Dir: filepath.Join(dir, "loki"), Args: []string{
		"-ruler.storage.type=local", "-ruler.storage.local.directory=" + filepath.Join(dir, "rules"),
		"-ruler.rule-path=" + filepath.Join(dir, "scratch"), "-ruler.poll-interval=1s",
	}})
	require.NoError(t, err)
	var names []string
	require.Eventually(t, func() bool {
		log, err := process.Log()
		if err != nil || strings.Contains(log, "unable to list rules") || strings.Contains(log, "parse error") {
			return err == nil
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/prometheus/api/v1/rules", http.NoBody)
		if err != nil {
			return false
		}
		body, err := do(req)
		if err != nil {
			return false
		}
		var answer struct {
			Data struct {
				Groups []struct {
					Rules []struct{ Name string }
				}
			}
		}
		if json.Unmarshal(body, &answer) != nil {
			return false
		}
		for _, g := range answer.Data.Groups {
			for _, r := range g.Rules {
				names = append(names, r.Name)
			}
		}
		return len(names) > 0
	}, time.Minute, 100*time.Millisecond, "neither rules nor an error")
	return names
}

// threshold ends an alert's query; what stands before it is compared, at all times.
var threshold = regexp.MustCompile(`\s*> ([0-9.]+)\s*$`)

// Every alert says of the known trail what Go says of it, when it fires and when not.
func TestAlertsSayWhatTheTrailHolds(t *testing.T) {
	all, names := readRules(t)
	// Each alert, with the times at which it must fire and must not: its number of series is
	// computed from the records.
	for name, at := range map[string]struct {
		fires, quiet int64
		want         func(from int64, to int64, limit float64) points
		span         int64
	}{
		"GoldtrailNewEdge": {newcomer + 60, newcomer - 60, func(from, to int64, limit float64) points {
			p := points{}
			eachCluster(func(c string) {
				within(flowlog.StreamEdges, from, to, func(r *record) {
					if e := r.seen; e != nil {
						p.add(0, labels{"k8s_cluster_name": c, "source": e.Source, "target": e.Destination, "outcome": e.Action}, 1)
					}
				})
			})
			return p.over(limit)
		}, 600},
		"GoldtrailDeniedBurst": {end, newcomer, func(from, to int64, limit float64) points {
			p := points{}
			eachCluster(func(c string) {
				within(flowlog.StreamFlows, from, to, func(r *record) {
					if f := r.flow; f.Action == flowlog.ActionDeny && f.Counts {
						p.add(0, labels{"k8s_cluster_name": c, "source_service_identity": f.source, "destination_service_identity": f.destination}, 1)
					}
				})
			})
			return p.over(limit)
		}, 600},
		"GoldtrailGap": {lost.To, lost.From - 60, func(from, to int64, limit float64) points {
			p := points{}
			eachCluster(func(c string) {
				within(flowlog.StreamCoverage, from, to, func(r *record) {
					if r.gap != nil {
						p.add(0, labels{"k8s_cluster_name": c, "cause": r.gap.Cause}, float64(r.gap.Windows()))
					}
				})
			})
			return p.over(limit)
		}, 7200},
		"GoldtrailTrailStale": {end + 700, end, func(from, to int64, _ float64) points {
			p := points{}
			eachCluster(func(c string) {
				lately := 0
				within(flowlog.StreamCoverage, to-600, to, func(*record) { lately++ })
				if lately > 0 {
					return
				}
				within(flowlog.StreamCoverage, from, to, func(*record) { p.add(0, labels{"k8s_cluster_name": c}, 1) })
			})
			return p
		}, 6 * hour},
		"GoldtrailUnattributed": {end - hour, newcomer, func(from, to int64, limit float64) points {
			p := points{}
			eachCluster(func(c string) {
				all, without := 0.0, 0.0
				within(flowlog.StreamFlows, from, to, func(r *record) {
					if !r.flow.Counts {
						return
					}
					all++
					if untold(r.flow.source) || untold(r.flow.destination) {
						without++
					}
				})
				p.add(0, labels{"k8s_cluster_name": c}, without/all)
			})
			return p.over(limit)
		}, 1800},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, names, name)
			query, limit := "", 0.0
			for _, g := range all.Groups {
				for _, r := range g.Rules {
					if r.Alert == name {
						query = r.Expr
					}
				}
			}
			if found := threshold.FindStringSubmatch(query); found != nil {
				_, err := fmt.Sscan(found[1], &limit)
				require.NoError(t, err)
			}
			want := at.want(at.fires-at.span, at.fires, limit)
			_, result := ask(t, query, at.fires, 0, 0)
			requirePoints(t, want, pointsOf(t, result), query)
			require.Empty(t, at.want(at.quiet-at.span, at.quiet, limit))
			_, result = ask(t, query, at.quiet, 0, 0)
			assert.Empty(t, result, "it must not fire")
			names = slices.DeleteFunc(names, func(n string) bool { return n == name })
		})
	}
	assert.Empty(t, names, "alerts that nothing is compared with")
}

func eachCluster(visit func(string)) {
	for _, c := range []string{cluster, otherCluster} {
		visit(c)
	}
}

// over leaves the points that are greater than limit.
func (p points) over(limit float64) points {
	for key, n := range p {
		if n <= limit {
			delete(p, key)
		}
	}
	return p
}
