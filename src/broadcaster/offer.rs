//! Offering one event to the sinks of a snapshot, and what is kept of it until all have taken it.
//!
//! What a sink answers goes one of three ways:
//!
//! | answer | best-effort sink | required sink |
//! |---|---|---|
//! | not ready | waits: the broadcast is not ready | the same |
//! | may pass (transient, full) | lost | refused: offered again with the next attempt |
//! | for good (closed, permanent, exhausted, a panic) | lost; closed: evicted | refused: not offered again, but not forgotten |
//!
//! The broadcast fails once nobody waits any more and somebody has refused. If a repetition may help it leaves the [`Rest`] in the delivery, so that the
//! next attempt goes only to those that may take the event then.

use std::sync::Arc;

use super::Broadcaster;
use super::list::{List, Shared};
use super::required::{RequiredSinkError, SinkPanicked, transient};
use crate::contain::contain;
use crate::delivery::{Delivery, Journey};
use crate::error::{Class, Failure, Wait, WriteError};
use crate::ledger::DropReason;
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::Ordering;
use crate::sync::{lock, mutation};
use crate::wakers::Ticket;

/// How many sinks' cache lines are fetched together. A write to an idle queue is little more than two cache misses, and its locked instructions keep the
/// processor from fetching the next queue's lines meanwhile; eight at a time took a quarter off a broadcast to a thousand idle queues.
const AHEAD: usize = 8;

/// Has the lines of the next few sinks fetched.
fn warm<E: ?Sized>(calls: &[Arc<dyn Sink<E>>]) {
    let answers = calls.iter().take(AHEAD).map(|sink| usize::from(sink.warm()));
    std::hint::black_box(answers.sum::<usize>());
}

/// What is kept of an event that some sinks have not taken.
pub(super) struct Rest<E: ?Sized> {
    /// Those that were not ready, each with its part of the journey.
    waiting: Vec<(Shared<E>, Journey)>,
    /// When the first of them may be ready. None if nobody waits.
    wait: Option<Wait>,
    /// Among those that are woken when a sink is removed, since it may be one of these.
    ticket: Option<Ticket>,
    /// Required ones that have answered otherwise.
    refused: Vec<Refused<E>>,
}

struct Refused<E: ?Sized> {
    entry: Shared<E>,
    journey: Journey,
    error: WriteError,
}

impl<E: ?Sized> Default for Rest<E> {
    fn default() -> Self {
        Self { waiting: Vec::new(), wait: None, ticket: None, refused: Vec::new() }
    }
}

/// Drops what may be the last of something of the user's: a sink that was removed meanwhile, or a state that it saved.
pub(super) fn discard<T>(what: T) {
    contain(|| drop(what));
}

