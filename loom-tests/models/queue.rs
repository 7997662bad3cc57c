//! The queue: the real `Queue`, mailbox, turn and pool, with a worker that the model runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Wake, Waker};

use loom::sync::Condvar;
use loom::thread;

use super::{Model, mutation};
use crate::clock::Clock;
use crate::intake::entrance::Overflow;
use crate::pool::Pool;
use crate::queue::{Queue, QueueBuilder};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, sink_fn};
use crate::sync::{Mutex, lock};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "queue_two_writers",
        preemptions: Some(2),
        run: two_writers,
        mutations: &[
            mutation("queue_push_wakes"),
            mutation("queue_sleeps_beside_a_writer"),
            mutation("queue_sleeps_by_load"),
            mutation("queue_rest_ignores_wake"),
        ],
    },
    Model {
        name: "queue_write_against_close",
        preemptions: Some(2),
        run: write_against_close,
        mutations: &[mutation("queue_enter_closed_check"), mutation("queue_close_wakes")],
    },
    Model {
        name: "queue_write_against_close_while_awake",
        preemptions: Some(2),
        run: write_against_close_while_awake,
        mutations: &[mutation("queue_sleeps_when_it_is_closed")],
    },
    Model {
        name: "queue_close_from_two_threads",
        preemptions: Some(2),
        run: close_from_two_threads,
        mutations: &[mutation("queue_end_wakes_closers"), mutation("queue_closer_registers_late")],
    },
];

/// What the model's main thread sleeps on.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *lock(&self.rung) = true;
        self.changed.notify_all();
    }

    pub(super) fn wait(&self) {
        let mut rung = lock(&self.rung);
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

pub(super) fn close<E: Clone + Send + 'static>(queue: &Queue<E>, how: Shutdown) -> CloseReport {
    let bell = Arc::new(Bell::default());
    let waker: Waker = bell.clone().into();
    loop {
        match queue.poll_close(how, &waker) {
            Poll::Ready(report) => return report.unwrap(),
            Poll::Pending => bell.wait(),
        }
    }
}

/// A queue on a pool of one worker, and how many events its sink got.
pub(super) struct Rig {
    pub(super) pool: Pool,
    pub(super) queue: Queue<u32>,
    pub(super) delivered: Arc<AtomicU64>,
    /// Rung at each delivery.
    bell: Arc<Bell>,
    pub(super) worker: thread::JoinHandle<()>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(super) fn bounded(capacity: u64, overflow: Overflow) -> Self {
        Self::with(|builder| builder.capacity(capacity).overflow(overflow))
    }

    fn with(options: impl FnOnce(QueueBuilder<u32>) -> QueueBuilder<u32>) -> Self {
        let pool = Pool::for_model(1, Clock::system());
        let delivered = Arc::new(AtomicU64::new(0));
        let bell = Arc::new(Bell::default());
        let (into, ring) = (delivered.clone(), bell.clone());
        let sink = sink_fn(move |_: &u32| {
            into.fetch_add(1, Ordering::Relaxed);
            ring.wake_by_ref();
            Ok(())
        });
        let queue = options(Queue::builder(sink).name("model").pool(&pool)).build().unwrap();
        let worker = {
            let pool = pool.clone();
            thread::spawn(move || pool.work(0))
        };
        Self { pool, queue, delivered, bell, worker }
    }

    /// Waits without closing, whose wake-up would make up for one that was lost.
    fn wait_for(&self, delivered: u64) {
        while self.delivered.load(Ordering::Relaxed) < delivered {
            self.bell.wait();
        }
    }

    /// Ends the worker and checks that the books are right.
    pub(super) fn finish(self, report: &CloseReport, accepted: u64) {
        self.pool.stop_for_model();
        self.worker.join().unwrap();
        let ledger = self.queue.ledger();
        assert_eq!(ledger.accepted, accepted, "Ok from a write and the count differ");
        assert_eq!(ledger.delivered, self.delivered.load(Ordering::Relaxed), "the sink and the count differ");
        assert_eq!(ledger.pending, 0);
        assert!(ledger.balances());
        assert_eq!(report.dropped() + report.in_flight() + ledger.delivered, accepted, "the report is not exact");
    }
}

/// Two writers, one of whose wakes may meet the drain going idle; then a close.
fn two_writers() {
    let rig = Rig::new();
    let writer = {
        let queue = rig.queue.clone();
        thread::spawn(move || queue.send(1).unwrap())
    };
    rig.queue.send(2).unwrap();
    rig.wait_for(2);
    writer.join().unwrap();
    let report = close(&rig.queue, Shutdown::Drain);
    assert_eq!(report.dropped(), 0);
    rig.finish(&report, 2);
}

/// A write races the close: it is refused, or delivered.
fn write_against_close() {
    write_and_close(Rig::new(), 0);
}

/// The same where a turn runs, so that the writer may wake nobody.
fn write_against_close_while_awake() {
    let rig = Rig::new();
    rig.queue.send(0).unwrap();
    write_and_close(rig, 1);
}

fn write_and_close(rig: Rig, before: u64) {
    let writer = {
        let queue = rig.queue.clone();
        thread::spawn(move || queue.send(1).is_ok())
    };
    let report = close(&rig.queue, Shutdown::Drain);
    let accepted = before + u64::from(writer.join().unwrap());
    assert_eq!(report.dropped(), 0);
    rig.finish(&report, accepted);
}

/// Both closers get the report, after the flush.
fn close_from_two_threads() {
    let rig = Rig::new();
    rig.queue.send(1).unwrap();
    let other = {
        let (queue, delivered) = (rig.queue.clone(), rig.delivered.clone());
        thread::spawn(move || {
            close(&queue, Shutdown::Drain);
            assert_eq!(delivered.load(Ordering::Relaxed), 1, "closed before the flush");
        })
    };
    let report = close(&rig.queue, Shutdown::Drain);
    other.join().unwrap();
    rig.finish(&report, 1);
}
