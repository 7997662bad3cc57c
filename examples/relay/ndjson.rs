//! A leaf sink that appends events to a file, a line each.
//!
//! `Ok` means that the operating system has the line. So there is no buffer: an event in one could be lost after it was counted as
//! delivered, by the very disk that is full. A line costs one system call.
//!
//! **A write that fails half way** leaves a part of a line. It is cut off again, so that the retry does not glue the whole line to
//! it. Where that is impossible, as in a pipe, the next write ends the part with a newline before its own line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::task::{Poll, Waker};

use serde::Serialize;
use sinkworks::{CloseError, CloseReport, Delivery, Failure, Shutdown, Sink, SinkId, WriteError};

pub(crate) struct NdjsonFile {
    lines: Mutex<Lines>,
    closed: AtomicBool,
    id: SinkId,
}

impl NdjsonFile {
    /// Appends to the file at `path`, which is made if there is none.
    pub(crate) fn append(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        // Of an earlier run that was killed, say. A file that may not be read is taken to be whole.
        let torn = file.metadata()?.is_file() && ends_within_a_line(path).unwrap_or(false);
        Ok(Self::new(file, torn))
    }

    /// Writes to a file that did not exist.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self::new(OpenOptions::new().append(true).create_new(true).open(path)?, false))
    }

    fn new(file: File, torn: bool) -> Self {
        let lines = Lines { file, torn, text: Vec::new() };
        Self { lines: Mutex::new(lines), closed: AtomicBool::new(false), id: SinkId::unique() }
    }
}

fn ends_within_a_line(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

struct Lines {
    file: File,
    /// The file ends within a line.
    torn: bool,
    /// The line to be written; kept for its allocation.
    text: Vec<u8>,
}

impl Lines {
    fn write<E: Serialize + ?Sized>(&mut self, event: &E) -> Result<(), Failure> {
        self.text.clear();
        if self.torn {
            self.text.push(b'\n');
        }
        serde_json::to_writer(&mut self.text, event).map_err(Failure::permanent)?;
        self.text.push(b'\n');
        let mut written = 0;
        while written < self.text.len() {
            match self.file.write(&self.text[written..]) {
                Ok(0) => return Err(self.failed(written, io::ErrorKind::WriteZero.into())),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(written, error)),
            }
        }
        self.torn = false;
        Ok(())
    }

    /// A full disk may have room later, so every error is one that may pass.
    fn failed(&mut self, written: usize, error: io::Error) -> Failure {
        if written > 0 && !self.cut_off(written) {
            self.torn = true;
        }
        Failure::transient(error)
    }

    /// Takes the last bytes of the file back, unless somebody else has appended to it since.
    fn cut_off(&mut self, bytes: usize) -> bool {
        let cut = |file: &mut File| -> io::Result<bool> {
            let end = file.stream_position()?;
            if file.metadata()?.len() != end {
                return Ok(false);
            }
            file.set_len(end.saturating_sub(bytes as u64)).map(|()| true)
        };
        cut(&mut self.file).unwrap_or(false)
    }
}

impl<E: Serialize + ?Sized> Sink<E> for NdjsonFile {
    fn try_write(&self, event: &E, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(WriteError::Closed);
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).write(event).map_err(WriteError::from)
    }

    /// Brings the lines to the disk, so that an error which the system has put off until then is heard.
    fn poll_close(&self, how: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        if first && how != Shutdown::Abort {
            // Not waited for: a write that blocks holds the lock, and this may be the thread that closes.
            let lines = match self.lines.try_lock() {
                Ok(lines) => Some(lines),
                Err(TryLockError::Poisoned(lines)) => Some(lines.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            // Devices and pipes have nothing to be brought anywhere.
            let file =
                lines.as_ref().map(|lines| &lines.file).filter(|file| file.metadata().is_ok_and(|m| m.is_file()));
            if let Some(Err(error)) = file.map(File::sync_all) {
                return Poll::Ready(Err(CloseError::Failed(Failure::transient(error))));
            }
        }
        Poll::Ready(Ok(CloseReport::new()))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }
}
