//! A file that lines are appended to: rotation, reopening, flushing, and the end.
//!
//! **The lock** is held while the file is written. A closer does not wait for it, since a disk may take its time: see [`ClosingLock`].

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use serde::Serialize;

use super::builder::{Flush, NdjsonFileBuilder, Rotation};
use super::error::NdjsonError;
use super::lines::{Lines, Target};
use super::{encode, put, write_line, write_lines};
use crate::batch::write_open;
use crate::closing_lock::ClosingLock;
use crate::delivery::Delivery;
use crate::error::{CloseError, Failure, WriteError};
use crate::ledger::{DropReason, Ledger};
use crate::name::Name;
use crate::shutdown::{CloseReport, ComponentReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::mutation;
use crate::telemetry::Topology;

/// Appends events to a file, a line each. See the [module](crate::ndjson) for what is promised of a line.
///
/// - **`Ok`** says that the operating system has the line, unless [`Flush`] says otherwise.
/// - **Errors** are failures with the cause [`NdjsonError`]: transient, but for an event that cannot be encoded. Put a
///   [`RetryingSink`](crate::RetryingSink) in front.
/// - **Blocks** on the disk. Several writers wait for each other: put a queue in front.
/// - **Rotates** by size, where [asked to](NdjsonFileBuilder::rotate), and [reopens](Self::reopen) its file on request, for logrotate.
/// - **A handle**: clones are the same file, so that one can be kept to reopen it.
/// - **Closing** brings the lines to the disk, so that an error which the system has put off until then is heard; an abort does not.
///
/// ```
/// use sinkworks::Sink;
/// use sinkworks::ndjson::NdjsonFile;
///
/// # let path = std::env::temp_dir().join(format!("sinkworks-file-{}.ndjson", std::process::id()));
/// let file = NdjsonFile::append(&path)?;
/// file.write(&["first"])?;
/// file.write(&["second"])?;
/// assert_eq!(std::fs::read_to_string(&path)?, "[\"first\"]\n[\"second\"]\n");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct NdjsonFile(Arc<Inner>);

struct Inner {
    id: SinkId,
    name: Name,
    path: PathBuf,
    flush: Flush,
    rotation: Option<Rotation>,
    state: ClosingLock<State, Result<CloseReport, CloseError>>,
    reopen: AtomicBool,
    /// Lines that were answered with `Ok`, and those of them that the file has. Written under the lock.
    taken: AtomicU64,
    written: AtomicU64,
    rotations: AtomicU64,
    rotation_failures: AtomicU64,
}

struct State {
    /// None after the file could not be opened again.
    out: Option<Out>,
    lines: Lines,
}

/// The open file.
struct Out {
    file: File,
    /// Its size as far as this process knows, where it is a regular file.
    size: Option<u64>,
}

impl Target for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.size = self.size.map(|size| size + written as u64);
        Ok(written)
    }

    /// Unless somebody else has appended to it since.
    fn take_back(&mut self, bytes: usize) -> bool {
        let cut = |file: &mut File| -> io::Result<Option<u64>> {
            let end = file.stream_position()?;
            let meta = file.metadata()?;
            if !meta.is_file() || meta.len() != end {
                return Ok(None);
            }
            let size = end.saturating_sub(bytes as u64);
            file.set_len(size).map(|()| Some(size))
        };
        let size = cut(&mut self.file).ok().flatten();
        self.size = size.or(self.size);
        size.is_some()
    }
}

/// What an [`NdjsonFile`] has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FileStats {
    /// Lines that the operating system has.
    pub written: u64,
    /// Lines that wait in the buffer of [`Flush::Bytes`].
    pub buffered: u64,
    /// How often a new file was begun since the old one was large enough.
    pub rotations: u64,
    /// Writes for which that failed, so that the old one grew beyond its size.
    pub rotation_failures: u64,
}

impl NdjsonFile {
    /// Appends to the file at `path`, which is made if there is none.
    ///
    /// # Errors
    ///
    /// [`NdjsonError::Io`].
    pub fn append(path: impl AsRef<Path>) -> Result<Self, NdjsonError> {
        Self::builder(path).open()
    }

