package edgesconnector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/goldtrail/goldtrail/connector/edgesconnector/internal/metadatatest"
	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// A crash at any moment between two calls loses nothing: what a connector makes of the rest
// is what one makes that never crashed. Half of the crashes are in the middle of handing on.
func TestStateSurvivesCrashes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t).withStorage().start()
	want := expect()
	for w := range int64(3 * hourWindows) {
		r.at(hourStart + w*windowLength)
		var all []flowlog.Flow
		for range random.IntN(8) {
			f := flow(w, fmt.Sprint("s", random.IntN(40)), fmt.Sprint("d", random.IntN(2)), []string{src, dst, both}[random.IntN(3)], random.Int64N(1e6))
			f.Action = []string{"allow", "deny"}[random.IntN(2)]
			f.Deciding = []string{"", "np:a/b#0=allow", "np:a/c#0=deny"}[random.IntN(3)]
			all = append(all, f)
			want.add(&f)
		}
		r.give(flows(all...))
		if random.IntN(10) == 0 {
			r.crash()
			r.start()
			r.give(flows(all...)) // the receiver had not noted that they were taken
		}
		r.give(covers(w, w+1, flowlog.StatusComplete, false))
		if w >= 24 {
			r.give(covers(w-24, w-23, flowlog.StatusComplete, true))
		}
		r.sink.setRefuse(nil)
		if random.IntN(20) == 0 {
			r.sink.setRefuse(errors.New("busy"))
		}
		if random.IntN(5) == 0 {
			r.say()
		}
	}
	r.sink.setRefuse(nil)
	r.crash()
	r.start()
	r.shutdown()
	want.require(t, r.sink)
	seen := map[flowlog.FirstSeen]bool{}
	edges := map[flowlog.Edge]bool{}
	for _, e := range r.sink.events(t) {
		seen[e], edges[e.Edge] = true, true
	}
	assert.Len(t, edges, len(seen), "an edge has one event, which may be repeated exactly")
	for of := range want.windows {
		assert.True(t, edges[of.edge], "%v has no event", of.edge)
	}
}

func TestJournalIsGivenUpWhenItIsLarge(t *testing.T) {
	r := newRig(t).withStorage().start()
	want := expect()
	most := 0
	for w := range int64(120) {
		var all []flowlog.Flow
		for i := range 400 {
			f := flow(w, fmt.Sprint("s", i), "b", src, int64(i))
			want.add(&f)
			all = append(all, f)
		}
		r.give(flows(all...))
		most = max(most, len(r.storage.values))
	}
	assert.Greater(t, most, 10, "there should be a journal")
	assert.Less(t, most, 100)
	r.crash()
	r.start()
	r.shutdown()
	want.require(t, r.sink)
	assert.Len(t, r.storage.values, 1)
}

func TestStorageThatFailsHoldsNothingUp(t *testing.T) {
	r := newRig(t).withStorage().start()
	want := expect()
	give := func(w int64) {
		f := flow(w, "a", "b", src, w)
		want.add(&f)
		r.give(flows(f))
	}
	give(1)
	r.say() // what there is to say is said, and noted
	r.storage.setFails(errors.New("disk full"))
	give(2)
	give(3)
	metadatatest.AssertEqualEdgesStorageFailures(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: 2}}, metricdatatest.IgnoreTimestamp())
	r.storage.setFails(nil)
	give(4)
	r.crash()
	r.start()
	r.shutdown()
	want.require(t, r.sink)
}

func TestWhatIsStoredAndCannotBeRead(t *testing.T) {
	for name, spoil := range map[string]func(values map[string][]byte){
		"a state that is none":           func(v map[string][]byte) { v[snapshotKey] = []byte("x") },
		"an entry that is none":          func(v map[string][]byte) { v[journalKey(0)] = []byte{0xff} },
		"an entry that is cut short":     func(v map[string][]byte) { b := v[journalKey(0)]; v[journalKey(0)] = b[:len(b)-3] },
		"an entry with an unknown item":  func(v map[string][]byte) { v[journalKey(0)] = append(v[journalKey(0)], 99) },
		"an entry of nothing but a flow": func(v map[string][]byte) { v[journalKey(0)] = []byte{0, byte(itemFlow)} },
		"a reference to what is not":     func(v map[string][]byte) { v[journalKey(0)] = append(v[journalKey(0)], byte(itemFlow), 77) },
		"a length of more than there is": func(v map[string][]byte) { v[journalKey(0)] = append(v[journalKey(0)], byte(itemCluster), 200, 1) },
		"said of an edge that is not":    func(v map[string][]byte) { v[journalKey(0)] = append(v[journalKey(0)], byte(itemAnnounced), 1, 200, 1) },
		"coverage of windows of no length": func(v map[string][]byte) {
			v[journalKey(0)] = append(v[journalKey(0)], byte(itemReport), 2, 4, 0, 1, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).withStorage().start()
			r.give(flows(flow(0, "a", "b", src, 1)))
			r.crash()
			spoil(r.storage.values)
			r.start()
			r.give(flows(flow(1, "a", "b", src, 10)))
			r.crash()
			r.start() // what was taken since can be read
			r.shutdown()
			got := r.sink.rollups(t, flowlog.StreamEdges)
			require.Len(t, got, 1)
			for _, rollup := range got {
				assert.Contains(t, []int64{10, 11}, rollup.SourceBytes)
			}
		})
	}
}

func FuzzReplay(f *testing.F) {
	r := newRig(f).withStorage().start()
	r.give(flows(flow(0, "a", "b", src, 1), flow(0, "x", "b", dst, 1)))
	r.give(covers(0, 1, flowlog.StatusComplete, true))
	r.say()
	for n := range int64(4) {
		f.Add(r.storage.values[journalKey(n)])
	}
	r.shutdown()
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = newState(settingsOf(createDefaultConfig().(*Config))).replay(b)
	})
}

func TestIntervalHasChanged(t *testing.T) {
	r := newRig(t).withStorage().start()
	r.give(flows(flow(0, "a", "b", src, 1), flow(0, "x", "b", dst, 1)))
	r.crash()
	r.cfg.Interval = 30 * time.Minute
	r.start()
	r.give(flows(flow(1, "a", "b", src, 10)))
	r.give(covers(0, 2, flowlog.StatusComplete, true))
	r.shutdown()
	for in, rollup := range r.sink.rollups(t, flowlog.StreamEdges) {
		assert.Equal(t, "a", in.edge.Source)
		assert.Equal(t, int64(1800), rollup.End-rollup.Start)
		assert.Equal(t, int64(10), rollup.SourceBytes)
	}
	assert.Len(t, r.sink.rollups(t, flowlog.StreamEdgesDaily), 2, "days go on")
	assert.Len(t, r.sink.events(t), 2, "and so do known edges")
}

func TestStorageThatIsNone(t *testing.T) {
	for name, test := range map[string]struct {
		extensions map[component.ID]component.Component
		want       string
	}{
		"not there":  {nil, "'storage' is file_storage: no such extension is running; add it to 'extensions' and to 'service::extensions'"},
		"no storage": {map[component.ID]component.Component{fileStorage: &nothing{}}, "'storage' is file_storage: must be a storage extension, such as file_storage"},
	} {
		r := newRig(t)
		r.extensions, r.cfg.StorageID = test.extensions, &fileStorage
		_, err := openStore(context.Background(), r, r.cfg.StorageID, fileStorage)
		require.EqualError(t, err, test.want, name)
	}
}

type nothing struct {
	component.StartFunc
	component.ShutdownFunc
}
