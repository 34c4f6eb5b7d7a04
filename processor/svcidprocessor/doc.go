//go:generate mdatagen metadata.yaml

// Package svcidprocessor is the Collector processor `svcid`. It writes on every flow
// record the service identity of both ends, and the basis that each identity rests on.
//
// What it guarantees:
//
//   - An identity is read from the record or looked up, never guessed. Where that does not
//     say enough, the identity is "?" or ends in "/?", and basis and reason say why.
//   - The identity of an end is a pure function of that end's attributes, of the
//     configuration and of what is known from the Kubernetes API, which stands still for
//     the length of a batch. It does not depend on other records, nor on their order.
//   - Without `kubernetes` in the configuration the Kubernetes API is not asked. With it,
//     it is only read, and no batch ever waits for it.
//   - A flow record is one with the event name [flowlog.EventName] or with an endpoint
//     type on either side. Every other record passes untouched and is not counted.
//   - An identity that is already on the record is kept with its basis, and is not
//     counted. So a second pass, behind Kafka say, changes nothing, though the labels
//     that the first pass read are gone. A basis without an identity is overwritten.
//   - Endpoint labels that `keep_labels` does not match never leave the processor on a
//     flow record, not even where the labels attribute is malformed.
//   - An attribute of the wrong kind is treated as absent and counted. It never stops
//     the record, the batch or the Collector.
//
// The order of a record's attributes is no part of this: it changes where labels are
// removed, though for equal records in the same way. Batches may be processed
// concurrently.
package svcidprocessor