impl<E: ?Sized + 'static> Broadcaster<E> {
    /// Offers an event to sinks that have not seen it. One catch for all of them, and as few instructions as can be: they come between one sink's cache
    /// misses and the next one's, which the processor then cannot fetch at the same time. `None`: all have taken it.
    pub(super) fn offer_first(&self, list: &List<E>, event: &E, delivery: &mut Delivery<'_>) -> Option<Box<Rest<E>>> {
        // Each sink begins with a fresh journey, and what it leaves is taken out below.
        let own = (!delivery.is_fresh()).then(|| delivery.take_journey());
        let mut rest = None;
        let mut offered = 0;
        while offered < list.calls.len() {
            let offer = || {
                for (at, sink) in (offered..).zip(&list.calls[offered..]) {
                    offered = at + 1;
                    if list.has_queues && at % AHEAD == 0 {
                        warm(&list.calls[at..]);
                    }
                    let answer = sink.try_write(event, delivery);
                    if answer.is_err() | !delivery.is_fresh() {
                        self.note_first(list, at, Some(answer), &mut rest, delivery);
                    }
                }
            };
            if contain(offer).is_none() {
                self.note_first(list, offered - 1, None, &mut rest, delivery);
            }
        }
        if let Some(own) = own {
            delivery.put_journey(own);
        }
        rest
    }

    /// Offers an event again: to the sinks that were not ready, or if there are none, to those that refused it and may take it now.
    #[cold]
    pub(super) fn offer_again(&self, saved: Rest<E>, event: &E, delivery: &mut Delivery<'_>) -> Rest<E> {
        let mut rest = Rest { ticket: saved.ticket, ..Rest::default() };
        let mut offers = Vec::new();
        for (entry, journey) in saved.waiting {
            if self.has(&entry) || mutation!("broadcaster_waits_for_no_removed") {
                offers.push((entry, journey));
            } else {
                // Who removes a sink that is not ready does not want events to wait for it.
                self.lose(DropReason::Abandoned);
                discard((entry, journey));
            }
        }
        for refused in saved.refused {
            if saved.wait.is_some() {
                // The attempt is still under way.
                rest.refused.push(refused);
            } else if !self.has(&refused.entry) && !mutation!("broadcaster_fails_for_no_removed") {
                // Nor for one that fails.
                discard(refused);
            } else if transient(&refused.error).is_some() {
                let Refused { entry, journey, error } = refused;
                discard(error);
                offers.push((entry, journey));
            } else {
                rest.refused.push(refused);
            }
        }
        for (entry, mut journey) in offers {
            let write = || delivery.fork(&mut journey, |delivery| entry.sink.try_write(event, delivery));
            let answer = contain(write);
            self.note(&entry, answer, journey, &mut rest, delivery);
            discard(entry);
        }
        rest
    }

    /// Whether the sink has not been removed.
    fn has(&self, entry: &Shared<E>) -> bool {
        self.0.read(|list| list.get(entry.id).is_some())
    }

    /// The broadcast's own answer.
    #[cold]
    pub(super) fn conclude(&self, mut rest: Rest<E>, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if let Some(mut wait) = rest.wait {
            discard(self.0.waiting.register(&mut rest.ticket, delivery.waker()));
            // A sink that was removed before the registration has woken nobody.
            if !rest.waiting.iter().all(|(entry, _)| self.has(entry)) && !mutation!("broadcaster_wait_looks_again") {
                wait = wait.earlier(Wait { until: Some(delivery.now()) });
            }
            delivery.save(rest);
            return Err(WriteError::NotReady(wait));
        }
        if rest.refused.is_empty() {
            return Ok(());
        }
        // Nobody waits for a removal.
        rest.ticket = None;
        let refused = rest.refused.iter().map(|refused| (refused.entry.id, refused.error.clone())).collect();
        let failure = RequiredSinkError { refused }.into_failure();
        if failure.class() == Class::Transient {
            delivery.save(rest);
        } else {
            discard(rest);
        }
        Err(WriteError::Failed(failure))
    }

    /// What a sink has answered that is offered the event for the first time, unless that is just yes.
    #[cold]
    fn note_first(
        &self,
        list: &List<E>,
        at: usize,
        answer: Option<Result<(), WriteError>>,
        rest: &mut Option<Box<Rest<E>>>,
        delivery: &mut Delivery<'_>,
    ) {
        let journey = delivery.take_journey();
        self.note(&list.members[at].entry, answer, journey, rest.get_or_insert_default(), delivery);
    }

    /// What one sink has answered; `None` if it panicked. Panics with nothing that is the user's.
    fn note(
        &self,
        entry: &Shared<E>,
        answer: Option<Result<(), WriteError>>,
        mut journey: Journey,
        rest: &mut Rest<E>,
        delivery: &mut Delivery<'_>,
    ) {
        let error = match answer {
            Some(Ok(())) => return discard(journey),
            Some(Err(WriteError::NotReady(wait))) => {
                rest.wait = Some(rest.wait.map_or(wait, |other| other.earlier(wait)));
                rest.waiting.push((entry.clone(), journey));
                return;
            }
            Some(Err(error)) => Some(error),
            None => {
                self.0.limits[1].panicked(&self.0.name, "sink");
                None
            }
        };
        if entry.is_required() {
            let error = error.unwrap_or_else(|| Failure::permanent(SinkPanicked).into());
            match transient(&error) {
                // The next attempt of this branch is not its first.
                Some(failure) => delivery.fork(&mut journey, |delivery| delivery.record(&failure)),
                // It is not called again.
                None => discard(std::mem::take(&mut journey)),
            }
            rest.refused.push(Refused { entry: entry.clone(), journey, error });
        } else {
            discard(journey);
            self.lose(error.map_or(DropReason::Panicked, |error| self.why_lost(entry.id, &error)));
        }
    }

    fn lose(&self, reason: DropReason) {
        lock(&self.0.lost).add(reason, 1);
    }

    fn why_lost(&self, id: SinkId, error: &WriteError) -> DropReason {
        match error {
            WriteError::Closed => {
                // Only the one who really takes it out counts it.
                if matches!(contain(|| self.remove_id(id)), Some(Ok(true))) || mutation!("broadcaster_evicts_once") {
                    self.0.evictions.fetch_add(1, Ordering::Relaxed);
                    self.0.limits[0].evicted(&self.0.name, id);
                }
                DropReason::DestinationClosed
            }
            WriteError::Failed(failure) if failure.class() == Class::Permanent => DropReason::Permanent,
            WriteError::Failed(_) => DropReason::Exhausted,
            WriteError::Full | WriteError::NotReady(_) => DropReason::Overflow,
        }
    }
}
