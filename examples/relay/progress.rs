//! The screen: a block of lines that is redrawn in place, and messages that scroll above it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The columns that every terminal has. A line that a terminal wraps takes two rows, and the block is not where it is thought to be.
const COLUMNS: usize = 79;

/// Both streams behind one lock, since they usually are the same terminal. Errors are ignored: nobody listens any more, and that is
/// no reason to lose events.
pub(crate) struct Screen {
    /// Whether standard error is a terminal that can redraw.
    live: bool,
    block: Mutex<Vec<String>>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { live: io::stderr().is_terminal() && !dumb, block: Mutex::default() }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    fn block(&self) -> MutexGuard<'_, Vec<String>> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A result, on standard output.
    pub(crate) fn result(&self, line: &str) {
        let block = self.block();
        let _ = io::stderr().write_all(erase(&block).as_bytes());
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        let _ = io::stderr().write_all(text(&block).as_bytes());
    }

    /// A message, on standard error.
    pub(crate) fn message(&self, line: &str) {
        let block = self.block();
        // In one write, so that the terminal does not flicker.
        let _ = io::stderr().write_all(format!("{}{line}\n{}", erase(&block), text(&block)).as_bytes());
    }

    /// Shows the block anew: in place, or where that is impossible as further lines.
    pub(crate) fn draw(&self, mut lines: Vec<String>) {
        let mut block = self.block();
        if self.live {
            for line in &mut lines {
                *line = line.chars().take(COLUMNS).collect();
            }
        }
        let _ = io::stderr().write_all(format!("{}{}", erase(&block), text(&lines)).as_bytes());
        if self.live {
            *block = lines;
        }
    }

    /// Leaves the block where it is.
    pub(crate) fn finish(&self) {
        self.block().clear();
    }
}

fn text(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

/// Puts the cursor where the block begins and clears what follows.
fn erase(block: &[String]) -> String {
    if block.is_empty() { String::new() } else { format!("\x1b[{}A\x1b[J", block.len()) }
}
