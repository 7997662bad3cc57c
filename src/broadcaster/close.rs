//! Closing: all sinks at the same time, and one report of what they answered.

use std::task::{Poll, Waker};

use super::Broadcaster;
use super::list::Shared;
use crate::contain::contain;
use crate::error::CloseError;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sync::{lock, mutation};

/// The sinks that the broadcaster closes, and what they have answered so far.
pub(super) struct Closing<E: ?Sized> {
    entries: Vec<Shared<E>>,
    answers: Vec<Option<Result<CloseReport, CloseError>>>,
}

impl<E: ?Sized + 'static> Broadcaster<E> {
    pub(super) fn poll_close_all(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        let pending: Vec<(usize, Shared<E>)> = {
            let mut closing = lock(&self.0.closing);
            let closing = closing.get_or_insert_with(|| {
                let list = if mutation!("broadcaster_seals_what_it_closes") {
                    let list = self.0.list.load_full();
                    self.0.list.rcu(|list| list.sealed());
                    list
                } else {
                    self.0.list.rcu(|list| list.sealed())
                };
                let entries: Vec<_> = list.members.iter().map(|member| member.entry.clone()).collect();
                Closing { answers: entries.iter().map(|_| None).collect(), entries }
            });
            let open = |(index, _): &(usize, &Shared<E>)| {
                closing.answers[*index].is_none() || mutation!("broadcaster_asks_who_has_not_answered")
            };
            closing.entries.iter().enumerate().filter(open).map(|(index, entry)| (index, entry.clone())).collect()
        };
        // Sinks that wait for who asks. Their answer is not kept: asked by somebody else, they have another.
        let mut cycle: Option<CloseReport> = None;
        let mut cyclic = Vec::new();
        // No lock is held while sinks are called.
        for (index, entry) in pending {
            let poll = || entry.sink.poll_close(how, waker);
            let answer = contain(poll).unwrap_or(Poll::Ready(Err(CloseError::Panicked)));
            match (answer, &mut *lock(&self.0.closing)) {
                (Poll::Ready(Err(CloseError::Cycle(report))), _) => {
                    cyclic.push(index);
                    cycle.get_or_insert_default().merge(report);
                }
                (Poll::Ready(answer), Some(closing)) => drop(closing.answers[index].get_or_insert(answer)),
                _ => {}
            }
        }
        let closing = lock(&self.0.closing);
        let Some(closing) = &*closing else { return Poll::Pending };
        if closing.answers.iter().enumerate().any(|(index, answer)| answer.is_none() && !cyclic.contains(&index)) {
            return Poll::Pending;
        }
        let is_cycle = cycle.is_some();
        let mut report = cycle.unwrap_or_default();
        for (entry, answer) in closing.entries.iter().zip(&closing.answers) {
            if let Some(answer) = answer {
                report.absorb(Some(entry.id), answer.clone());
            }
        }
        Poll::Ready(if is_cycle { Err(CloseError::Cycle(report)) } else { Ok(report) })
    }
}
