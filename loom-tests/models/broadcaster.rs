//! The broadcaster: the real one, over the stand-in of `ArcSwap`, with sinks that count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use loom::thread;

use super::queue::Bell;
use super::{Model, Mutation, mutation};
use crate::broadcaster::Broadcaster;
use crate::delivery::Delivery;
use crate::error::{CloseError, Wait, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::AtomicBool;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "broadcaster_write_against_add",
        preemptions: Some(2),
        run: write_against_add,
        mutations: &[mutation("broadcaster_add_in_one_step")],
    },
    Model {
        name: "broadcaster_write_against_remove",
        preemptions: Some(2),
        run: write_against_remove,
        mutations: &[mutation("broadcaster_remove_in_one_step")],
    },
    Model {
        name: "broadcaster_remove_waits",
        preemptions: Some(3),
        run: remove_waits,
        mutations: &[
            mutation("broadcaster_gone_wakes"),
            Mutation { name: "broadcaster_waiter_registers_first", preemptions: Some(3) },
            mutation("broadcaster_notes_who_leaves"),
        ],
    },
    Model {
        name: "broadcaster_remove_against_hold",
        preemptions: Some(3),
        run: remove_against_hold,
        mutations: &[mutation("broadcaster_remove_wakes"), mutation("broadcaster_wait_looks_again")],
    },
    Model {
        name: "broadcaster_evicts_once",
        preemptions: Some(3),
        run: evicts_once,
        mutations: &[mutation("broadcaster_evicts_once")],
    },
    Model {
        name: "broadcaster_close_against_add",
        preemptions: Some(3),
        run: close_against_add,
        mutations: &[
            mutation("broadcaster_add_answers_from_the_step"),
            mutation("broadcaster_add_sees_the_close"),
            mutation("broadcaster_seals_what_it_closes"),
        ],
    },
    Model {
        name: "broadcaster_close_against_write",
        preemptions: Some(3),
        run: close_against_write,
        mutations: &[mutation("broadcaster_write_sees_the_close")],
    },
];

/// What a sink does, seen from outside.
#[derive(Default)]
struct Probe {
    /// It answers that it is closed.
    broken: bool,
    writes: AtomicU64,
    closes: AtomicU64,
    /// From now on no write may reach it. Loom's, so that it looks for an order in which one does.
    out_of_reach: AtomicBool,
}

struct Probed(SinkId, Arc<Probe>);

impl Probed {
    fn new(probe: &Arc<Probe>) -> Self {
        Self(SinkId::unique(), probe.clone())
    }
}

impl Sink<u32> for Probed {
    fn try_write(&self, _: &u32, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        assert!(!self.1.out_of_reach.load(Ordering::Relaxed), "a write reached a sink that was removed");
        self.1.writes.fetch_add(1, Ordering::Relaxed);
        if self.1.broken { Err(WriteError::Closed) } else { Ok(()) }
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.1.closes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(CloseReport::new()))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.0)
    }
}

fn written(probe: &Probe) -> u64 {
    probe.writes.load(Ordering::Relaxed)
}

/// Two sinks are added while an event is written: who was there gets it, and from the next event on all do.
fn write_against_add() {
    let broadcaster = Broadcaster::named("model").unwrap();
    let [first, second, third] = [(); 3].map(|()| Arc::new(Probe::default()));
    broadcaster.add(Probed::new(&first)).unwrap();
    let adders = [&second, &third].map(|probe| {
        let (broadcaster, sink) = (broadcaster.clone(), Probed::new(probe));
        thread::spawn(move || broadcaster.add(sink).unwrap())
    });
    broadcaster.write(&1).unwrap();
    assert_eq!(written(&first), 1);
    adders.into_iter().for_each(|adder| assert!(adder.join().is_ok()));
    let before = [&second, &third].map(|probe| written(probe));
    assert!(before.iter().all(|writes| *writes <= 1));
    assert_eq!(broadcaster.len(), 3);
    broadcaster.write(&2).unwrap();
    assert_eq!([written(&second), written(&third)], before.map(|writes| writes + 1));
}

