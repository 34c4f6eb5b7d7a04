// Package sim is a Goldmane to test against: the ring of windows and the services
// Flows and FlowCollector, with the behaviour of Calico's own, quirks included. It
// models 3.31 and later. internal/goldmane/conformance states that behaviour once
// and holds both this package and real Goldmane binaries to it.
//
// What a client meets here as it does there:
//
//   - A window is streamed once, when it is one window old; what arrives later is
//     listed and never streamed.
//   - A stream client that does not read stalls everything: the window it is being
//     sent stays locked, and one late flow for that window then holds up List, the
//     intake and the rollover.
//   - A stream that starts in an unfinished window replays the whole ring.
//   - One stream too many, a flow without a key or a negative page end the process.
//     Here Options.OnCrash is called and every call answers Unavailable from then on.
//
// Left out: FilterHints and filters in requests, which answer Unimplemented, and the
// Statistics service.
package sim
