package edgesconnector

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumererror"
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
			f.Counts = random.IntN(5) > 0
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
		most = max(most, len(r.storage.all()))
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

// Whatever is stored that cannot be read, the connector goes on from what can be, and what it
// takes from then on is not lost.
func TestWhatIsStoredAndCannotBeRead(t *testing.T) {
	for name, spoil := range map[string]func(values map[string][]byte, entry string){
		"a state that is none":       func(v map[string][]byte, _ string) { v[snapshotKey] = []byte("x") },
		"an entry that is none":      func(v map[string][]byte, entry string) { v[entry] = []byte{0xff} },
		"an entry of nothing":        func(v map[string][]byte, entry string) { v[entry] = []byte{} },
		"an entry that is cut short": func(v map[string][]byte, entry string) { v[entry] = v[entry][:len(v[entry])-3] },
		"an entry that has changed":  func(v map[string][]byte, entry string) { v[entry][len(v[entry])/2] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).withStorage().start()
			r.give(flows(flow(0, "a", "b", src, 1)))
			r.crash()
			spoil(r.storage.values, r.entry(0))
			r.start()
			assert.NotEmpty(t, r.warnings.All())
			r.give(flows(flow(1, "a", "b", src, 10)))
			r.crash()
			r.start() // what was taken since can be read
			assert.Empty(t, r.warnings.All())
			r.shutdown()
			got := r.sink.rollups(t, flowlog.StreamEdges)
			require.Len(t, got, 1)
			for _, rollup := range got {
				assert.Equal(t, int64(10), rollup.SourceBytes)
			}
		})
	}
}

// A journal that was given up does not come back: what stands behind an entry that could not
// be read was replayed behind new entries, after the next crash.
func TestJournalThatWasGivenUpStaysSo(t *testing.T) {
	const entries, unreadable = 8, 3
	badEntry := func(_ *testing.T, r *rig) { r.storage.values[r.entry(unreadable)] = []byte{0xff} }
	// The last byte is one of a policy's name: the entry could be read.
	changed := func(_ *testing.T, r *rig) {
		b := r.storage.values[r.entry(unreadable)]
		b[len(b)-1] ^= 1
	}
	for name, test := range map[string]struct {
		spoil func(t *testing.T, r *rig)
		// want is the sum of what can be read: entry n has 1<<n bytes.
		want int64
		// left: keys that nobody can find stay where they are, which must do no harm.
		left bool
	}{
		"an entry that is none":       {spoil: badEntry, want: 1<<unreadable - 1},
		"an entry that has changed":   {spoil: changed, want: 1<<unreadable - 1},
		"an entry that cannot be got": {spoil: func(_ *testing.T, r *rig) { r.storage.hide(r.entry(unreadable)) }, want: 1<<unreadable - 1, left: true},
		"another version": {spoil: func(t *testing.T, r *rig) {
			var kept stored
			require.NoError(t, decode(r.storage.values[snapshotKey], &kept))
			kept.State.Version = 99
			var b bytes.Buffer
			require.NoError(t, gob.NewEncoder(&b).Encode(kept))
			r.storage.values[snapshotKey] = b.Bytes()
		}},
		"a state that is none":       {spoil: func(_ *testing.T, r *rig) { r.storage.values[snapshotKey] = []byte("x") }, left: true},
		"no state":                   {spoil: func(_ *testing.T, r *rig) { delete(r.storage.values, snapshotKey) }, left: true},
		"a state that cannot be got": {spoil: func(_ *testing.T, r *rig) { r.storage.hide(snapshotKey) }, left: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).withStorage()
			r.cfg.KnownEdges.Learn = time.Hour // no event is said, and noted in the journal
			r.start()
			for w := range int64(entries) {
				r.give(flows(flow(w, "a", "b", src, 1<<w)))
			}
			r.crash()
			test.spoil(t, r)
			r.start()
			r.storage.hide("")
			const since = 2
			for w := range int64(since) {
				r.give(flows(flow(w, "a", "c", src, 1<<w)))
			}
			if !test.left {
				assert.Len(t, r.storage.all(), 1+since, "a state, and its journal")
			}
			r.crash()
			r.start()
			r.shutdown()
			got := map[string]int64{}
			for in, rollup := range r.sink.rollups(t, flowlog.StreamEdges) {
				got[in.edge.Destination] = rollup.SourceBytes
			}
			want := map[string]int64{"c": 1<<since - 1}
			if test.want > 0 {
				want["b"] = test.want
			}
			assert.Equal(t, want, got)
		})
	}
}

