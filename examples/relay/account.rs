//! The demonstration's audit: does what the pipeline says agree with what arrived?

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use sinkworks::Ledger;

use crate::event::Event;
use crate::receiver::Book;

/// What arrived at the receiver, each event counted once.
pub(crate) struct Arrivals {
    /// The numbers in the order in which they arrived first.
    distinct: Vec<u64>,
    pub(crate) duplicates: u64,
}

impl Arrivals {
    pub(crate) fn of(book: &Book) -> Self {
        let mut seen = HashSet::new();
        let distinct: Vec<u64> = book.received.iter().copied().filter(|seq| seen.insert(*seq)).collect();
        let duplicates = (book.received.len() - distinct.len()) as u64;
        Self { distinct, duplicates }
    }

    pub(crate) fn count(&self) -> u64 {
        self.distinct.len() as u64
    }
}

/// What does not agree.
#[derive(Default)]
pub(crate) struct Audit {
    pub(crate) findings: Vec<String>,
}

impl Audit {
    fn expect(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.findings.push(finding());
        }
    }

    /// A branch that should have delivered `expected` events and nothing else.
    pub(crate) fn ledger(&mut self, name: &str, ledger: &Ledger, expected: u64) {
        self.expect(ledger.balances(), || format!("{name}: the ledger does not balance: {ledger}"));
        self.expect(ledger.accepted == expected, || format!("{name}: {expected} events were due, accepted: {ledger}"));
        self.expect(ledger.delivered == expected, || format!("{name}: not every event was delivered: {ledger}"));
    }

    /// The receiver against the queue before it.
    pub(crate) fn receiver(&mut self, arrivals: &Arrivals, garbled: u64, delivered: u64, sent: u64) {
        let got = arrivals.count();
        self.expect(got == delivered, || {
            format!("receiver: got {got} distinct events, the queue delivered {delivered}")
        });
        self.expect(garbled == 0, || format!("receiver: {garbled} bodies were not as sent"));
        let first = arrivals.distinct.iter().zip(0..).find(|(seq, expected)| **seq != *expected);
        self.expect(first.is_none(), || {
            let (seq, expected) = first.unwrap_or((&0, 0));
            format!("receiver: out of order: event {seq} came where {expected} was due")
        });
        self.expect(got == sent, || format!("receiver: got {got} of {sent} events"));
    }

    /// The file against what the filter should have let pass. The number of lines that are right.
    pub(crate) fn file(&mut self, path: &Path, sent: u64) -> io::Result<u64> {
        let text = fs::read_to_string(path)?;
        let mut lines = text.lines();
        let mut right = 0;
        for event in (0..sent).map(Event::number).filter(Event::is_payment) {
            let due = serde_json::to_string(&event)?;
            match lines.next() {
                Some(line) if line == due => right += 1,
                line => {
                    self.findings.push(format!("file: line {} is {line:?}, due was {due:?}", right + 1));
                    return Ok(right);
                }
            }
        }
        let more = lines.count();
        self.expect(more == 0, || format!("file: {more} lines too many"));
        self.expect(text.ends_with('\n'), || "file: the last line has no end".to_owned());
        Ok(right)
    }
}