    /// A file with options.
    pub fn builder(path: impl AsRef<Path>) -> NdjsonFileBuilder {
        NdjsonFileBuilder::new(path.as_ref())
    }

    pub(super) fn open(options: NdjsonFileBuilder, id: SinkId, name: Name) -> Result<Self, NdjsonError> {
        let NdjsonFileBuilder { path, create_new, flush, rotation, .. } = options;
        let (out, torn) = open(&path, create_new)?;
        let state = State { out: Some(out), lines: Lines::new(torn) };
        let count = AtomicU64::default;
        Ok(Self(Arc::new(Inner {
            id,
            name,
            path,
            flush,
            rotation,
            state: ClosingLock::new(state),
            reopen: AtomicBool::new(false),
            taken: count(),
            written: count(),
            rotations: count(),
            rotation_failures: count(),
        })))
    }

    /// Asks for the file to be opened anew by its path before the next line is written: after something else, logrotate say, has renamed it. Does not wait and
    /// touches no file; call it when the process gets SIGHUP.
    ///
    /// What the buffer has goes to the old file. If the new one cannot be opened, writes fail, transiently, until it can.
    pub fn reopen(&self) {
        // Release, with the Acquire in `change_files`: whoever takes up the wish also sees the file renamed.
        self.0.reopen.store(true, Ordering::Release);
    }

    /// Writes what is in the buffer of [`Flush::Bytes`]. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// A transient failure with the cause [`NdjsonError`]; the lines stay in the buffer.
    pub fn flush(&self) -> Result<(), Failure> {
        self.0.state.with(|state| self.0.flush_buffer(state))
    }

