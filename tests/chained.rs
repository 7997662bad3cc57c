//! A queue whose destination is a queue on the same pool of one worker: written to, overflowing and closed in every order. No order
//! may deadlock, and each event is delivered once or accounted for once.

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use common::{assert_closed, assert_ledger, concurrently, lone_worker, stall, watched};
use sinkworks::test_util::{Blocking, Gate, Recording};
use sinkworks::{
    Breaker, CloseError, CloseReport, DropReason, Failure, Ledger, Overflow, Pool, Queue, Shutdown, Sink, SinkExt,
    WriteError, sink_fn,
};

const BOTH: [Overflow; 2] = [Overflow::Block, Overflow::Reject];
const CAPACITY: u64 = 4;
const EVENTS: u64 = 50;

/// Queue `a` before queue `b`, which holds at most [`CAPACITY`] events, on a pool of one worker.
struct Chain {
    a: Queue<u64>,
    b: Queue<u64>,
    seen: Recording<u64>,
    pool: Pool,
}

impl Chain {
    fn new(overflow: Overflow) -> Self {
        let seen = Recording::new();
        Self::before(seen.clone(), seen, overflow)
    }

    fn before(leaf: impl Sink<u64> + 'static, seen: Recording<u64>, overflow: Overflow) -> Self {
        let pool = lone_worker();
        let b = Queue::builder(leaf).name("b").pool(&pool).capacity(CAPACITY).overflow(overflow).build().unwrap();
        let a = Queue::builder(b.clone()).name("a").pool(&pool).build().unwrap();
        Self { a, b, seen, pool }
    }

    /// Writes while the worker is held, so that `a` has more than `b` can hold when its turn comes.
    fn loaded(overflow: Overflow) -> (Self, Gate) {
        let chain = Self::new(overflow);
        let gate = stall(&chain.pool);
        (0..EVENTS).for_each(|event| chain.a.send(event).unwrap());
        (chain, gate)
    }

    /// Each event once or accounted for once; what the one has delivered the other has accepted.
    #[track_caller]
    fn assert_accounted(&self, sent: u64) {
        let (a, b) = (self.a.ledger(), self.b.ledger());
        assert_once_or_accounted(sent, &a, &b, &self.seen);
    }
}

#[track_caller]
fn assert_once_or_accounted(sent: u64, a: &Ledger, b: &Ledger, seen: &Recording<u64>) {
    let events = seen.events();
    let distinct: BTreeSet<u64> = events.iter().copied().collect();
    assert_eq!(distinct.len(), events.len(), "nothing twice");
    assert!(a.balances() && b.balances(), "{a:?} {b:?}");
    assert_eq!((a.accepted, a.pending, b.pending), (sent, 0, 0), "{a:?} {b:?}");
    assert_eq!(b.accepted, a.delivered, "{a:?} {b:?}");
    assert_eq!(b.delivered, events.len() as u64, "{a:?} {b:?}");
    assert!(events.is_sorted(), "in order");
}

fn begin(queue: &Queue<u64>, how: Shutdown) {
    assert!(queue.poll_close(how, Waker::noop()).is_pending(), "the worker is held");
}

fn ended(answer: Result<CloseReport, CloseError>) -> CloseReport {
    answer.expect("closed off the worker")
}

#[test]
fn more_than_the_second_queue_holds_gets_through_when_it_blocks() {
    watched(|| {
        let (chain, gate) = Chain::loaded(Overflow::Block);
        gate.open();
        chain.pool.wait_idle();
        assert!(chain.seen.events().into_iter().eq(0..EVENTS));
        assert_ledger(&chain.a, EVENTS, EVENTS, &[]);
        assert_ledger(&chain.b, EVENTS, EVENTS, &[]);
        // Both are as good as new.
        chain.a.write(&EVENTS).unwrap();
        chain.pool.wait_idle();
        chain.a.close(Shutdown::Drain).unwrap();
        chain.assert_accounted(EVENTS + 1);
        assert_eq!(chain.seen.len() as u64, EVENTS + 1);
    });
}

#[test]
fn what_the_second_queue_rejects_is_counted_by_the_first_as_overflow() {
    watched(|| {
        let (chain, gate) = Chain::loaded(Overflow::Reject);
        gate.open();
        chain.pool.wait_idle();
        // All of `a` fits into one turn, in which `b` can have none.
        assert!(chain.seen.events().into_iter().eq(0..CAPACITY));
        assert_ledger(&chain.a, EVENTS, CAPACITY, &[(DropReason::Overflow, EVENTS - CAPACITY)]);
        assert_ledger(&chain.b, CAPACITY, CAPACITY, &[]);
        chain.a.close(Shutdown::Drain).unwrap();
        chain.assert_accounted(EVENTS);
    });
}

