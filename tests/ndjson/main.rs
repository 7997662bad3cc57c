//! NDJSON sinks: what is in the file, or came out of the pipe, whatever happened to the writes.

#[path = "../common/mod.rs"]
mod common;

mod closing;
mod file;
mod flush;
mod reopen;
mod rotate;
mod stdout;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};
use sinkworks::ndjson::NdjsonError;
use sinkworks::{Class, Failure, WriteError};

/// A directory that is gone at the end of the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sinkworks-ndjson-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("events.ndjson")
    }

    /// The file that was rotated away so often.
    fn rotated(&self, times: u32) -> PathBuf {
        self.0.join(format!("events.ndjson.{times}"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// The numbers that are in the file, a line each.
fn numbers(path: impl AsRef<Path>) -> Vec<u64> {
    text(path).lines().map(|line| line.parse().unwrap_or_else(|_| panic!("no number: {line:?}"))).collect()
}

fn failed<T: std::fmt::Debug>(answer: Result<T, WriteError>) -> Failure {
    match answer {
        Err(WriteError::Failed(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// Checks that the failure is the operating system's, and may pass.
#[track_caller]
fn assert_io(failure: &Failure, doing: &str, kind: std::io::ErrorKind) {
    assert_eq!(failure.class(), Class::Transient);
    match failure.cause().downcast_ref() {
        Some(NdjsonError::Io { doing: did, source, .. }) => assert_eq!((*did, source.kind()), (doing, kind)),
        other => panic!("expected an io error, got {other:?}"),
    }
}

/// An event that can be written, or not.
#[derive(Debug, Clone)]
enum Event {
    Number(u64),
    Unwritable,
    Panicking,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeSeq};
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Unwritable => Err(S::Error::custom("told to")),
            Self::Panicking => {
                let mut half = serializer.serialize_seq(None)?;
                half.serialize_element("half a line")?;
                panic!("told to panic");
            }
        }
    }
}
