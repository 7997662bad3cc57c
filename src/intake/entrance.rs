//! How a writer gets a place: at once, in line for it, or not at all. Shared by queues and channels.

use std::fmt;
use std::sync::Arc;

use super::Intake;
use crate::block;
use crate::delivery::Delivery;
use crate::error::{BuildError, WriteError};
use crate::sync::atomic::{Ordering, fence};
use crate::wakers::{Ticket, WaitList};

/// The largest bound: what the words can count.
const MAX_CAPACITY: u64 = 1 << 62;

/// What a bounded queue or channel does with a write that finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The writer waits for room: a blocking `write` parks, `try_write` answers [`WriteError::NotReady`]. Writers in line get room in the
    /// order they came, as far as no other comes in between. Closing frees them.
    #[default]
    Block,
    /// The write is refused with [`WriteError::Full`].
    Reject,
}

/// Why a writer may not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Closed,
    Full,
}

pub(crate) fn check_capacity(capacity: Option<u64>) -> Result<(), BuildError> {
    match capacity {
        Some(0) => Err(BuildError::Zero { option: "capacity" }),
        Some(value) if value > MAX_CAPACITY => {
            Err(BuildError::TooLarge { option: "capacity", value, max: MAX_CAPACITY })
        }
        _ => Ok(()),
    }
}

/// An intake with a line in front.
#[derive(Debug)]
pub(crate) struct Entrance<E, N = ()> {
    pub(crate) intake: Intake<E, N>,
    /// Writers that wait for room.
    line: Arc<WaitList>,
    overflow: Overflow,
}

impl<E, N> Entrance<E, N> {
    /// `beside` is what writers touch with every event.
    pub(crate) fn new(capacity: Option<u64>, overflow: Overflow, beside: N) -> Self {
        Self { intake: Intake::new(capacity, beside), line: Arc::default(), overflow }
    }

    /// Takes a place, parking in line for it unless on a pool thread. The caller pushes next.
    #[inline]
    pub(crate) fn enter(&self) -> Result<(), WriteError> {
        match self.intake.enter() {
            Ok(()) => Ok(()),
            Err(Refused::Closed) => Err(WriteError::Closed),
            Err(Refused::Full) => self.enter_parking(),
        }
    }

    #[cold]
    fn enter_parking(&self) -> Result<(), WriteError> {
        block::write(|delivery| self.reserve(delivery.resume().flatten(), delivery))
    }

    /// Makes an event and takes a place for it. In this order: a `make` that panics takes no place with it. A full intake makes none.
    #[inline]
    pub(crate) fn enter_with(&self, delivery: &mut Delivery<'_>, make: impl FnOnce() -> E) -> Result<E, WriteError> {
        let ticket = match self.intake.capacity() {
            None => None,
            Some(_) if self.intake.is_closed() => return Err(WriteError::Closed),
            Some(_) => self.find_room(delivery.resume().flatten(), delivery)?,
        };
        let event = make();
        self.reserve(ticket, delivery)?;
        Ok(event)
    }

    /// Takes a place, or one in the line for it.
    #[inline]
    fn reserve(&self, mut ticket: Option<Ticket>, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        loop {
            match self.intake.enter() {
                Ok(()) => {
                    ticket.into_iter().for_each(Ticket::spend);
                    return Ok(());
                }
                Err(Refused::Closed) => return Err(WriteError::Closed),
                Err(Refused::Full) => ticket = self.find_room(ticket, delivery)?,
            }
        }
    }

    /// Goes on if there is room now, and otherwise does what the overflow policy says.
    fn find_room(&self, mut ticket: Option<Ticket>, delivery: &mut Delivery<'_>) -> Result<Option<Ticket>, WriteError> {
        if self.intake.is_full() {
            if self.overflow == Overflow::Reject {
                return Err(WriteError::Full);
            }
            drop(self.line.register(&mut ticket, delivery.waker()));
            // Room, or a close, that came before the registration has woken nobody.
            if self.intake.is_full() && !self.intake.is_closed() {
                delivery.save(ticket);
                return Err(WriteError::not_ready_until_woken());
            }
        }
        Ok(ticket)
    }

    /// An event has left: lets the next in line try.
    #[inline]
    pub(crate) fn free_room(&self) {
        if self.intake.capacity().is_some() {
            // Pairs with the fence in `WaitList::register`: either the writer sees the room, or this sees the writer.
            fence(Ordering::SeqCst);
            if !self.line.is_empty() {
                self.line.wake(1);
            }
        }
    }

    /// Accepts nothing from now on, and tells those in line.
    pub(crate) fn close(&self) {
        self.intake.close();
        self.line.wake_all();
    }
}

/// A `send` that did not succeed, with the event.
#[derive(thiserror::Error)]
#[error("{error}")]
pub struct SendError<E> {
    /// The event, unchanged.
    pub event: E,
    /// Why.
    #[source]
    pub error: WriteError,
}

/// Without the event: what it contains is not for logs.
impl<E> fmt::Debug for SendError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("error", &self.error).finish_non_exhaustive()
    }
}