#[test]
fn a_retry_between_the_queues_makes_rejection_wait() {
    watched(|| {
        let pool = lone_worker();
        let seen = Recording::new();
        let builder = Queue::builder(seen.clone()).pool(&pool).capacity(CAPACITY).overflow(Overflow::Reject);
        let b = builder.build().unwrap();
        let retry = b.clone().retrying(Breaker::new(1, Duration::from_millis(1)));
        let a = Queue::builder(retry).pool(&pool).build().unwrap();
        let gate = stall(&pool);
        (0..EVENTS).for_each(|event| a.send(event).unwrap());
        gate.open();
        a.close(Shutdown::within(Duration::from_secs(20))).unwrap();
        assert!(seen.events().into_iter().eq(0..EVENTS));
        assert_ledger(&a, EVENTS, EVENTS, &[]);
        assert_ledger(&b, EVENTS, EVENTS, &[]);
    });
}

/// A sink of a user's that passes on by `write`, which on a pool thread cannot wait.
#[test]
fn a_sink_that_writes_to_the_full_second_queue_tries_again_until_there_is_room() {
    watched(|| {
        let pool = lone_worker();
        let seen = Recording::new();
        let b = Queue::builder(seen.clone()).pool(&pool).capacity(CAPACITY).build().unwrap();
        let by_write = {
            let b = b.clone();
            sink_fn(move |event: &u64| b.write(event))
        };
        let a = Queue::builder(by_write).pool(&pool).build().unwrap();
        let gate = stall(&pool);
        (0..EVENTS).for_each(|event| a.send(event).unwrap());
        gate.open();
        // Idle in between: nobody wakes it, it is the time that comes.
        while (seen.len() as u64) < EVENTS {
            thread::yield_now();
        }
        a.close(Shutdown::Drain).unwrap();
        assert!(seen.events().into_iter().eq(0..EVENTS));
        b.close(Shutdown::Drain).unwrap();
        assert_ledger(&a, EVENTS, EVENTS, &[]);
        assert_ledger(&b, EVENTS, EVENTS, &[]);
    });
}

#[test]
fn closing_the_first_then_the_second_ends_both() {
    for overflow in BOTH {
        watched(move || {
            let (chain, gate) = Chain::loaded(overflow);
            begin(&chain.a, Shutdown::Drain);
            begin(&chain.b, Shutdown::Drain);
            assert_closed(&chain.a.write(&EVENTS));
            assert_closed(&chain.b.write(&EVENTS));
            gate.open();
            let report = ended(chain.a.close(Shutdown::Drain));
            assert_eq!(report.components().count(), 2);
            assert_eq!(report.dropped(), EVENTS, "the second was closed before it had anything");
            ended(chain.b.close(Shutdown::Drain));
            assert_ledger(&chain.a, EVENTS, 0, &[(DropReason::DestinationClosed, EVENTS)]);
            chain.assert_accounted(EVENTS);
            assert_eq!(chain.seen.closes(), 1);
        });
    }
}

#[test]
fn closing_the_first_alone_ends_both_after_one_attempt_each() {
    for overflow in BOTH {
        watched(move || {
            let (chain, gate) = Chain::loaded(overflow);
            begin(&chain.a, Shutdown::Drain);
            gate.open();
            let report = ended(chain.a.close(Shutdown::Drain));
            let reason = if overflow == Overflow::Block { DropReason::Abandoned } else { DropReason::Overflow };
            // What the second has room for; more, where the worker is so slow that the turn of the first is cut into several.
            let delivered = chain.a.ledger().delivered;
            assert!((CAPACITY..EVENTS).contains(&delivered), "{delivered}");
            assert_ledger(&chain.a, EVENTS, delivered, &[(reason, EVENTS - delivered)]);
            assert_ledger(&chain.b, delivered, delivered, &[]);
            assert_eq!((report.dropped(), report.in_flight()), (EVENTS - delivered, 0));
            chain.assert_accounted(EVENTS);
        });
    }
}

#[test]
fn closing_the_first_until_a_deadline_delivers_everything_if_the_second_blocks() {
    watched(|| {
        let (chain, gate) = Chain::loaded(Overflow::Block);
        begin(&chain.a, Shutdown::within(Duration::from_secs(20)));
        gate.open();
        let report = ended(chain.a.close(Shutdown::within(Duration::from_secs(20))));
        assert_eq!(report.dropped(), 0);
        assert_ledger(&chain.a, EVENTS, EVENTS, &[]);
        chain.assert_accounted(EVENTS);
    });
}

