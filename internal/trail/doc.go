// Package trail answers questions from the trail.
//
// A Source gives entries: a Loki (Client) or a file (File). A Trail asks it and answers:
// Edges, Peers, Flows, Diff, Coverage, Follow. What an entry says is defined by
// internal/flowlog.
//
// Whole days and hours are read from rollups, where the final ones are there and know of
// as many complete windows as the coverage records do; the rest is the sum of the flow
// records that count. Both ways give the same sums. Every answer carries its Coverage.
//
// A line of another version of the trail's format answers nothing and ends nothing: it is
// counted, and its window is not complete.
//
// Loki's limits do not show: a Client asks for entries, never for series, in ranges that
// are as small as they must be, some at a time, and asks again while Loki is busy.
package trail
