//! The standard output as a place for lines.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

use serde::Serialize;

use super::error::NdjsonError;
use super::lines::{Lines, Target};
use super::{put, write_line, write_lines};
use crate::batch::write_open;
use crate::delivery::Delivery;
use crate::error::{CloseError, Failure, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::mutation;
use crate::telemetry::Topology;

/// Writes events to the standard output, a line each, for a program that reads them through a pipe, or a container's log. See the
/// [module](crate::ndjson) for what is promised of a line.
///
/// - **`Ok`** says that the operating system has the line: nothing is buffered here.
/// - **Errors** are transient failures with the cause [`NdjsonError`], but for an event that cannot be encoded, which is permanent, and a reader that is gone (a broken pipe):
///   that is [`Closed`](WriteError::Closed).
/// - **Blocks** while the reader does not read. A closed sink does not wait for that.
/// - **Others who print** may do so: lines are written under the lock of [`std::io::Stdout`], after what that has in its buffer. Who prints a part of a line must finish it.
///
/// ```no_run
/// use std::time::Duration;
/// use sinkworks::ndjson::NdjsonStdout;
/// use sinkworks::{Queue, Shutdown, Sink, SinkExt};
///
/// let queue: Queue<(u64, String)> = NdjsonStdout::new()?.batched(100, Duration::from_millis(10));
/// queue.send((1, "signed up".to_owned()))?;
/// queue.close(Shutdown::within(Duration::from_secs(5)))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NdjsonStdout {
    state: Mutex<(Out, Lines)>,
    /// By a close, or since the reader is gone.
    closed: AtomicBool,
    id: SinkId,
}

/// The same output as a file of one's own, past the buffer of [`std::io::Stdout`]: what stays in that after an error could be written later, or never.
#[cfg(unix)]
struct Out(std::fs::File);

#[cfg(unix)]
impl Out {
    fn new() -> io::Result<Self> {
        use std::os::fd::AsFd;
        let own = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self(own.into()))
    }
}

#[cfg(not(unix))]
struct Out(io::Stdout);

#[cfg(not(unix))]
impl Out {
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
    fn new() -> io::Result<Self> {
        Ok(Self(io::stdout()))
    }
}

impl Target for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.0.flush()?;
        Ok(written)
    }

    /// It is others' too.
    fn take_back(&mut self, _: usize) -> bool {
        false
    }
}

impl NdjsonStdout {
    /// The standard output of this process.
    ///
    /// # Errors
    ///
    /// [`NdjsonError::Io`], if the process may not have another file descriptor, or has closed its standard output.
    pub fn new() -> Result<Self, NdjsonError> {
        let out = Out::new().map_err(|error| NdjsonError::io("open", error))?;
        let state = Mutex::new((out, Lines::new(false)));
        Ok(Self { state, closed: AtomicBool::new(false), id: SinkId::unique() })
    }

    fn with_lines(&self, work: impl FnOnce(&mut Out, &mut Lines) -> Result<(), WriteError>) -> Result<(), WriteError> {
        if self.is_closed() && !mutation!("stdout_sees_the_close") {
            return Err(WriteError::Closed);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (out, lines) = &mut *state;
        // Of a `Serialize` that has panicked.
        lines.clear();
        let answer = work(out, lines);
        drop(state);
        // What the reader has not taken of a batch, nobody will take.
        let is_lost = answer.is_err() && self.is_closed() && !mutation!("stdout_gone_is_closed");
        if is_lost { Err(WriteError::Closed) } else { answer }
    }

    fn is_closed(&self) -> bool {
        // Acquire, with the Release in `set_closed`: whoever sees the close also sees what its caller did before.
        self.closed.load(Ordering::Acquire)
    }

    fn set_closed(&self) {
        // Release, with the Acquire in `is_closed`.
        self.closed.store(true, Ordering::Release);
    }

    fn put(&self, out: &mut Out, lines: &mut Lines) -> (usize, Result<(), Failure>) {
        if lines.is_empty() {
            return (0, Ok(()));
        }
        // Nobody prints meanwhile, and what others have printed comes first.
        let mut lock = io::stdout().lock();
        let (whole, answer) = match lock.flush() {
            Ok(()) => put(lines, out),
            Err(error) => (0, Err(Failure::transient(NdjsonError::io("write", error)))),
        };
        if let Err(failure) = &answer {
            let cause = failure.cause().downcast_ref();
            if let Some(NdjsonError::Io { source, .. }) = cause {
                if source.kind() == ErrorKind::BrokenPipe {
                    self.set_closed();
                }
            }
        }
        (whole, answer)
    }

    fn close(&self) -> Poll<Result<CloseReport, CloseError>> {
        self.set_closed();
        Poll::Ready(Ok(CloseReport::new()))
    }

    fn describe(&self, topology: &mut Topology) {
        topology.leaf(Some(self.id), "ndjson", "stdout");
    }
}

impl<E: Serialize> Sink<E> for NdjsonStdout {
    fn try_write(&self, event: &E, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.with_lines(|out, lines| write_line(event, lines, |lines| self.put(out, lines)))
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.close()
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    fn describe(&self, topology: &mut Topology) {
        self.describe(topology);
    }
}

/// A batch, with one system call.
impl<E: Serialize> Sink<[E]> for NdjsonStdout {
    fn try_write(&self, events: &[E], delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        write_open(events, delivery, |events| {
            self.with_lines(|out, lines| write_lines(events, lines, |lines| self.put(out, lines)))
        })
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.close()
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    fn describe(&self, topology: &mut Topology) {
        self.describe(topology);
    }
}

impl fmt::Debug for NdjsonStdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NdjsonStdout").field("id", &self.id).field("closed", &self.closed).finish_non_exhaustive()
    }
}