#[test]
fn closing_the_second_closes_the_first_when_it_next_delivers() {
    for overflow in BOTH {
        watched(move || {
            let (chain, gate) = Chain::loaded(overflow);
            begin(&chain.b, Shutdown::Drain);
            gate.open();
            ended(chain.b.close(Shutdown::Drain));
            chain.pool.wait_idle();
            assert!(chain.a.is_closed());
            assert_closed(&chain.a.write(&EVENTS));
            ended(chain.a.close(Shutdown::Drain));
            assert_ledger(&chain.a, EVENTS, 0, &[(DropReason::DestinationClosed, EVENTS)]);
            chain.assert_accounted(EVENTS);
        });
    }
}

#[test]
fn closing_the_full_second_queue_frees_the_first_that_waits_for_its_room() {
    watched(|| {
        let (seen, inside) = (Recording::new(), Gate::new());
        let chain = Chain::before(Blocking::new(inside.clone(), seen.clone()), seen, Overflow::Block);
        let gate = stall(&chain.pool);
        (0..EVENTS).for_each(|event| chain.a.send(event).unwrap());
        gate.open();
        // `b` is in its leaf with the first event, so `a` has had its turn and waits for room.
        inside.wait_for(1);
        assert_ledger(&chain.a, EVENTS, CAPACITY, &[]);
        begin(&chain.b, Shutdown::Drain);
        inside.open();
        ended(chain.b.close(Shutdown::Drain));
        ended(chain.a.close(Shutdown::Drain));
        assert_ledger(&chain.a, EVENTS, CAPACITY, &[(DropReason::DestinationClosed, EVENTS - CAPACITY)]);
        assert_ledger(&chain.b, CAPACITY, CAPACITY, &[]);
        chain.assert_accounted(EVENTS);
    });
}

#[test]
fn closing_both_at_once_from_two_threads_ends_both() {
    for overflow in BOTH {
        for _ in 0..50 {
            watched(move || {
                let (chain, gate) = Chain::loaded(overflow);
                let start = Arc::new(Barrier::new(3));
                let closers = [&chain.a, &chain.b].map(|queue| {
                    let (queue, start) = (queue.clone(), start.clone());
                    thread::spawn(move || {
                        start.wait();
                        ended(queue.close(Shutdown::Drain))
                    })
                });
                start.wait();
                gate.open();
                let [a, b] = closers.map(|closer| closer.join().unwrap());
                chain.assert_accounted(EVENTS);
                // Whoever was first, both reports say the same of `b`.
                let id = chain.b.id().unwrap();
                assert_eq!(a.component(id), b.component(id));
            });
        }
    }
}

