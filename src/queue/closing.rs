//! How a queue closes: it accepts nothing more, what is there leaves, its destination closes, and then it has a report.
//!
//! **Cycles.** A destination may lead back to its queue, as where a queue feeds the broadcaster in front of it. Its close must not wait for itself.
//! So each thread knows the queues whose destination it is asking to close, each of them below the one before. A queue that is asked while it is among
//! them answers [`CloseError::Cycle`], which goes up to where the thread began. The first of these queues has nothing to wait for but itself, and ends. The
//! others do not end by that answer: once the first has its report they are woken, and ask again. One that has nothing to do but to wait for its
//! destination passes the question on, on the asker's thread: in a cycle of several queues nobody else would.

use std::cell::RefCell;
use std::sync::{Arc, TryLockError};
use std::task::{Poll, Waker};

use super::mailbox::{Drain, Mailbox};
use crate::contain::contain;
use crate::error::CloseError;
use crate::ledger::Ledger;
use crate::shutdown::{CloseReport, ComponentReport, Shutdown};
use crate::sink::SinkId;
use crate::sync::{Mutex, lock, mutation, thread_local};
use crate::wakers::Wakers;

/// How far the close is, and who waits for it.
#[derive(Default)]
pub(super) struct Closing {
    state: Mutex<State>,
    closers: Wakers,
    aborting: Mutex<()>,
}

#[derive(Default)]
struct State {
    how: Option<Shutdown>,
    report: Option<CloseReport>,
}

impl Closing {
    /// Everyone who waits for the close looks again.
    pub(super) fn wake_closers(&self) {
        self.closers.wake_all();
    }

    /// What the report says of the queue itself.
    #[cfg(feature = "test-util")]
    pub(super) fn reported(&self, queue: SinkId) -> Option<Ledger> {
        let state = lock(&self.state);
        Some(state.report.as_ref()?.component(queue)?.ledger)
    }
}

