//! sinkworks beside its peers. `ci/compare.sh` runs the programs of this package; `benches/README.md` says what they measure.

// Peers with one writer's end and one receiver, and our queue.
pub mod way;
// Peers with one writer's end and many receivers, and our broadcaster.
pub mod fan;
// Go's docker/go-events, in a process of its own.
pub mod go;
// Who gets webhooks, in a process of its own.
pub mod receiver;
// What every sink does: it counts, and the last one tells when.
pub mod strategy;
pub mod tally;
// Rounds that alternate, and their medians.
pub mod rounds;
// The lines that are printed, and read again.
pub mod cpu;
pub mod figure;
// What is measured.
pub mod scenario;
// What must be reached.
pub mod marks;
