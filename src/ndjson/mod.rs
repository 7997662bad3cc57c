//! Events as NDJSON, a line of JSON an event, in a file or on the standard output (feature `ndjson`). The format is that of
//! [ndjson.org](https://github.com/ndjson/ndjson-spec), which JSON Lines calls by another name.
//!
//! Both sinks take single events, `Sink<E>`, and batches, `Sink<[E]>`, where `E` is [`Serialize`]. A batch is one system call; what became
//! of each of its events is told by a [`BatchError`]:
//!
//! ```
//! use std::time::Duration;
//! use sinkworks::ndjson::NdjsonFile;
//! use sinkworks::{ExponentialBackoff, Queue, Shutdown, Sink, SinkExt};
//!
//! # let directory = std::env::temp_dir().join(format!("sinkworks-ndjson-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! let path = directory.join("events.ndjson");
//! let file = NdjsonFile::builder(&path).rotate(64 << 20, 5).open()?;
//! let retrying = file.clone().retrying(ExponentialBackoff::default()); // a full disk may have room later
//! let queue: Queue<(u64, &str)> = retrying.batched(1000, Duration::from_millis(100));
//! queue.send((1, "signed up"))?;
//! queue.send((2, "signed out"))?;
//! queue.close(Shutdown::within(Duration::from_secs(5)))?;
//! assert_eq!(std::fs::read_to_string(&path)?, "[1,\"signed up\"]\n[2,\"signed out\"]\n");
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **A line is whole, or it is not there**, as far as the operating system allows. A write that fails half way, since the disk is full say, is taken back. Where
//! that cannot be, as in a pipe, the next write begins with a newline, so that no event's line has a part of another one in it; the part is then a line that
//! is no JSON, or, if only its newline was missing, the same line once more. The same is done where a file ends within a line when it is opened, as after a crash.

mod builder;
mod error;
mod file;
mod lines;
mod stdout;

pub use builder::{Flush, NdjsonFileBuilder};
pub use error::NdjsonError;
pub use file::{FileStats, NdjsonFile};
pub use stdout::NdjsonStdout;

use serde::Serialize;

use crate::batch::BatchError;
use crate::error::{Failure, WriteError};
use lines::{Lines, Target};

/// Writes the events' lines with one call, and answers for each of them. `lines` is empty before and after.
fn write_lines<E: Serialize>(
    events: &[&E],
    lines: &mut Lines,
    write: impl FnOnce(&mut Lines) -> (usize, Result<(), Failure>),
) -> Result<(), WriteError> {
    let encoded: Vec<Result<(), Failure>> = events.iter().map(|event| encode(*event, lines)).collect();
    let (mut whole, answer) = write(lines);
    lines.clear();
    let outcomes = encoded.into_iter().map(|encoded| {
        encoded?;
        if whole > 0 {
            whole -= 1;
            return Ok(());
        }
        answer.clone()
    });
    BatchError::check(outcomes.collect())
}

fn encode<E: Serialize + ?Sized>(event: &E, lines: &mut Lines) -> Result<(), Failure> {
    lines.add(event).map_err(|error| Failure::permanent(NdjsonError::Encode(error)))
}

/// The same for one event, without a list.
fn write_line<E: Serialize>(
    event: &E,
    lines: &mut Lines,
    write: impl FnOnce(&mut Lines) -> (usize, Result<(), Failure>),
) -> Result<(), WriteError> {
    encode(event, lines)?;
    let (whole, answer) = write(lines);
    lines.clear();
    // Whole on the target is taken, whatever came after it.
    if whole == 1 { Ok(()) } else { Ok(answer?) }
}

/// Has the lines written, with the error of a failure named.
fn put(lines: &mut Lines, target: &mut impl Target) -> (usize, Result<(), Failure>) {
    let (whole, answer) = lines.write_to(target);
    (whole, answer.map_err(|error| Failure::transient(NdjsonError::io("write", error))))
}
