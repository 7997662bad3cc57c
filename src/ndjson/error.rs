//! Why a file cannot be opened, and why an event was not written. No text of these errors has anything of an event in it, unless the event's own `Serialize`
//! says so.

use std::io;

use crate::error::BuildError;

/// Why a file cannot be opened, or the [cause](crate::Failure::cause) of the failure that an NDJSON sink answers.
///
/// [`Encode`](Self::Encode) is permanent. [`Io`](Self::Io) is transient, whatever it is: a full disk may have room later, and a directory that is missing, or that
/// may not be written, is mended by an operator.
///
/// ```
/// use sinkworks::WriteError;
/// use sinkworks::ndjson::NdjsonError;
///
/// fn is_full(error: &WriteError) -> bool {
///     let WriteError::Failed(failure) = error else { return false };
///     let Some(NdjsonError::Io { source, .. }) = failure.cause().downcast_ref() else { return false };
///     source.kind() == std::io::ErrorKind::StorageFull
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NdjsonError {
    /// The event cannot be written as JSON. The text is that of the event's own `Serialize`.
    #[error("the event cannot be encoded: {0}")]
    Encode(#[source] serde_json::Error),
    /// The operating system refused.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried: `open`, `write`, `rotate` or `sync`.
        doing: &'static str,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// An option that makes no sense.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl NdjsonError {
    pub(super) fn io(doing: &'static str, source: io::Error) -> Self {
        Self::Io { doing, source }
    }
}
