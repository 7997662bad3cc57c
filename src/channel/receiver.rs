//! The reader's side of a channel.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::lag::Next;
use crate::block;
use crate::clock::saturating_add;
use crate::ledger::Ledger;
use crate::sync::atomic::{Ordering, fence};
use crate::sync::{mutation, now};
use crate::wakers::Ticket;

/// Why nothing was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing is there now, or nothing came in time.
    #[error("the channel is empty")]
    Empty,
    /// Nothing is there and nothing will come.
    #[error("the channel is closed")]
    Closed,
    /// This many events are missing here: the channel was full, and its policy is to drop. The next call goes on with the events after them. Every dropped event is told
    /// once, to one receiver.
    #[error("{0} events were missed")]
    Lagged(u64),
    /// Nothing is there and nothing will come, since the channel was full and its policy is to disconnect. So many writes have been refused so far.
    #[error("cut off for being too slow: {0} writes were refused")]
    CutOff(u64),
}

/// Takes events out of a [`Channel`](crate::Channel). Shared by reference, several threads may receive: each event goes to one of them.
///
/// It blocks its thread: inside a sink, that is a pool thread.
pub struct Receiver<E: Send + 'static> {
    pub(super) shared: Arc<Shared<E>>,
}

impl<E: Send + 'static> Receiver<E> {
    /// Takes the next event if one is there.
    ///
    /// # Errors
    ///
    /// Each of [`RecvError`].
    pub fn try_recv(&self) -> Result<E, RecvError> {
        self.shared.try_recv()
    }

    /// Takes the next event, parking until there is one.
    ///
    /// # Errors
    ///
    /// Each of [`RecvError`] but `Empty`.
    pub fn recv(&self) -> Result<E, RecvError> {
        self.recv_until(None)
    }

    /// Takes the next event, parking for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] if none came in time, or another.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<E, RecvError> {
        self.recv_until(Some(saturating_add(now(), timeout)))
    }

    fn recv_until(&self, until: Option<Instant>) -> Result<E, RecvError> {
        let mut ticket: Option<Ticket> = None;
        loop {
            match self.try_recv() {
                Err(RecvError::Empty) => {}
                answer => {
                    if let Some(ticket) = ticket {
                        ticket.spend();
                        // The wake for another event may have come here while this one was on its way: hand it on.
                        if !self.shared.entrance.intake.is_empty() && !mutation!("channel_wake_handed_on") {
                            self.shared.wake_next();
                        }
                    }
                    return answer;
                }
            }
            if ticket.as_ref().is_some_and(|ticket| ticket.is_waiting() || mutation!("channel_reader_registers_again"))
            {
                if until.is_some_and(|until| now() >= until) {
                    return Err(RecvError::Empty);
                }
                block::park(until);
            } else {
                // Then it looks once more before it parks. Not registered again before it has looked after a wake.
                drop(self.shared.readers.register(&mut ticket, block::thread_waker()));
                if mutation!("channel_reader_looks_again") {
                    block::park(until);
                }
            }
        }
    }

    /// The events until the channel is closed, parking for each. It passes over what was missed: [`recv`](Self::recv) tells that, and so does the
    /// [`ledger`](Self::ledger).
    pub fn iter(&self) -> Iter<'_, E> {
        Iter { receiver: self }
    }

    /// Everything that the channel accepted so far and what became of it.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger()
    }
}

impl<E: Send> Shared<E> {
    fn try_recv(&self) -> Result<E, RecvError> {
        let intake = &self.entrance.intake;
        let next = match &self.lag {
            Some(lag) if mutation!("channel_lag_one_step") => lag.next(intake),
            Some(lag) => self.entrance.drops.step(|_| lag.next(intake)),
            None => match intake.pop() {
                Some(parcel) => {
                    intake.leave(parcel.note);
                    Next::Event(parcel.event)
                }
                None if intake.is_drained_for_good() && !mutation!("channel_end_is_told") => Next::End,
                None => Next::Nothing,
            },
        };
        let event = match next {
            Next::Event(event) => event,
            Next::Missed(events) => return Err(RecvError::Lagged(events)),
            Next::Nothing => return Err(RecvError::Empty),
            Next::End => return Err(self.end()),
        };
        #[cfg(feature = "test-util")]
        {
            *crate::sync::lock(&self.received) += 1;
        }
        self.entrance.free_room();
        if intake.is_drained() {
            // The last event has left after the close: other readers have seen neither an event nor the end. Needs no fence: both this and a
            // reader that registers take the list's lock.
            if !mutation!("channel_end_wakes") {
                self.readers.wake_all();
            }
        }
        Ok(event)
    }

    /// Why nothing will come.
    fn end(&self) -> RecvError {
        if self.entrance.is_cut_off() { RecvError::CutOff(self.entrance.intake.refusals()) } else { RecvError::Closed }
    }
}

impl<E: Send + 'static> Drop for Receiver<E> {
    fn drop(&mut self) {
        if !mutation!("channel_gone_closes") {
            self.shared.close();
        }
        self.shared.entrance.intake.beside().store(1, Ordering::Relaxed);
        // Pairs with the fence of a push: either that writer sees that nobody receives any more, or its event is found here.
        if !mutation!("channel_gone_fence") {
            fence(Ordering::SeqCst);
        }
        if mutation!("channel_gone_discards") {
            return;
        }
        self.shared.discard();
    }
}

impl<E: Send + 'static> fmt::Debug for Receiver<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("name", &self.shared.name)
            .field("ledger", &self.ledger())
            .finish_non_exhaustive()
    }
}

/// The events of a [`Receiver`], by [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, E: Send + 'static> {
    receiver: &'a Receiver<E>,
}

impl<E: Send + 'static> Iterator for Iter<'_, E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        loop {
            match self.receiver.recv() {
                Err(RecvError::Lagged(_)) => {}
                answer => return answer.ok(),
            }
        }
    }
}

impl<'a, E: Send + 'static> IntoIterator for &'a Receiver<E> {
    type Item = E;
    type IntoIter = Iter<'a, E>;

    fn into_iter(self) -> Iter<'a, E> {
        self.iter()
    }
}
