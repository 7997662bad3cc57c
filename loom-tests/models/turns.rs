//! What a queue's turns do besides delivering: hand over when the budget is spent, hold an event until a timer or a waker, and feed another queue. The real queue, pool and keeper. A budget is two events here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use loom::thread;

use super::queue::{Bell, close};
use super::{Model, mutation};
use crate::clock::{Clock, ManualTime};
use crate::delivery::Delivery;
use crate::error::{CloseError, Wait, WriteError};
use crate::intake::entrance::Overflow;
use crate::pool::Pool;
use crate::queue::Queue;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, sink_fn};
use crate::sync::atomic::{AtomicBool, AtomicUsize, fence};
use crate::wakers::WaitList;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "turn_budget_is_spent",
        preemptions: Some(2),
        run: budget_is_spent,
        mutations: &[mutation("queue_spent_is_done")],
    },
    Model {
        name: "turn_hold_against_waker",
        preemptions: Some(2),
        run: hold_against_waker,
        mutations: &[mutation("queue_hold_ignores_wake")],
    },
    Model {
        name: "turn_timer_against_write_against_room",
        // A pool with its keeper: one preemption, and every order of who runs when another waits.
        preemptions: Some(1),
        run: timer_against_write_against_room,
        mutations: &[mutation("keeper_timer_unparks"), mutation("room_line_recheck")],
    },
    Model {
        name: "turn_chained_close",
        preemptions: Some(1),
        run: chained_close,
        mutations: &[mutation("queue_end_wakes_closers")],
    },
];

/// A pool whose workers the model runs.
struct Threads {
    pool: Pool,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Threads {
    fn new(workers: usize, clock: Clock) -> Self {
        let pool = Pool::for_model(workers, clock);
        let threads = (0..workers).map(|place| {
            let pool = pool.clone();
            thread::spawn(move || pool.work(place))
        });
        Self { threads: threads.collect(), pool }
    }

    fn with_keeper(mut self) -> Self {
        let pool = self.pool.clone();
        self.threads.push(thread::spawn(move || pool.keep()));
        self
    }

    fn finish(self) {
        self.pool.stop_for_model();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Counts what it gets, and rings.
#[derive(Default)]
struct Count {
    delivered: AtomicU64,
    bell: Arc<Bell>,
    inside: AtomicBool,
}

impl Count {
    fn deliver(&self) {
        assert!(!self.inside.swap(true, Ordering::Relaxed), "two turns at once");
        self.inside.store(false, Ordering::Relaxed);
        self.delivered.fetch_add(1, Ordering::Relaxed);
        self.bell.wake_by_ref();
    }

    fn wait_for(&self, delivered: u64) {
        while self.delivered.load(Ordering::Relaxed) < delivered {
            self.bell.wait();
        }
    }
}

fn queue(pool: &Pool, sink: impl Sink<u32> + 'static) -> Queue<u32> {
    Queue::builder(sink).name("model").pool(pool).build().unwrap()
}

fn counting(count: &Arc<Count>) -> impl Sink<u32> + use<> {
    let count = count.clone();
    sink_fn(move |_: &u32| {
        count.deliver();
        Ok(())
    })
}

/// A turn whose budget is spent is followed by another, or goes idle in one.
fn budget_is_spent() {
    let threads = Threads::new(1, Clock::system());
    let count = Arc::new(Count::default());
    let queue = queue(&threads.pool, counting(&count));
    queue.send(1).unwrap();
    queue.send(2).unwrap();
    count.wait_for(2);
    queue.send(3).unwrap();
    count.wait_for(3);
    threads.finish();
}

/// A sink that is not ready until its gate is open, and then wakes who has asked.
#[derive(Default)]
struct Gate {
    open: AtomicUsize,
    waiting: Arc<WaitList>,
    count: Count,
}

impl Gate {
    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) != 0
    }

    fn open(&self) {
        self.open.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.waiting.wake_all();
    }
}

struct Gated(Arc<Gate>);

impl Sink<u32> for Gated {
    fn try_write(&self, _: &u32, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if !self.0.is_open() {
            let mut ticket = None;
            drop(self.0.waiting.register(&mut ticket, delivery.waker()));
            if !self.0.is_open() {
                delivery.save(ticket);
                return Err(WriteError::NotReady(Wait { until: None }));
            }
        }
        self.0.count.deliver();
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> std::task::Poll<Result<CloseReport, CloseError>> {
        std::task::Poll::Ready(Ok(CloseReport::new()))
    }
}

/// The turn holds an event while the sink's waker wakes it and another event is written.
fn hold_against_waker() {
    let threads = Threads::new(1, Clock::system());
    let gate = Arc::new(Gate::default());
    let queue = queue(&threads.pool, Gated(gate.clone()));
    queue.send(1).unwrap();
    let opener = {
        let gate = gate.clone();
        thread::spawn(move || gate.open())
    };
    queue.send(2).unwrap();
    gate.count.wait_for(2);
    opener.join().unwrap();
    threads.finish();
}

/// Ready from a time on.
struct Later(Instant, Arc<Count>);

impl Sink<u32> for Later {
    fn try_write(&self, _: &u32, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if delivery.now() < self.0 {
            return Err(WriteError::NotReady(Wait { until: Some(self.0) }));
        }
        self.1.deliver();
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> std::task::Poll<Result<CloseReport, CloseError>> {
        std::task::Poll::Ready(Ok(CloseReport::new()))
    }
}

/// The first event waits for a time, the second for room behind it; the time comes.
fn timer_against_write_against_room() {
    let time = ManualTime::new();
    let clock = time.clock();
    let threads = Threads::new(1, clock.clone()).with_keeper();
    let count = Arc::new(Count::default());
    let sink = Later(clock.now() + Duration::from_secs(1), count.clone());
    let builder = Queue::builder(sink).name("model").pool(&threads.pool);
    let queue = builder.capacity(1).overflow(Overflow::Block).build().unwrap();
    queue.send(1).unwrap();
    time.advance(Duration::from_secs(1));
    // Waits for the room that the timer makes.
    queue.send(2).unwrap();
    count.wait_for(2);
    threads.finish();
}

/// A full queue before a full queue, and a close of the first that reaches the second: every event arrives, and both end.
fn chained_close() {
    let threads = Threads::new(1, Clock::system());
    let count = Arc::new(Count::default());
    let bounded = |builder: crate::queue::QueueBuilder<u32>| {
        builder.name("model").capacity(1).pool(&threads.pool).build().unwrap()
    };
    let second = bounded(Queue::builder(counting(&count)));
    let first = bounded(Queue::builder(second));
    first.send(1).unwrap();
    let writer = {
        let first = first.clone();
        thread::spawn(move || u64::from(first.send(2).is_ok()))
    };
    let report = close(&first, Shutdown::Drain);
    let accepted = 1 + writer.join().unwrap();
    assert_eq!((report.dropped(), report.in_flight()), (0, 0));
    assert_eq!(count.delivered.load(Ordering::Relaxed), accepted);
    threads.finish();
}
