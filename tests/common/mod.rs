//! What the test files share: a watchdog, concurrent writers, a pool whose time stands still, exact ledgers, and a leaf that
//! keeps its writers waiting.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt::Debug;
use std::io::Write;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use sinkworks::test_util::{Gate, ManualClock, violations};
use sinkworks::{
    CloseError, CloseReport, Delivery, DropReason, EventId, Failure, Journey, Ledger, Pool, Queue, Shutdown, Sink,
    WriteError, sink_fn,
};

/// How long a test may take that could deadlock.
const PATIENCE: Duration = Duration::from_secs(30);

thread_local! {
    static AUDITED: Audited = const { Audited };
}

/// Audits the books of every component when its thread, which is a test's, ends. Every helper here sees to it that there is one, so that no test has to.
struct Audited;

impl Drop for Audited {
    fn drop(&mut self) {
        let violations = if thread::panicking() { Vec::new() } else { violations() };
        if !violations.is_empty() {
            // The test has been told as passed by now: the whole file fails. Past the captured output, which is gone too.
            let text = format!("the books are wrong at the end of a test: {violations:#?}\n");
            std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
            std::process::exit(101);
        }
    }
}

/// Has the calling test audited at its end.
pub(crate) fn audited() {
    AUDITED.with(|_| ());
}

/// Runs `body` on a thread of its own, and fails if it does not end.
pub(crate) fn watched<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    audited();
    let (tell, ended) = mpsc::channel();
    let thread = thread::spawn(move || {
        // Told by its drop too, so that a panic is not taken for a deadlock.
        let _tell: mpsc::Sender<()> = tell;
        body()
    });
    let timed_out = ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
    assert!(!timed_out, "deadlock: not done after {PATIENCE:?}");
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Calls `body` on `n` threads that begin together, and returns when all are done. It gets the number of its thread.
pub(crate) fn concurrently(n: u64, body: impl Fn(u64) + Sync) {
    audited();
    let start = Barrier::new(usize::try_from(n).unwrap());
    thread::scope(|scope| {
        for number in 0..n {
            let (start, body) = (&start, &body);
            // A small stack: some tests have a thousand of them.
            let spawned = thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, move || {
                start.wait();
                body(number);
            });
            spawned.unwrap();
        }
    });
}

/// A pool of one worker whose time stands still, and its clock.
pub(crate) fn still_pool() -> (Pool, ManualClock) {
    audited();
    let clock = ManualClock::new();
    (Pool::builder().threads(1).max_threads(1).clock(clock.clock()).build().unwrap(), clock)
}

/// A pool of one worker.
pub(crate) fn lone_worker() -> Pool {
    audited();
    Pool::dedicated("test").unwrap()
}

/// Holds the worker of a pool of one until the gate that it returns is opened.
pub(crate) fn stall(pool: &Pool) -> Gate {
    let gate = Gate::new();
    let at = gate.clone();
    let block = sink_fn(move |(): &()| {
        at.pass();
        Ok(())
    });
    // Its handle is dropped here: it drains by itself once the gate is open.
    Queue::builder(block).pool(pool).build().unwrap().send(()).unwrap();
    gate.wait_for(1);
    gate
}

/// Checks the ledger of a queue, term by term: what is neither delivered nor in `dropped` must be pending.
#[track_caller]
pub(crate) fn assert_ledger<E: Send + 'static>(
    queue: &Queue<E>,
    accepted: u64,
    delivered: u64,
    dropped: &[(DropReason, u64)],
) {
    assert_books(&queue.ledger(), accepted, delivered, dropped);
}

/// The same for a ledger out of a report.
#[track_caller]
pub(crate) fn assert_books(ledger: &Ledger, accepted: u64, delivered: u64, dropped: &[(DropReason, u64)]) {
    audited();
    assert!(ledger.balances(), "{ledger:?}");
    let expected = |reason| dropped.iter().filter(|(known, _)| *known == reason).map(|(_, n)| n).sum::<u64>();
    let reasons = DropReason::ALL.map(|reason| (reason, ledger.dropped[reason]));
    assert_eq!((ledger.accepted, ledger.delivered), (accepted, delivered), "{ledger:?}");
    assert_eq!(reasons, DropReason::ALL.map(|reason| (reason, expected(reason))));
    let lost = dropped.iter().map(|(_, n)| n).sum::<u64>();
    assert_eq!(ledger.pending, accepted - delivered - lost);
}

/// Closes a sink twice, which is fine, and writes to it, which is not.
#[track_caller]
pub(crate) fn assert_closes<E: ?Sized>(sink: &impl Sink<E>, event: &E) {
    audited();
    for time in ["first", "second"] {
        let answer = sink.close(Shutdown::Drain);
        assert!(answer.is_ok(), "the {time} close: {answer:?}");
    }
    assert_closed(&sink.write(event));
}

#[track_caller]
pub(crate) fn assert_closed<T: Debug>(answer: &Result<T, WriteError>) {
    assert!(matches!(answer, Err(WriteError::Closed)), "expected Closed, got {answer:?}");
}

/// Counts how often it is woken.
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicU64);

impl Bell {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self::default());
        (bell.clone(), bell.into())
    }

    pub(crate) fn rung(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Offers an event to a sink once, on behalf of a driver whose time is `clock`'s.
pub(crate) fn offer<E: ?Sized>(
    sink: &impl Sink<E>,
    event: &E,
    clock: &ManualClock,
    journey: Journey,
) -> (Result<(), WriteError>, Journey) {
    let clock = clock.clock();
    let mut delivery = Delivery::resume_with(Waker::noop(), &clock, EventId(0), journey);
    let answer = sink.try_write(event, &mut delivery);
    (answer, delivery.into_journey())
}

#[derive(Debug, thiserror::Error)]
#[error("refused")]
pub(crate) struct RefusedError;

/// A leaf at which events wait, without a thread, until it is told to serve some. Clones are the same leaf.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk(Arc<Mutex<Counter>>);

#[derive(Debug, Default)]
struct Counter {
    refusing: bool,
    arrived: u64,
    served: u64,
    may_serve: u64,
    waiting: Vec<Waker>,
}

impl Desk {
    /// Refuses what arrives from now on, or not.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.0.lock().unwrap().refusing = refuse;
    }

    /// How many events have come to it, each attempt counted once however long it waits.
    pub(crate) fn arrived(&self) -> u64 {
        self.0.lock().unwrap().arrived
    }

    pub(crate) fn served(&self) -> u64 {
        self.0.lock().unwrap().served
    }

    /// Serves `n` more.
    pub(crate) fn serve(&self, n: u64) {
        let mut counter = self.0.lock().unwrap();
        counter.may_serve += n;
        let waiting = std::mem::take(&mut counter.waiting);
        drop(counter);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl<E: ?Sized> Sink<E> for Desk {
    fn try_write(&self, _: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let mut counter = self.0.lock().unwrap();
        if delivery.resume::<()>().is_none() {
            counter.arrived += 1;
        }
        if counter.refusing {
            return Err(Failure::transient(RefusedError).into());
        }
        if counter.may_serve > 0 {
            counter.may_serve -= 1;
            counter.served += 1;
            return Ok(());
        }
        counter.waiting.push(delivery.waker());
        delivery.save(());
        Err(WriteError::not_ready_until_woken())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
}