/// One sink is removed and one added while an event is written: the third, which stays, gets the event in any case, and neither change is lost.
fn write_against_remove() {
    let broadcaster = Broadcaster::named("model").unwrap();
    let [leaves, stays, comes] = [(); 3].map(|()| Arc::new(Probe::default()));
    let id = broadcaster.add(Probed::new(&leaves)).unwrap();
    broadcaster.add(Probed::new(&stays)).unwrap();
    let remover = {
        let broadcaster = broadcaster.clone();
        thread::spawn(move || assert!(broadcaster.remove_id(id).unwrap()))
    };
    let adder = {
        let (broadcaster, sink) = (broadcaster.clone(), Probed::new(&comes));
        thread::spawn(move || assert!(broadcaster.add(sink).is_ok()))
    };
    broadcaster.write(&1).unwrap();
    assert_eq!(written(&stays), 1);
    remover.join().unwrap();
    adder.join().unwrap();
    let before = [&leaves, &stays, &comes].map(|probe| written(probe));
    broadcaster.write(&2).unwrap();
    assert_eq!([&leaves, &stays, &comes].map(|probe| written(probe)), [before[0], before[1] + 1, before[2] + 1]);
}

/// A sink is removed, with waiting, while a write may be inside it: afterwards none reaches it.
fn remove_waits() {
    let broadcaster = Broadcaster::named("model").unwrap();
    let probe = Arc::new(Probe::default());
    let sink = Arc::new(Probed::new(&probe));
    broadcaster.add(sink.clone()).unwrap();
    let writer = {
        let broadcaster = broadcaster.clone();
        thread::spawn(move || broadcaster.write(&1).unwrap())
    };
    // A time that never comes, so that whoever is not woken waits for ever.
    assert!(broadcaster.remove_and_wait(&sink, Duration::MAX).unwrap());
    probe.out_of_reach.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

/// Never ready.
struct Unready(SinkId);

impl Sink<u32> for Unready {
    fn try_write(&self, _: &u32, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        Err(WriteError::NotReady(Wait { until: None }))
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.0)
    }
}

/// A sink that is not ready is removed while an event begins to wait for it: the writer goes on, and the event counts as lost.
fn remove_against_hold() {
    let broadcaster = Broadcaster::named("model").unwrap();
    let id = broadcaster.add(Unready(SinkId::unique())).unwrap();
    let writer = {
        let broadcaster = broadcaster.clone();
        thread::spawn(move || broadcaster.write(&1).unwrap())
    };
    assert!(broadcaster.remove_id(id).unwrap());
    writer.join().unwrap();
    assert!(broadcaster.lost().total() <= 1);
}

/// Two writers find the same sink closed: it is taken out, and counted, once.
fn evicts_once() {
    let broadcaster = Broadcaster::named("model").unwrap();
    let broken = Arc::new(Probe { broken: true, ..Probe::default() });
    let healthy = Arc::new(Probe::default());
    broadcaster.add(Probed::new(&broken)).unwrap();
    broadcaster.add(Probed::new(&healthy)).unwrap();
    let writer = {
        let broadcaster = broadcaster.clone();
        thread::spawn(move || broadcaster.write(&1).unwrap())
    };
    broadcaster.write(&2).unwrap();
    writer.join().unwrap();
    assert_eq!((broadcaster.evictions(), broadcaster.len(), written(&healthy)), (1, 1, 2));
    assert_eq!(broadcaster.lost().total(), written(&broken));
}

fn close(broadcaster: &Broadcaster<u32>) {
    let nobody = Waker::from(Arc::new(Bell::default()));
    assert!(broadcaster.poll_close(Shutdown::Drain, &nobody).is_ready());
}

/// A sink is added while two threads close: it is closed with the others, or refused.
fn close_against_add() {
    let broadcaster = Broadcaster::named("model").unwrap();
    let [first, late] = [(); 2].map(|()| Arc::new(Probe::default()));
    broadcaster.add(Probed::new(&first)).unwrap();
    let adder = {
        let (broadcaster, sink) = (broadcaster.clone(), Probed::new(&late));
        thread::spawn(move || broadcaster.add(sink).is_ok())
    };
    let closer = {
        let broadcaster = broadcaster.clone();
        thread::spawn(move || close(&broadcaster))
    };
    close(&broadcaster);
    closer.join().unwrap();
    let added = adder.join().unwrap();
    assert!(first.closes.load(Ordering::Relaxed) > 0);
    assert_eq!(late.closes.load(Ordering::Relaxed) > 0, added, "added and not closed, or closed and not added");
}

/// A write races the close: from the close on every write is refused, and the event that was accepted has reached the sink.
fn close_against_write() {
    let broadcaster = Broadcaster::named("model").unwrap();
    let probe = Arc::new(Probe::default());
    broadcaster.add(Probed::new(&probe)).unwrap();
    let writer = {
        let broadcaster = broadcaster.clone();
        thread::spawn(move || u64::from(broadcaster.write(&1).is_ok()))
    };
    close(&broadcaster);
    assert!(matches!(broadcaster.write(&2), Err(WriteError::Closed)));
    assert_eq!(writer.join().unwrap(), written(&probe));
}
