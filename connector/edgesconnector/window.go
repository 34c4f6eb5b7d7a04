package edgesconnector

// window is what is remembered of one window: its records, so that each counts once.
// Fields are exported for gob.
type window struct {
	Start, End int64
	Status     status
	Final      bool
	// Seen are the records' keys, until the window is Closed.
	Seen   keySet
	Closed bool
	// Present are the edges that have a record.
	Present bits
}

// close forgets the records' keys: none of them comes again.
func (w *window) close() { w.Seen, w.Closed = keySet{}, true }
