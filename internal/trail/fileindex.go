package trail

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// fileIndex says which lines of a file have what. A line has a batch of up to some thousand
// records and takes 32 bytes here for each stream and cluster that is in it.
type fileIndex struct {
	// file stays open, so that what was indexed is what is read, though the file may be
	// rotated meanwhile. It is closed when nothing refers to it any more.
	file     *os.File
	sections map[fileStream][]section // in the order of first
	buffer   []byte                   // the line that was read last
	longest  int                      // bytes of a line that is read

	unreadable int  // lines that are no OTLP JSON
	tooLong    int  // lines that are longer than longest
	torn       bool // the last line, which has no end, is no OTLP JSON
}

// longestLine bounds the memory that a line takes, where a file is something else. The
// receiver hands on batches of about 5 MB.
const longestLine = 128 << 20

type fileStream struct{ stream, cluster string }

// section is what a line has of one stream and cluster.
type section struct {
	offset, length int64 // of the line
	first, last    int64 // nanoseconds since the epoch
}

func (s *section) overlaps(span Span) bool {
	return !time.Unix(0, s.last).Before(span.From) && time.Unix(0, s.first).Before(span.To)
}

// readIndex reads the whole file, every line of it once.
func readIndex(ctx context.Context, path string, progress func(what string, done, all int)) (*fileIndex, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := &fileIndex{file: file, sections: make(map[fileStream][]section), longest: longestLine}
	if err := x.read(ctx, progress); err != nil {
		_ = file.Close() // it was only read
		return nil, err
	}
	for _, sections := range x.sections {
		slices.SortFunc(sections, func(a, b section) int { return cmp.Compare(a.first, b.first) })
	}
	return x, nil
}

func (x *fileIndex) read(ctx context.Context, progress func(what string, done, all int)) error {
	info, err := x.file.Stat()
	if err != nil {
		return err
	}
	told := int64(0) // percent
	reader := bufio.NewReaderSize(x.file, 1<<20)
	for offset := int64(0); ; {
		length, err := x.next(reader)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fmt.Errorf("%s: %w", x.file.Name(), err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		x.take(offset, length, last)
		if last {
			return nil
		}
		offset += length
		if percent := 100 * offset / max(offset, info.Size()); progress != nil && percent > told {
			told = percent
			progress("the file", int(percent), 100)
		}
	}
}

// take looks at the line in the buffer.
func (x *fileIndex) take(offset, length int64, last bool) {
	line := bytes.TrimSpace(x.buffer)
	if len(line) == 0 {
		return
	}
	if length > int64(x.longest) {
		x.tooLong++
		return
	}
	logs, err := readBatch(line)
	switch {
	case err == nil:
		x.add(logs, offset, length)
	case last:
		x.torn = true
	default:
		x.unreadable++
	}
}

// next reads the next line into the buffer, as much of it as may be, and returns how
// long it is. Its error is io.EOF for a last line without an end.
func (x *fileIndex) next(reader *bufio.Reader) (length int64, err error) {
	x.buffer = x.buffer[:0]
	for {
		part, err := reader.ReadSlice('\n')
		length += int64(len(part))
		x.buffer = append(x.buffer, part[:min(len(part), x.longest-len(x.buffer))]...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return length, err
		}
	}
}

// add notes what a line has.
func (x *fileIndex) add(logs plog.Logs, offset, length int64) {
	found := make(map[fileStream]section, 1)
	for _, resource := range logs.ResourceLogs().All() {
		key := streamOf(resource)
		if !slices.Contains(streams, key.stream) {
			continue
		}
		s, known := found[key]
		if !known {
			s = section{offset, length, math.MaxInt64, math.MinInt64}
		}
		for _, scope := range resource.ScopeLogs().All() {
			for _, lr := range scope.LogRecords().All() {
				at := lr.Timestamp().AsTime().UnixNano()
				s.first, s.last = min(s.first, at), max(s.last, at)
			}
		}
		if s.first <= s.last {
			found[key] = s
		}
	}
	for key, s := range found {
		x.sections[key] = append(x.sections[key], s)
	}
}

// streamOf says whose records these are.
func streamOf(resource plog.ResourceLogs) fileStream {
	attributes := resource.Resource().Attributes()
	text := func(name string) string {
		value, ok := attributes.Get(name)
		if !ok {
			return ""
		}
		return value.AsString()
	}
	return fileStream{text(flowlog.ServiceName), text(flowlog.ClusterName)}
}

// line reads the line of a section once more.
func (x *fileIndex) line(s *section) (plog.Logs, error) {
	x.buffer = slices.Grow(x.buffer[:0], int(s.length))[:s.length]
	_, err := x.file.ReadAt(x.buffer, s.offset)
	var logs plog.Logs
	if err == nil {
		logs, err = readBatch(bytes.TrimSpace(x.buffer))
	}
	if err != nil {
		return logs, fmt.Errorf("%s was written over while it was read: the line at byte %d is another now (%w); ask again", x.file.Name(), s.offset, err)
	}
	return logs, nil
}

// readBatch reads a line. It fails for one that has something else, or more, than a batch.
func readBatch(line []byte) (plog.Logs, error) {
	// What is behind a whole batch would not be seen; two of them in a line are not JSON.
	if bytes.Contains(line, []byte("}{")) && !json.Valid(line) {
		return plog.Logs{}, errors.New("more than a JSON object")
	}
	return (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
}