// replayed replays an entry that says something after a flow.
func replayed(say func(e *entry)) error {
	s := newState(settingsOf(createDefaultConfig().(*Config)))
	e := newEntry(hourStart)
	c := s.cluster([]byte("a resource"))
	e.cluster(c)
	e.flow(&observation{start: hourStart, end: hourStart + windowLength}, noted{})
	say(e)
	b, err := unsealed(e.sealed())
	if err != nil {
		return err
	}
	return s.replay(b)
}

// What no entry says is refused, and what is odd but sound is not.
func TestReplay(t *testing.T) {
	for name, test := range map[string]struct {
		say func(e *entry)
		ok  bool
	}{
		"nothing more":                      {func(*entry) {}, true},
		"an unknown item":                   {func(e *entry) { e.item(99) }, false},
		"a flow of nothing":                 {func(e *entry) { e.item(itemFlow) }, false},
		"a reference to what is not":        {func(e *entry) { e.item(itemFlow); e.uint(77) }, false},
		"a length of more than there is":    {func(e *entry) { e.item(itemCluster); e.uint(200); e.uint(1) }, false},
		"a flow of no window":               {func(e *entry) { e.flow(&observation{start: hourStart, end: hourStart}, noted{}) }, false},
		"a flow of an endless window":       {func(e *entry) { e.flow(&observation{start: hourStart, end: math.MaxInt64}, noted{}) }, false},
		"announced, of an edge that is not": {func(e *entry) { e.announced(&parcel{edges: []uint32{200}}) }, true},
		"said, of an edge that is not":      {func(e *entry) { e.said(&parcel{interval: hourStart, edges: []uint32{200}, sequences: []int64{3}}) }, true},
		"said, of an interval that is not":  {func(e *entry) { e.said(&parcel{grain: wholes, edges: []uint32{0}, sequences: []int64{3}}) }, true},
		"said, of a grain that is not":      {func(e *entry) { e.said(&parcel{grain: grains}) }, false},
		"rejected": {func(e *entry) {
			e.said(&parcel{interval: hourStart, rejected: true, edges: []uint32{0}, sequences: []int64{3}})
		}, true},
		"rejected, of nothing":        {func(e *entry) { e.said(&parcel{interval: hourStart, rejected: true}) }, true},
		"a closing record":            {func(e *entry) { e.said(&parcel{interval: hourStart, closing: 3}) }, true},
		"a gap":                       {func(e *entry) { e.report(&report{hourStart, hourStart + 3600, 15, missing, true}) }, true},
		"windows of no length":        {func(e *entry) { e.report(&report{hourStart, hourStart + 60, 0, complete, true}) }, false},
		"windows of all time":         {func(e *entry) { e.report(&report{hourStart, hourStart + 7200, 7200, complete, true}) }, false},
		"a run that ends in a window": {func(e *entry) { e.report(&report{hourStart, hourStart + 50, 15, missing, true}) }, false},
		"a run that ends nowhere":     {func(e *entry) { e.report(&report{hourStart, math.MaxInt64, 15, missing, true}) }, false},
		"a run backwards":             {func(e *entry) { e.report(&report{hourStart, hourStart - 60, 15, missing, true}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := replayed(test.say)
			if test.ok {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, errEntry)
			}
		})
	}
}

func FuzzReplay(f *testing.F) {
	r := newRig(f).withStorage().start()
	seed := func() {
		for key, b := range r.storage.all() {
			if key != snapshotKey {
				f.Add(b[sealSize:])
			}
		}
	}
	late := flow(0, "x", "b", dst, 1)
	late.ServiceTwin = true
	r.give(flows(flow(0, "a", "b", src, 1), late))
	r.give(covers(0, 1, flowlog.StatusComplete, true))
	r.give(gap(1, hourWindows))
	r.at(hourStart + 3600)
	r.sink.setRefuseOf("first_seen ", consumererror.NewPermanent(errors.New("never")))
	r.say() // rollups, closing records, and what was rejected
	r.give(flows(flow(hourWindows, "a", "b", src, 1)))
	r.give(covers(hourWindows, 2*hourWindows, flowlog.StatusComplete, true))
	r.at(hourStart + 7200)
	r.sink.setRefuse(consumererror.NewPermanent(errors.New("never")))
	r.say()
	seed()
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
