package svcidprocessor

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/goldtrail/goldtrail/internal/labelglob"
)

// trimLabels removes from v, the value of a labels attribute, the labels that are not
// kept, and reports whether any is left. Of a value that is no map nothing is.
func trimLabels(v pcommon.Value, keep *labelglob.Filter) bool {
	if keep.None() || v.Type() != pcommon.ValueTypeMap {
		return false
	}
	labels := v.Map()
	labels.RemoveIf(func(key string, _ pcommon.Value) bool { return !keep.Keeps(key) })
	return labels.Len() > 0
}
