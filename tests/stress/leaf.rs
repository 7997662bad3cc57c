//! The destination that tells what it was given, and misbehaves in one of several ways.

use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use sinkworks::{CloseError, CloseReport, Delivery, Failure, Shutdown, Sink, SinkId, WriteError};

/// What it does with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Takes,
    /// Takes a while for it.
    Slow,
    /// The first time it answers that it is not ready, and wakes at once.
    Rings,
    /// The first time it answers that it is not ready for some microseconds.
    Later,
    /// Every other event is refused once in a transient way.
    Stumbles,
    /// Takes that many and then answers that it is closed.
    Ends(u64),
}

impl Manner {
    pub(crate) const ALL: [Self; 6] =
        [Self::Takes, Self::Slow, Self::Rings, Self::Later, Self::Stumbles, Self::Ends(2)];

    pub(crate) fn any(rng: &mut Rng) -> Self {
        // Half of the time nothing is the matter.
        if rng.bool() { Self::Takes } else { Self::ALL[rng.usize(..Self::ALL.len())] }
    }
}

pub(crate) struct Leaf {
    pub(crate) manner: Manner,
    pub(crate) id: SinkId,
    seen: Mutex<Vec<u64>>,
    offers: AtomicU64,
    /// Offers that were answered with a failure or with `Closed`.
    refused: AtomicU64,
    closed: AtomicBool,
    busy: AtomicBool,
    /// Two writes at the same moment.
    overlapped: AtomicBool,
}

impl Leaf {
    pub(crate) fn new(manner: Manner) -> Arc<Self> {
        Arc::new(Self {
            manner,
            id: SinkId::unique(),
            seen: Mutex::default(),
            offers: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            overlapped: AtomicBool::new(false),
        })
    }

    /// What it has taken, in order.
    pub(crate) fn seen(&self) -> Vec<u64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn overlapped(&self) -> bool {
        self.overlapped.load(Ordering::Acquire)
    }

    fn refuse(&self, error: WriteError) -> Result<(), WriteError> {
        self.refused.fetch_add(1, Ordering::AcqRel);
        Err(error)
    }

    /// Whether what it does with an event is the same with a batch: the others refuse single events.
    pub(crate) fn takes_batches(&self) -> bool {
        matches!(self.manner, Manner::Takes | Manner::Slow | Manner::Rings | Manner::Later)
    }

    fn take(&self, events: &[u64], delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.closed.load(Ordering::Acquire) {
            return self.refuse(WriteError::Closed);
        }
        match self.manner {
            Manner::Takes => {}
            Manner::Slow => (0..200).for_each(|_| hint::spin_loop()),
            Manner::Rings | Manner::Later => {
                if delivery.resume::<()>().is_none() && !delivery.is_last_offer() {
                    delivery.save(());
                    if self.manner == Manner::Later {
                        return Err(WriteError::not_ready_until(delivery.now() + Duration::from_micros(20)));
                    }
                    delivery.waker().wake();
                    return Err(WriteError::not_ready_until_woken());
                }
            }
            Manner::Stumbles => {
                if self.offers.fetch_add(1, Ordering::AcqRel) % 2 == 0 {
                    return self.refuse(Failure::transient("stumbled").into());
                }
            }
            Manner::Ends(after) => {
                if self.offers.fetch_add(1, Ordering::AcqRel) >= after {
                    return self.refuse(WriteError::Closed);
                }
            }
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(events);
        Ok(())
    }
}

impl Leaf {
    fn offer(&self, events: &[u64], delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.busy.swap(true, Ordering::AcqRel) {
            self.overlapped.store(true, Ordering::Release);
        }
        let answer = self.take(events, delivery);
        self.busy.store(false, Ordering::Release);
        answer
    }
}

impl Sink<u64> for Leaf {
    fn try_write(&self, event: &u64, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.offer(std::slice::from_ref(event), delivery)
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.closed.store(true, Ordering::Release);
        Poll::Ready(Ok(CloseReport::new()))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }
}

/// The same for batches.
pub(crate) struct Slices(pub(crate) Arc<Leaf>);

impl Sink<[u64]> for Slices {
    fn try_write(&self, events: &[u64], delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.0.offer(events, delivery)
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.0.id)
    }
}