    /// Writes what is in the buffer, and has the system bring all to the disk (`fdatasync`). Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub fn sync(&self) -> Result<(), Failure> {
        self.0.state.with(|state| {
            self.0.flush_buffer(state)?;
            state.sync()
        })
    }

    /// What it has done so far. Reads counters; waits for nobody.
    #[must_use]
    pub fn stats(&self) -> FileStats {
        let inner = &*self.0;
        let (written, buffered) = inner.written_and_buffered();
        FileStats {
            written,
            buffered,
            rotations: inner.rotations.load(Ordering::Relaxed),
            rotation_failures: inner.rotation_failures.load(Ordering::Relaxed),
        }
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl State {
    fn sync(&self) -> Result<(), Failure> {
        // Devices and pipes have nothing to be brought anywhere.
        let Some(out) = self.out.as_ref().filter(|out| out.size.is_some()) else { return Ok(()) };
        out.file.sync_data().map_err(|error| failed("sync", error))
    }
}

impl Inner {
    /// How many lines the file has, and how many wait in the buffer.
    fn written_and_buffered(&self) -> (u64, u64) {
        // In this order, by Acquire, with the Release where it counts: what was written before is seen as written, and what is written meanwhile makes the buffer look smaller,
        // never negative. So where nothing is buffered, nothing looks as if it were.
        let taken = self.taken.load(Ordering::Acquire);
        let written = self.written.load(Ordering::Relaxed);
        (written, taken.saturating_sub(written))
    }

    /// Does something with the file, with room for new lines, unless it is closed. In the buffer there may be others.
    fn with_lines(&self, work: impl FnOnce(&mut State) -> Result<(), WriteError>) -> Result<(), WriteError> {
        let answer = self.state.with_open(|state| {
            if !matches!(self.flush, Flush::Bytes(_)) {
                // Of a `Serialize` that has panicked.
                state.lines.clear();
            }
            work(state)
        });
        answer.unwrap_or(Err(WriteError::Closed))
    }

    /// Writes lines, which are all that there are, to the file that they belong to.
    fn put(&self, out: &mut Option<Out>, lines: &mut Lines) -> (usize, Result<(), Failure>) {
        if lines.is_empty() {
            return (0, Ok(()));
        }
        if let Err(error) = self.ready(out, lines) {
            return (0, Err(error));
        }
        let Some(out) = out else { return (0, Ok(())) };
        let (mut whole, mut answer) = put(lines, out);
        if self.flush == Flush::EachWriteToDisk && answer.is_ok() {
            answer = out.file.sync_data().map_err(|error| failed("sync", error));
            if answer.is_err() {
                // Perhaps they are there: twice rather than not at all.
                whole = 0;
            }
        }
        self.written.fetch_add(whole as u64, Ordering::Relaxed);
        (whole, answer)
    }

    /// Sees to it that the file is open, and that it is the right one for these lines.
    fn ready(&self, out: &mut Option<Out>, lines: &mut Lines) -> Result<(), Failure> {
        let size = out.as_ref().and_then(|out| out.size);
        if let (Some(Rotation { max_bytes, keep }), Some(size)) = (self.rotation, size) {
            if size > 0 && size.saturating_add(lines.bytes()) > max_bytes {
                if rename(&self.path, keep).is_ok() {
                    *out = None;
                    self.rotations.fetch_add(1, Ordering::Relaxed);
                } else {
                    self.rotation_failures.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if out.is_none() {
            let (opened, torn) = open(&self.path, false).map_err(Failure::transient)?;
            *out = Some(opened);
            lines.set_torn(torn);
        }
        Ok(())
    }

    /// Lets go of the old file, if that has been asked for. Its lines are written to it before.
    fn change_files(&self, state: &mut State) -> Result<(), Failure> {
        if self.reopen.load(Ordering::Relaxed) && !mutation!("file_sees_the_wish_to_reopen") {
            self.flush_buffer(state)?;
            // Only now, so that a failed flush leaves the wish. Acquire, with the Release of the wish, and a swap, not a store: the file is opened after the last wish that this takes back.
            self.reopen.swap(false, Ordering::Acquire);
            state.out = None;
        }
        Ok(())
    }

    fn flush_buffer(&self, state: &mut State) -> Result<(), Failure> {
        let State { out, lines } = state;
        self.put(out, lines).1
    }

    /// Takes lines into the buffer, if there is room.
    fn take<E: Serialize>(&self, state: &mut State, event: &E, bytes: u64) -> Result<(), Failure> {
        if state.lines.bytes() >= bytes {
            self.flush_buffer(state)?;
        }
        encode(event, &mut state.lines)?;
        // Release: who sees it sees what was written before.
        self.taken.fetch_add(1, Ordering::Release);
        if state.lines.bytes() >= bytes {
            // The line is in the buffer, and this is answered: an error is told to the next who finds it full.
            let _ = self.flush_buffer(state);
        }
        Ok(())
    }

    fn write_all<E: Serialize>(&self, events: &[&E]) -> Result<(), WriteError> {
        self.with_lines(|state| {
            self.change_files(state)?;
            if let Flush::Bytes(bytes) = self.flush {
                let outcomes = events.iter().map(|event| self.take(state, *event, bytes)).collect();
                return crate::batch::BatchError::check(outcomes);
            }
            let State { out, lines } = state;
            write_lines(events, lines, |lines| self.counted(out, lines))
        })
    }

    /// Writes lines that are answered with `Ok` when they are written.
    fn counted(&self, out: &mut Option<Out>, lines: &mut Lines) -> (usize, Result<(), Failure>) {
        let (whole, answer) = self.put(out, lines);
        // Release: who sees it sees that it is written.
        self.taken.fetch_add(whole as u64, Ordering::Release);
        (whole, answer)
    }

    /// Ends it: nobody has the lock but the caller.
    fn end(&self, state: &mut State, how: Shutdown) -> Result<CloseReport, CloseError> {
        let mut answer = Ok(());
        if how != Shutdown::Abort {
            answer = self.flush_buffer(state).and_then(|()| state.sync());
        }
        let lost = state.lines.len() as u64;
        state.lines.clear();
        state.out = None;
        if lost > 0 {
            let mut report = self.report(lost, 0);
            if let Err(failure) = answer {
                report.push_error(Some(self.id), CloseError::Failed(failure));
            }
            Ok(report)
        } else {
            answer.map(|()| CloseReport::new()).map_err(CloseError::Failed)
        }
    }

    /// What became of the lines that it had taken. Only a buffer holds any, so only then is there something to tell.
    fn report(&self, lost: u64, in_flight: u64) -> CloseReport {
        let accepted = self.taken.load(Ordering::Relaxed);
        let mut ledger = Ledger { accepted, pending: in_flight, ..Ledger::default() };
        ledger.dropped.add(DropReason::Abandoned, lost);
        ledger.delivered = accepted.saturating_sub(lost + in_flight);
        let mut report = CloseReport::new();
        report.insert(self.id, ComponentReport::new(Arc::clone(&self.name), ledger));
        report
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        match self.state.close(waker, |state| self.end(state, how)) {
            Some(answer) => Poll::Ready(answer),
            // Nobody can interrupt a write that hangs: what the buffer has may be written yet.
            None if how == Shutdown::Abort => {
                let (_, buffered) = self.written_and_buffered();
                Poll::Ready(Ok(if buffered > 0 { self.report(0, buffered) } else { CloseReport::new() }))
            }
            None => Poll::Pending,
        }
    }
}

/// What a file that nobody has closed has in its buffer is written as well as that goes.
impl Drop for Inner {
    fn drop(&mut self) {
        let State { out, lines } = self.state.get_mut();
        if matches!(self.flush, Flush::Bytes(_)) && !lines.is_empty() {
            if let Some(out) = out {
                let _ = put(lines, out);
            }
        }
    }
}

fn failed(doing: &'static str, error: io::Error) -> Failure {
    Failure::transient(NdjsonError::io(doing, error))
}

/// Opens the file, and says whether it ends within a line.
fn open(path: &Path, create_new: bool) -> Result<(Out, bool), NdjsonError> {
    let open = || {
        let file = OpenOptions::new().append(true).create(true).create_new(create_new).open(path)?;
        let meta = file.metadata()?;
        let size = meta.is_file().then_some(meta.len());
        // Of an earlier run that was killed, say. A file that may not be read is taken to be whole.
        let torn = size.is_some_and(|size| size > 0) && ends_within_a_line(path).unwrap_or(false);
        Ok((Out { file, size }, torn))
    };
    open().map_err(|error| NdjsonError::io("open", error))
}

fn ends_within_a_line(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Makes place for a new file: `path` becomes `path.1`, and so on up to `path.keep`, which is thrown away.
fn rename(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = OsString::from(path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let step = |from: &Path, number: u32| match fs::rename(from, numbered(number)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        answer => answer,
    };
    // From the first that is missing on there is nothing to be moved.
    let last = (1..keep).find(|number| !numbered(*number).exists()).unwrap_or(keep);
    for number in (1..last).rev() {
        step(&numbered(number), number + 1)?;
    }
    step(path, 1)
}

impl<E: Serialize> Sink<E> for NdjsonFile {
    fn try_write(&self, event: &E, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        let inner = &*self.0;
        inner.with_lines(|state| {
            inner.change_files(state)?;
            if let Flush::Bytes(bytes) = inner.flush {
                return Ok(inner.take(state, event, bytes)?);
            }
            let State { out, lines } = state;
            write_line(event, lines, |lines| inner.counted(out, lines))
        })
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.0.id)
    }

    fn describe(&self, topology: &mut Topology) {
        self.0.describe(topology);
    }
}

/// A batch, with one system call.
impl<E: Serialize> Sink<[E]> for NdjsonFile {
    fn try_write(&self, events: &[E], delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        write_open(events, delivery, |events| self.0.write_all(events))
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.0.id)
    }

    fn describe(&self, topology: &mut Topology) {
        self.0.describe(topology);
    }
}

impl Inner {
    fn describe(&self, topology: &mut Topology) {
        topology.stage(Some(self.id), "ndjson file", &self.name, |topology| {
            topology.set("written", self.written.load(Ordering::Relaxed));
        });
    }
}

impl fmt::Debug for NdjsonFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NdjsonFile")
            .field("name", &self.0.name)
            .field("path", &self.0.path)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
