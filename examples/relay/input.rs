//! NDJSON: a line an event, any JSON value, kept as it is written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::value::RawValue;

/// The longest line. A file without newlines is not read into memory as a whole.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Why a line is no event, or why there are no more.
#[derive(Debug)]
pub(crate) enum Bad {
    Malformed(String),
    Unreadable(io::Error),
}

pub(crate) struct Lines {
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    /// Opens a file, or for `-` the standard input, and sees whether it can be read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let reader: Box<dyn BufRead + Send> = if path.as_os_str() == "-" {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let mut reader = BufReader::new(File::open(path)?);
            // A directory can be opened, and fails here.
            reader.fill_buf()?;
            Box::new(reader)
        };
        Ok(Self { reader, line: Vec::new(), number: 0 })
    }

    /// How many lines have been read.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The next event. Blank lines are none.
    pub(crate) fn next_event(&mut self) -> Option<Result<Box<RawValue>, Bad>> {
        loop {
            match self.next_line() {
                Ok(false) => return None,
                Ok(true) if self.line.len() as u64 > LONGEST => {
                    let ended = self.skip_line();
                    let why = format!("longer than {} MiB", LONGEST >> 20);
                    return Some(Err(ended.map_or_else(Bad::Unreadable, |()| Bad::Malformed(why))));
                }
                Ok(true) if self.line.trim_ascii().is_empty() => {}
                Ok(true) => {
                    return Some(serde_json::from_slice(&self.line).map_err(|error| Bad::Malformed(explain(&error))));
                }
                Err(error) => return Some(Err(Bad::Unreadable(error))),
            }
        }
    }

    fn next_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        // One more than the longest, to tell a line that is too long.
        let read = self.reader.by_ref().take(LONGEST + 1).read_until(b'\n', &mut self.line)?;
        self.number += u64::from(read > 0);
        Ok(read > 0)
    }

    /// Passes over the rest of a line that is too long.
    fn skip_line(&mut self) -> io::Result<()> {
        if self.line.last() == Some(&b'\n') {
            return Ok(());
        }
        self.reader.skip_until(b'\n').map(drop)
    }
}

/// The parser counts lines too, but knows only this one.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("{what}, at column {}", error.column())
}
