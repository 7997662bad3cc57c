//! Why what has been received is no event. The texts have nothing of what was received in them, so that they are safe to log and to answer with.

use serde_json::error::Category;

use super::cloud_event::InvalidEvent;

/// Why a body is no event, or no batch of events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The body is not the JSON that it should be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The event is not as the specification asks for.
    #[error(transparent)]
    Event(#[from] InvalidEvent),
    /// An event of a batch is not as the specification asks for.
    #[error("the event at index {index} is not valid: {error}")]
    EventAt {
        /// The place of the event in the batch, from 0.
        index: usize,
        /// What is not valid.
        error: InvalidEvent,
    },
    /// The batch has more events than allowed.
    #[error("there are more than {max} events")]
    TooMany {
        /// How many are allowed.
        max: usize,
    },
}

impl From<serde_json::Error> for ParseError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.into())
    }
}

/// Where a body is not the JSON that it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// It is not UTF-8.
    #[error("the body is not UTF-8")]
    Encoding,
    /// It is not JSON.
    #[error("the body is not JSON: line {line}, column {column}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, in bytes, from 1. 0 is the end of the line before.
        column: usize,
    },
    /// It is JSON, but with another type or without a member somewhere: a text where a number should be.
    #[error("the body has not the form that it should have: line {line}, column {column}")]
    Form {
        /// The line, from 1.
        line: usize,
        /// The column, in bytes, from 1.
        column: usize,
    },
}

/// Without the error's text, which may quote what was read.
impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => Self::Form { line, column },
            Category::Syntax | Category::Eof | Category::Io => Self::Syntax { line, column },
        }
    }
}

/// The body as text: what `serde_json` does not look at, it does not check for being UTF-8.
pub(super) fn text(body: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(body).map_err(|_| Malformed::Encoding)
}