impl<E: Send + 'static> Mailbox<E> {
    /// How the mailbox is closing, if it is. A deadline that has passed is an abort.
    pub(super) fn how(&self) -> Option<Shutdown> {
        let how = lock(&self.begun_closing()?.state).how;
        how.map(|how| self.effective(how))
    }

    fn effective(&self, how: Shutdown) -> Shutdown {
        match how {
            Shutdown::Until(at) if self.clock().now() >= at => Shutdown::Abort,
            how => how,
        }
    }

    /// Accepts nothing any more, and closes at least as strictly as `how` says.
    pub(super) fn begin_close(&self, how: Shutdown) {
        let (before, now) = {
            let mut closing = lock(&self.closing().state);
            let before = closing.how;
            let now = before.map_or(how, |before| before.escalate(how));
            closing.how = Some(now);
            (before, now)
        };
        self.entrance.close();
        // The begin, and each time it becomes stricter.
        if cfg!(feature = "tracing") && before != Some(now) {
            self.limits.close.closing(&self.name, now, self.ledger().pending);
        }
    }

    /// The last handle has gone: drain, with nobody waiting.
    pub(super) fn detach(&self) {
        self.begin_close(Shutdown::Drain);
        self.wake_by_ref();
    }

    pub(super) fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.begin_close(self.effective(how));
        {
            // Registered under the lock that the report is put in under: either it is there, or this waker is woken.
            let closing = lock(&self.closing().state);
            if let Some(report) = &closing.report {
                return Poll::Ready(Ok(report.clone()));
            }
            if mutation!("queue_closer_registers_late") {
                drop(closing);
            }
            self.closing().closers.register(waker);
        }
        if Asking::has(self.sink_id()) && !mutation!("cycle_is_seen") {
            return Poll::Ready(Err(CloseError::Cycle(CloseReport::new())));
        }
        let how = self.how().unwrap_or(how);
        if how == Shutdown::Abort {
            return self.abort();
        }
        if Asking::is_nested() && self.entrance.intake.is_drained() && !mutation!("cycle_question_is_passed_on") {
            let answer = self.close_destination(how);
            if answer.is_ready() {
                return answer;
            }
        }
        if !mutation!("queue_close_wakes") {
            self.wake_by_ref();
        }
        Poll::Pending
    }

    /// Everything has left: closes the destination, and ends when it has closed.
    pub(super) fn close_drained(&self, drain: &mut Drain<E>) -> Poll<()> {
        if self.has_ended() && !mutation!("queue_ends_once") {
            return Poll::Ready(());
        }
        let answer = self.close_destination(self.how().unwrap_or(Shutdown::Drain));
        if answer.is_pending() {
            self.set_timer(drain, None);
        }
        answer.map(drop)
    }

    fn close_destination(&self, how: Shutdown) -> Poll<Result<CloseReport, CloseError>> {
        self.poll_destination(how).map(|answer| self.conclude(answer, self.ledger()))
    }

    /// Ends on the closer's thread, without a worker: all of them may be blocked.
    fn abort(&self) -> Poll<Result<CloseReport, CloseError>> {
        // One closer at a time; the others are woken when it has ended.
        let aborting = self.closing().aborting.try_lock();
        if aborting.is_err() && !mutation!("queue_one_closer_aborts") {
            return Poll::Pending;
        }
        let left = self.entrance.intake.abort();
        #[cfg(feature = "test-util")]
        let auditing = self.auditing.lock();
        let turn_runs = match self.drain().try_lock() {
            Ok(mut drain) => {
                self.abandon(&mut drain);
                false
            }
            Err(TryLockError::Poisoned(drain)) => {
                self.abandon(&mut drain.into_inner());
                false
            }
            // Perhaps inside the sink, where nobody can interrupt it.
            Err(TryLockError::WouldBlock) => true,
        };
        #[cfg(feature = "test-util")]
        drop(auditing);
        let answer = self.poll_destination(Shutdown::Abort);
        // A turn that was running goes on to abandon the rest; an event that a writer has not pushed yet is abandoned when it is.
        if !mutation!("queue_abort_wakes_the_turn") {
            self.wake_by_ref();
        }
        let Poll::Ready(answer) = answer else { return Poll::Pending };
        // Asked before the counts are read: what is pending after a yes stays undelivered.
        let quiet = self.entrance.intake.is_quiet();
        let (ledger, left_now) = self.entrance.ledger_and_left();
        // Since the abort, only what was in flight then can have left otherwise than abandoned.
        let may_be = turn_runs && !quiet && !mutation!("queue_abort_knows_what_is_in_flight");
        let in_flight = match &self.batches {
            Some(batches) if may_be => batches.in_flight(left_now),
            _ => u64::from(may_be && left_now == left),
        };
        Poll::Ready(self.conclude(answer, ledger.abandoning(in_flight)))
    }

    fn poll_destination(&self, how: Shutdown) -> Poll<Result<CloseReport, CloseError>> {
        let poll = || {
            let _asking = Asking::begin(self.sink_id());
            self.sink.poll_close(how, &self.waker)
        };
        contain(poll).unwrap_or(Poll::Ready(Err(CloseError::Panicked)))
    }

    /// The destination has answered. If it waits for a queue further up, this one does too.
    fn conclude(&self, answer: Result<CloseReport, CloseError>, ledger: Ledger) -> Result<CloseReport, CloseError> {
        match answer {
            Err(CloseError::Cycle(mut report)) if Asking::is_nested() && !mutation!("cycle_answer_goes_up") => {
                report.insert(self.sink_id(), ComponentReport { name: Arc::clone(&self.name), ledger });
                Err(CloseError::Cycle(report))
            }
            answer => Ok(self.end(answer, ledger)),
        }
    }

    /// Keeps the report, unless there is one already, and wakes the closers.
    fn end(&self, destination: Result<CloseReport, CloseError>, ledger: Ledger) -> CloseReport {
        let mut closing = lock(&self.closing().state);
        let is_first = closing.report.is_none();
        let report = closing.report.get_or_insert_with(|| {
            let mut report = CloseReport::new();
            report.absorb(self.sink.id(), destination);
            report.insert(self.sink_id(), ComponentReport { name: Arc::clone(&self.name), ledger });
            report
        });
        let report = report.clone();
        drop(closing);
        if is_first {
            self.limits.close.closed(&self.name, &ledger);
        }
        if !mutation!("queue_end_wakes_closers") {
            self.closing().wake_closers();
        }
        report
    }

    pub(super) fn has_ended(&self) -> bool {
        self.begun_closing().is_some_and(|closing| lock(&closing.state).report.is_some())
    }
}

thread_local! {
    static ASKING: RefCell<Vec<SinkId>> = RefCell::default();
}

/// A queue whose destination this thread asks to close, until it is dropped.
struct Asking;

impl Asking {
    fn begin(queue: SinkId) -> Self {
        ASKING.with(|asking| asking.borrow_mut().push(queue));
        Self
    }

    fn is_nested() -> bool {
        ASKING.with(|asking| !asking.borrow().is_empty())
    }

    fn has(queue: SinkId) -> bool {
        ASKING.with(|asking| asking.borrow().contains(&queue))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.with(|asking| asking.borrow_mut().pop());
    }
}
