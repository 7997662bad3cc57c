//! What the actors were answered, to be compared with what the component says and what its destination has seen.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use sinkworks::WriteError;

use crate::scene::writer;

/// What was written, and how that was answered.
#[derive(Default)]
pub(crate) struct Accounts(Mutex<Answers>);

#[derive(Debug, Default, Clone)]
pub(crate) struct Answers {
    /// Accepted.
    pub(crate) ok: Vec<u64>,
    pub(crate) closed: Vec<u64>,
    pub(crate) full: Vec<u64>,
    /// Not ready, and not offered again.
    pub(crate) left: Vec<u64>,
    pub(crate) failed: Vec<u64>,
}

impl Accounts {
    pub(crate) fn note(&self, event: u64, answer: &Result<(), WriteError>) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let list = match answer {
            Ok(()) => &mut answers.ok,
            Err(WriteError::Closed) => &mut answers.closed,
            Err(WriteError::Full) => &mut answers.full,
            Err(WriteError::NotReady(_)) => &mut answers.left,
            Err(_) => &mut answers.failed,
        };
        list.push(event);
    }

    pub(crate) fn read(&self) -> Answers {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// That nothing has come twice, that every event was written and accepted, and that those of one writer are in order.
#[track_caller]
pub(crate) fn assert_proper(seen: &[u64], accepted: &[u64], context: &impl Debug) {
    assert_ordered(seen, context);
    let accepted: HashSet<_> = accepted.iter().collect();
    assert!(seen.iter().all(|event| accepted.contains(event)), "not accepted, yet here: {seen:x?}; {context:x?}");
}

/// That nothing has come twice, and that the events of one writer are in order.
#[track_caller]
pub(crate) fn assert_ordered(seen: &[u64], context: &impl Debug) {
    for by in seen.iter().map(|event| writer(*event)).collect::<HashSet<_>>() {
        let own: Vec<_> = seen.iter().filter(|event| writer(**event) == by).collect();
        assert!(own.is_sorted_by(|a, b| a < b), "twice, or out of order: {seen:x?}; {context:x?}");
    }
}
