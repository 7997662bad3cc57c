//! The options of a file.

use std::path::{Path, PathBuf};

use super::error::NdjsonError;
use super::file::NdjsonFile;
use crate::error::BuildError;
use crate::name::Name;
use crate::sink::SinkId;

/// When lines leave the process, and so what the `Ok` of an [`NdjsonFile`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Flush {
    /// With each write, of an event or of a batch: `Ok` says that the operating system has the lines. They survive the end of the process, and not that of the
    /// machine. A system call for each write. The default.
    #[default]
    EachWrite,
    /// With each write, and each is brought to the disk before it is answered (`fdatasync`). Costs what the disk costs, a millisecond say: write batches.
    ///
    /// If the disk refuses, the write fails and is repeated, and the lines may be there twice.
    EachWriteToDisk,
    /// When so many bytes have gathered. `Ok` says that the line is in the process's memory: what is in the buffer when the process ends without a close is
    /// lost. Nothing is lost for an error of the disk: the lines stay in the buffer, and once that is full, writes fail and take no event. Lines that the last
    /// flush at the close cannot write are in the close's report, as abandoned.
    ///
    /// Nobody flushes a buffer that does not fill: [`NdjsonFile::flush`] does. A [batch](crate::SinkExt::batched) is nearly as cheap and promises more.
    Bytes(u64),
}

/// When the file gives way to a new one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    pub(super) max_bytes: u64,
    pub(super) keep: u32,
}

/// The options of an [`NdjsonFile`].
#[derive(Debug, Clone)]
#[must_use]
pub struct NdjsonFileBuilder {
    pub(super) path: PathBuf,
    pub(super) create_new: bool,
    pub(super) flush: Flush,
    pub(super) rotation: Option<Rotation>,
    name: Option<String>,
}

impl NdjsonFileBuilder {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), create_new: false, flush: Flush::default(), rotation: None, name: None }
    }

    /// What the file is called in the topology, in reports and in `Debug`. Default: a name made of its id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Refuses to open a file that is there already. Default: it is appended to.
    pub fn create_new(mut self) -> Self {
        self.create_new = true;
        self
    }

    /// When lines leave the process. Default: [`Flush::EachWrite`].
    pub fn flush(mut self, flush: Flush) -> Self {
        self.flush = flush;
        self
    }

    /// Before the file would get larger than `max_bytes`, it is renamed to its name with `.1` at the end, what was `.1` to `.2`, and so on up to `keep`, the
    /// last of which is thrown away; then a new file begins. A write, of an event, a batch or a buffer, is never divided: one that is larger gets a file of its own. Default: never.
    ///
    /// Where the file cannot be renamed, it is written on, and [counted](super::FileStats::rotation_failures). What is no regular file, as a pipe, is not
    /// rotated. One process and one `NdjsonFile` must have the file for itself.
    pub fn rotate(mut self, max_bytes: u64, keep: u32) -> Self {
        self.rotation = Some(Rotation { max_bytes, keep });
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// [`NdjsonError::Io`]; [`NdjsonError::Build`] for a name that is none, or for [`Flush::Bytes`], a `max_bytes` or a `keep` of 0.
    pub fn open(self) -> Result<NdjsonFile, NdjsonError> {
        let id = SinkId::unique();
        let name = Name::or_default(self.name.as_deref(), "ndjson", id)?;
        let zero = |option| Err(BuildError::Zero { option }.into());
        match (self.flush, self.rotation) {
            (Flush::Bytes(0), _) => return zero("flush"),
            (_, Some(Rotation { max_bytes: 0, .. })) => return zero("max_bytes"),
            (_, Some(Rotation { keep: 0, .. })) => return zero("keep"),
            _ => {}
        }
        NdjsonFile::open(self, id, name)
    }
}
