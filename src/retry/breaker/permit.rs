//! What a breaker remembers about one event.

use std::fmt;
use std::sync::Arc;

use super::machine::Machine;
use crate::wakers::Ticket;

/// What the breaker remembers about an event: its place among the held, or its lease as a probe.
#[derive(Debug, Default)]
pub struct Permit {
    pub(super) place: Option<Place>,
    pub(super) lease: Option<Lease>,
}

impl Permit {
    pub(super) fn key(&self) -> Option<u64> {
        self.place.as_ref()?.ticket.as_ref().map(Ticket::key)
    }

    /// The attempt may be made. Not to be called under the breaker's lock: a waker is dropped here.
    pub(super) fn pass(&mut self, lease: Option<Lease>) {
        if let Some(ticket) = self.place.take().and_then(|mut place| place.ticket.take()) {
            ticket.spend();
        }
        self.lease = lease;
    }
}

/// A place among the held. Given up, it lets another be told the time in its stead.
pub(super) struct Place {
    pub(super) ticket: Option<Ticket>,
    pub(super) breaker: Arc<Machine>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let key = ticket.key();
            // Out of the list first, so that it is not this one that is woken.
            drop(ticket);
            self.breaker.replace_herald(key);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ticket.fmt(f)
    }
}

/// A probe's right to be made. Dropped without an answer, it is given back.
pub(super) struct Lease {
    breaker: Option<Arc<Machine>>,
    id: u64,
}

impl Lease {
    pub(super) fn new(breaker: Arc<Machine>, id: u64) -> Self {
        Self { breaker: Some(breaker), id }
    }

    /// The probe has its answer: nothing is given back.
    pub(super) fn answered(mut self) -> u64 {
        self.breaker = None;
        self.id
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(breaker) = self.breaker.take() {
            breaker.lose(self.id);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({})", self.id)
    }
}