#[test]
fn closing_both_while_four_writers_write_loses_nothing_silently() {
    for overflow in BOTH {
        for round in 0..20u64 {
            watched(move || {
                let chain = Chain::new(overflow);
                let accepted = std::sync::atomic::AtomicU64::new(0);
                concurrently(6, |number| match number {
                    0 => drop(ended(chain.a.close(if round % 2 == 0 { Shutdown::Drain } else { Shutdown::Abort }))),
                    1 if round % 4 < 2 => drop(ended(chain.b.close(Shutdown::Drain))),
                    1 => {}
                    writer => {
                        for _ in 0..500 {
                            match chain.a.write(&writer) {
                                Ok(()) => drop(accepted.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
                                Err(WriteError::Closed) => break,
                                other => panic!("{other:?}"),
                            }
                        }
                    }
                });
                // An abort leaves its worker with the event that was in flight.
                chain.pool.wait_idle();
                let (a, b) = (chain.a.ledger(), chain.b.ledger());
                assert_eq!(a.accepted, accepted.into_inner());
                assert!(a.balances() && b.balances(), "{a:?} {b:?}");
                assert_eq!((a.pending, b.pending, b.accepted), (0, 0, a.delivered), "{a:?} {b:?}");
                assert_eq!(chain.seen.len() as u64, b.delivered);
            });
        }
    }
}

#[test]
fn dropping_the_handles_in_either_order_drains_in_the_background() {
    for overflow in BOTH {
        for first in ["a", "b"] {
            watched(move || {
                let (Chain { a, b, seen, pool }, gate) = Chain::loaded(overflow);
                if first == "a" {
                    drop(a);
                    drop(b);
                } else {
                    drop(b);
                    drop(a);
                }
                assert_eq!(seen.closes(), 0);
                gate.open();
                pool.wait_idle();
                assert!(seen.events().into_iter().eq(0..CAPACITY), "one attempt each: {:?}", seen.events());
                assert_eq!(seen.closes(), 1);
            });
        }
    }
}

#[test]
fn dropping_the_handle_of_the_second_alone_changes_nothing_since_the_first_has_one() {
    watched(|| {
        let (Chain { a, b, seen, pool }, gate) = Chain::loaded(Overflow::Block);
        drop(b);
        gate.open();
        pool.wait_idle();
        assert!(seen.events().into_iter().eq(0..EVENTS));
        assert_eq!(seen.closes(), 0);
        drop(a);
        pool.wait_idle();
        assert_eq!(seen.closes(), 1);
    });
}

#[test]
fn dropping_the_handle_of_the_first_alone_drains_and_closes_the_second() {
    for overflow in BOTH {
        watched(move || {
            let (Chain { a, b, seen, pool }, gate) = Chain::loaded(overflow);
            drop(a);
            gate.open();
            pool.wait_idle();
            assert_eq!(seen.closes(), 1);
            assert!(b.is_closed());
            assert_ledger(&b, CAPACITY, CAPACITY, &[]);
        });
    }
}

#[test]
fn aborting_the_first_needs_no_worker_and_aborts_both() {
    for overflow in BOTH {
        watched(move || {
            let (chain, gate) = Chain::loaded(overflow);
            for event in 0..CAPACITY {
                chain.b.send(100 + event).unwrap();
            }
            let report = ended(chain.a.close(Shutdown::Abort));
            assert_eq!((report.abandoned(), report.in_flight()), (EVENTS + CAPACITY, 0));
            assert_ledger(&chain.a, EVENTS, 0, &[(DropReason::Abandoned, EVENTS)]);
            assert_ledger(&chain.b, CAPACITY, 0, &[(DropReason::Abandoned, CAPACITY)]);
            gate.open();
            chain.pool.wait_idle();
            assert!(chain.seen.is_empty());
            assert_eq!(chain.seen.closes(), 1);
        });
    }
}

#[test]
fn aborting_the_second_while_the_first_waits_for_its_room_ends_both() {
    watched(|| {
        let (seen, inside) = (Recording::new(), Gate::new());
        let chain = Chain::before(Blocking::new(inside.clone(), seen.clone()), seen, Overflow::Block);
        let gate = stall(&chain.pool);
        (0..EVENTS).for_each(|event| chain.a.send(event).unwrap());
        gate.open();
        inside.wait_for(1);
        let report = ended(chain.b.close(Shutdown::Abort));
        assert_eq!((report.abandoned(), report.in_flight()), (CAPACITY - 1, 1));
        let report = ended(chain.a.close(Shutdown::Abort));
        assert_eq!((report.abandoned(), report.in_flight()), (EVENTS - 1, 1), "of both together");
        inside.open();
        chain.pool.wait_idle();
        // `Recording` was closed by then, so the event that was in flight did not arrive after all.
        assert_ledger(
            &chain.b,
            CAPACITY,
            0,
            &[(DropReason::Abandoned, CAPACITY - 1), (DropReason::DestinationClosed, 1)],
        );
        chain.assert_accounted(EVENTS);
    });
}

#[test]
fn aborting_during_a_drain_that_cannot_go_on_ends_both() {
    watched(|| {
        let (chain, gate) = Chain::loaded(Overflow::Block);
        let patient = thread::spawn({
            let a = chain.a.clone();
            move || ended(a.close(Shutdown::Drain))
        });
        while !chain.a.is_closed() {
            thread::yield_now();
        }
        let report = ended(chain.a.close(Shutdown::Abort));
        assert_eq!(report.abandoned(), EVENTS);
        assert_eq!(patient.join().unwrap().abandoned(), EVENTS, "the one who drains is told too");
        gate.open();
        chain.pool.wait_idle();
        chain.assert_accounted(EVENTS);
    });
}

#[test]
fn a_failing_leaf_at_the_end_is_accounted_for_by_the_second_queue() {
    watched(|| {
        let leaf = sink_fn(|event: &u64| match event % 2 {
            0 => Err(Failure::permanent("odd ones only").into()),
            _ => Ok(()),
        });
        let chain = Chain::before(leaf, Recording::new(), Overflow::Block);
        (0..EVENTS).for_each(|event| chain.a.send(event).unwrap());
        chain.pool.wait_idle();
        let report = ended(chain.a.close(Shutdown::Drain));
        assert_eq!(report.dropped(), EVENTS / 2);
        assert_ledger(&chain.a, EVENTS, EVENTS, &[]);
        assert_ledger(&chain.b, EVENTS, EVENTS / 2, &[(DropReason::Permanent, EVENTS / 2)]);
    });
}
