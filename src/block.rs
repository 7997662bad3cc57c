//! The blocking forms: a thread that parks until a sink is ready or closed.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::clock::saturating_add;
use crate::delivery::Delivery;
use crate::error::{CloseError, Wait, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sync::{Unparker, mutation, now, scoped_thread_local, thread_local};

/// How long after its deadline a waiting `close` leaves the pool to end by itself before it aborts on its own thread, and
/// then how long it waits for a sink below that does not answer. The pool needs well under a millisecond when it has a free thread.
const GRACE: Duration = Duration::from_millis(20);

/// When an event that a pool thread wrote in vain is offered again. What the sinks below had saved, a place in line included, is gone by then, so nobody
/// else tells its holder. Long enough that a queue which waits like this costs next to nothing; what it waits for seldom comes sooner.
const AGAIN: Duration = Duration::from_millis(1);

struct Unpark(Unparker);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Arc::new(Unpark(Unparker::new())).into();
    static ON_WORKER: Cell<bool> = Cell::default();
}

scoped_thread_local! {
    /// On a pool thread, the waker of the mailbox whose turn it is: by reference, since counting one would write to a cache line at
    /// every turn that writers may need.
    static TURN: Waker
}

/// Marks the calling thread as one of a pool, for its whole life.
pub(crate) fn enter_worker() {
    ON_WORKER.with(|on_worker| on_worker.set(true));
}

/// Whether the calling thread is one of a pool, which must not wait for what it may have to do itself.
pub(crate) fn on_worker() -> bool {
    ON_WORKER.with(Cell::get)
}

/// Runs `turn` with `waker` as what a blocking call inside it has woken.
pub(crate) fn in_turn<R>(waker: &Waker, turn: impl FnOnce() -> R) -> R {
    TURN.set(waker, turn)
}

/// Whether the calling thread is in the turn that runs with `waker`.
pub(crate) fn is_turn_of(waker: &Waker) -> bool {
    TURN.is_set() && TURN.with(|turn| turn.will_wake(waker))
}

/// What wakes the calling thread, or on a pool thread the mailbox whose turn it is.
pub(crate) fn waker() -> Waker {
    if TURN.is_set() { TURN.with(Waker::clone) } else { thread_waker() }
}

/// What unparks the calling thread.
pub(crate) fn thread_waker() -> Waker {
    WAKER.with(Waker::clone)
}

/// Offers an event until it is taken, parking in between. On a pool thread it is offered once: the holder is asked to try again by itself.
pub(crate) fn write<T>(mut offer: impl FnMut(&mut Delivery<'_>) -> Result<T, WriteError>) -> Result<T, WriteError> {
    let mut delivery = Delivery::from_thread();
    loop {
        match offer(&mut delivery) {
            Ok(answer) => return Ok(answer),
            Err(WriteError::NotReady(wait)) if !on_worker() || mutation!("write_parks_no_worker") => park(wait.until),
            Err(WriteError::NotReady(wait)) => {
                // By the system's clock, since none is at hand here. On a pool whose clock is manual that time may be over already, or not
                // come before the clock is advanced.
                let again = Wait { until: Some(saturating_add(now(), AGAIN)) };
                return Err(WriteError::NotReady(wait.earlier(again)));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Polls a close until it is ready, parking in between.
pub(crate) fn close(
    mut how: Shutdown,
    mut poll: impl FnMut(Shutdown, &Waker) -> Poll<Result<CloseReport, CloseError>>,
) -> Result<CloseReport, CloseError> {
    let waker = waker();
    let deadline = match how {
        Shutdown::Until(at) => Some(saturating_add(at, GRACE)),
        Shutdown::Drain | Shutdown::Abort => None,
    };
    loop {
        if let Poll::Ready(answer) = poll(how, &waker) {
            return answer;
        }
        if on_worker() && !mutation!("close_parks_no_worker") {
            return Err(CloseError::OnWorker);
        }
        // The deadline of this caller, whatever others asked for.
        let aborting = how == Shutdown::Abort;
        let until = deadline.map(|at| if aborting { saturating_add(at, GRACE) } else { at });
        park(until);
        if until.is_some_and(|at| now() >= at) {
            if aborting {
                return Err(CloseError::TimedOut);
            }
            how = Shutdown::Abort;
        }
    }
}

pub(crate) fn park(until: Option<Instant>) {
    crate::sync::park(until.map(|at| at.saturating_duration_since(now())));
}
