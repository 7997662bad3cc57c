//! A queue that is full, under each policy.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use common::{Desk, assert_closed, assert_ledger, concurrently, lone_worker, offer, stall, still_pool, watched};
use sinkworks::test_util::{Gate, ManualClock, Recording};
use sinkworks::{
    Broadcaster, BuildError, Class, DropReason, EventTooLarge, Journey, Overflow, Pool, Queue, Shutdown, Sink,
    WriteError, sink_fn,
};

const OVERFLOW: DropReason = DropReason::Overflow;

/// A queue of three whose worker is held elsewhere, and what opens it.
struct Full {
    queue: Queue<u64>,
    seen: Recording<u64>,
    pool: Pool,
    gate: Gate,
}

impl Full {
    fn new(overflow: Overflow) -> Self {
        let pool = lone_worker();
        let gate = stall(&pool);
        let seen = Recording::new();
        let queue = Queue::builder(seen.clone()).pool(&pool).capacity(3).overflow(overflow).build().unwrap();
        (0..3).for_each(|event| queue.send(event).unwrap());
        Self { queue, seen, pool, gate }
    }

    /// What arrives once the worker is let go.
    fn arrived(&self) -> Vec<u64> {
        self.gate.open();
        self.pool.wait_idle();
        self.seen.events()
    }
}

#[test]
fn reject_gives_the_event_back_and_counts_the_refusal() {
    let full = Full::new(Overflow::Reject);
    let refused = full.queue.send(3).unwrap_err();
    assert!(matches!(refused.error, WriteError::Full) && refused.event == 3, "{refused:?}");
    assert!(matches!(full.queue.write(&4), Err(WriteError::Full)));
    assert_eq!(full.queue.refused(), 2);
    assert_ledger(&full.queue, 3, 0, &[]);
    assert_eq!(full.arrived(), [0, 1, 2]);
    assert_ledger(&full.queue, 3, 3, &[]);
}

#[test]
fn drop_newest_keeps_what_came_first() {
    let full = Full::new(Overflow::DropNewest);
    full.queue.send(3).unwrap();
    full.queue.write(&4).unwrap();
    assert_ledger(&full.queue, 5, 0, &[(OVERFLOW, 2)]);
    assert_eq!(full.arrived(), [0, 1, 2]);
    full.queue.send(5).unwrap();
    let report = full.queue.close(Shutdown::Drain).unwrap();
    assert_eq!((report.dropped(), full.queue.refused()), (2, 0));
    assert_ledger(&full.queue, 6, 4, &[(OVERFLOW, 2)]);
    assert_closed(&full.queue.write(&6));
    assert_ledger(&full.queue, 6, 4, &[(OVERFLOW, 2)]);
}

#[test]
fn drop_oldest_keeps_what_came_last() {
    let full = Full::new(Overflow::DropOldest);
    (3..7).for_each(|event| full.queue.write(&event).unwrap());
    assert_ledger(&full.queue, 7, 0, &[(OVERFLOW, 4)]);
    assert_eq!(full.arrived(), [4, 5, 6]);
    full.queue.close(Shutdown::Drain).unwrap();
    assert_ledger(&full.queue, 7, 3, &[(OVERFLOW, 4)]);
}

#[test]
fn drop_oldest_cannot_drop_what_is_being_delivered() {
    let (pool, _clock) = still_pool();
    let desk = Desk::default();
    let builder = Queue::builder(desk.clone()).pool(&pool).overflow(Overflow::DropOldest);
    let queue = builder.capacity(1).build().unwrap();
    queue.send(0).unwrap();
    pool.wait_idle();
    assert_eq!(desk.arrived(), 1, "the only event is held by the turn");
    queue.send(1).unwrap();
    assert_ledger(&queue, 2, 0, &[(OVERFLOW, 1)]);
    desk.serve(9);
    queue.close(Shutdown::Drain).unwrap();
    assert_ledger(&queue, 2, 1, &[(OVERFLOW, 1)]);
    assert_eq!(desk.served(), 1);
}

#[test]
fn disconnect_closes_the_queue_delivers_what_it_has_and_counts_what_it_refused() {
    let full = Full::new(Overflow::Disconnect);
    let broadcaster = Broadcaster::new();
    broadcaster.add(full.queue.clone()).unwrap();
    broadcaster.write(&3).unwrap();
    assert!(broadcaster.is_empty(), "the broadcaster has removed it");
    assert_eq!((broadcaster.evictions(), broadcaster.lost()[DropReason::DestinationClosed]), (1, 1));
    assert!(full.queue.is_closed());
    let refused = full.queue.send(4).unwrap_err();
    assert!(matches!(refused.error, WriteError::Closed) && refused.event == 4, "{refused:?}");
    assert_eq!(full.queue.refused(), 2);
    assert_eq!(full.arrived(), [0, 1, 2]);
    assert_ledger(&full.queue, 3, 3, &[]);
    let normal = Queue::builder(Recording::new()).capacity(1).overflow(Overflow::Disconnect).build().unwrap();
    normal.close(Shutdown::Drain).unwrap();
    assert_closed(&normal.write(&1));
    assert_eq!(normal.refused(), 0, "a queue that was closed by its owner has cut nobody off");
}

#[test]
fn block_for_waits_its_time_and_no_longer() {
    let (pool, clock) = still_pool();
    let desk = Desk::default();
    let timeout = Duration::from_secs(5);
    let builder = Queue::builder(desk.clone()).pool(&pool).capacity(1).overflow(Overflow::BlockFor(timeout));
    let queue = builder.build().unwrap();
    queue.send(0).unwrap();
    pool.wait_idle();

    let (answer, journey) = offer(&queue, &1, &clock, Journey::default());
    let until = clock.clock().now() + timeout;
    assert!(matches!(answer, Err(WriteError::NotReady(wait)) if wait.until == Some(until)), "{answer:?}");
    clock.advance(Duration::from_nanos(4_999_999_999));
    let (answer, journey) = offer(&queue, &1, &clock, journey);
    assert!(
        matches!(answer, Err(WriteError::NotReady(wait)) if wait.until == Some(until)),
        "the time does not begin anew: {answer:?}"
    );
    clock.advance(Duration::from_nanos(1));
    let (answer, _) = offer(&queue, &1, &clock, journey);
    assert!(matches!(answer, Err(WriteError::Full)), "{answer:?}");
    assert_eq!(queue.refused(), 1);

    let (answer, journey) = offer(&queue, &1, &clock, Journey::default());
    assert!(matches!(answer, Err(WriteError::NotReady(_))));
    desk.serve(1);
    pool.wait_idle();
    let (answer, _) = offer(&queue, &1, &clock, journey);
    assert!(answer.is_ok(), "room came in time: {answer:?}");
    desk.serve(1);
    queue.close(Shutdown::Drain).unwrap();
    assert_ledger(&queue, 2, 2, &[]);
}

#[test]
fn a_parked_writer_is_let_go_when_its_time_is_over_and_when_the_queue_closes() {
    watched(|| {
        let full = Full::new(Overflow::BlockFor(Duration::from_millis(20)));
        assert!(matches!(full.queue.write(&3), Err(WriteError::Full)));
        let full = Full::new(Overflow::Block);
        std::thread::scope(|scope| {
            let queue = &full.queue;
            let writers: Vec<_> = (10..14).map(|event| scope.spawn(move || queue.write(&event))).collect();
            let _ = full.queue.poll_close(Shutdown::Drain, std::task::Waker::noop());
            for writer in writers {
                assert_closed(&writer.join().unwrap());
            }
        });
        assert_eq!(full.arrived(), [0, 1, 2]);
    });
}

#[test]
fn try_send_never_waits() {
    let full = Full::new(Overflow::Block);
    let refused = full.queue.try_send(3).unwrap_err();
    assert!(matches!(refused.error, WriteError::Full) && refused.event == 3, "{refused:?}");
    assert_eq!(full.arrived(), [0, 1, 2]);
    full.queue.try_send(3).unwrap();
    full.queue.close(Shutdown::Drain).unwrap();
    assert_closed(&full.queue.try_send(4).map_err(|refused| refused.error));
    assert_ledger(&full.queue, 4, 4, &[]);
}

#[allow(clippy::ptr_arg, reason = "the size function gets the event")]
fn bytes(event: &Vec<u8>) -> u64 {
    event.len() as u64
}

#[test]
fn a_bound_in_bytes_counts_what_is_waiting_and_what_is_in_flight() {
    let (pool, _clock) = still_pool();
    let desk = Desk::default();
    let builder = Queue::builder(desk.clone()).pool(&pool).capacity_bytes(100, bytes).overflow(Overflow::Reject);
    let queue = builder.build().unwrap();
    assert_eq!((queue.capacity(), queue.bytes()), (None, Some(0)));
    queue.send(vec![0; 60]).unwrap();
    pool.wait_idle();
    assert!(matches!(queue.write(&vec![0; 41]), Err(WriteError::Full)));
    queue.send(vec![0; 40]).unwrap();
    queue.write(&Vec::new()).unwrap();
    assert!(queue.send(vec![0; 1]).is_err());
    assert_eq!(queue.bytes(), Some(100));
    desk.serve(1);
    pool.wait_idle();
    assert_eq!(queue.bytes(), Some(40));
    desk.serve(9);
    queue.close(Shutdown::Drain).unwrap();
    assert_eq!(queue.bytes(), Some(0));
    assert_ledger(&queue, 3, 3, &[]);
}

#[test]
fn an_event_larger_than_the_queue_is_a_permanent_error_under_every_policy() {
    for overflow in
        [Overflow::Block, Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest, Overflow::Disconnect]
    {
        let builder = Queue::builder(Recording::new()).capacity_bytes(10, bytes).overflow(overflow);
        let queue = builder.build().unwrap();
        for answer in [queue.send(vec![0; 11]).map_err(|refused| refused.error), queue.write(&vec![0; 11])] {
            let Err(WriteError::Failed(failure)) = answer else { panic!("{overflow:?}: {answer:?}") };
            assert_eq!(failure.class(), Class::Permanent);
            let cause = failure.cause().downcast_ref::<EventTooLarge>().unwrap();
            assert_eq!((cause.bytes, cause.max), (11, 10));
        }
        queue.send(vec![0; 10]).unwrap();
        queue.close(Shutdown::Drain).unwrap();
        assert_ledger(&queue, 1, 1, &[]);
    }
}

#[test]
fn drop_oldest_makes_room_in_bytes_for_one_large_event() {
    let pool = lone_worker();
    let gate = stall(&pool);
    let seen = Recording::new();
    let builder = Queue::builder(seen.clone()).pool(&pool).capacity_bytes(10, bytes).overflow(Overflow::DropOldest);
    let queue = builder.build().unwrap();
    for size in [3, 3, 3, 8, 2] {
        queue.send(vec![0; size]).unwrap();
    }
    assert_ledger(&queue, 5, 0, &[(OVERFLOW, 3)]);
    assert_eq!(queue.bytes(), Some(10));
    gate.open();
    queue.close(Shutdown::Drain).unwrap();
    assert_eq!(seen.events().iter().map(Vec::len).collect::<Vec<_>>(), [8, 2]);
}

#[test]
fn writers_who_wait_for_bytes_all_get_in() {
    watched(|| {
        let seen = Recording::new();
        let builder = Queue::builder(seen.clone()).capacity_bytes(100, bytes).capacity(50);
        let queue = builder.build().unwrap();
        concurrently(6, |writer| {
            for n in 0..300_u64 {
                let size = usize::try_from((writer * 31 + n * 17) % 100).unwrap();
                queue.write(&vec![0; size + 1]).unwrap();
            }
        });
        queue.close(Shutdown::Drain).unwrap();
        assert_ledger(&queue, 1800, 1800, &[]);
        assert_eq!(queue.bytes(), Some(0));
    });
}

#[test]
fn the_high_water_mark_of_an_unbounded_queue_is_told() {
    let pool = lone_worker();
    let gate = stall(&pool);
    let queue = Queue::builder(Recording::new()).pool(&pool).build().unwrap();
    assert_eq!(queue.high_water(), 0);
    (0..1000_u64).for_each(|event| queue.send(event).unwrap());
    assert_eq!(queue.high_water(), 1000);
    gate.open();
    pool.wait_idle();
    assert_eq!(queue.high_water(), 1000, "it does not fall with the depth");
    queue.send(0).unwrap();
    queue.close(Shutdown::Drain).unwrap();
    assert_eq!(queue.high_water(), 1000);
}

#[test]
fn bounds_that_cannot_be_are_refused() {
    let queue = || Queue::<Vec<u8>>::builder(Recording::new());
    assert_eq!(queue().capacity_bytes(0, bytes).build().unwrap_err(), BuildError::Zero { option: "capacity_bytes" });
    let too_large = queue().capacity_bytes(u64::MAX, bytes).build().unwrap_err();
    assert!(matches!(too_large, BuildError::TooLarge { option: "capacity_bytes", .. }), "{too_large:?}");
    let no_wait = queue().capacity(1).overflow(Overflow::BlockFor(Duration::ZERO)).build().unwrap_err();
    assert_eq!(no_wait, BuildError::Zero { option: "overflow" });
}

/// Every policy that neither waits nor refuses, and those that do, with writers, a slow drain and a close at once: what was answered with `Ok` is accounted for.
#[test]
fn the_books_are_exact_when_writers_meet_a_full_queue_and_a_close() {
    let policies = [
        Overflow::Block,
        Overflow::BlockFor(Duration::from_micros(50)),
        Overflow::Reject,
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Disconnect,
    ];
    for overflow in policies {
        for (round, how) in [Shutdown::Drain, Shutdown::Abort].into_iter().cycle().take(60).enumerate() {
            watched(move || {
                let delivered = Arc::new(AtomicU64::new(0));
                let count = delivered.clone();
                let sink = sink_fn(move |event: &Vec<u8>| {
                    if event.len() % 7 == 0 {
                        std::thread::yield_now();
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                });
                let builder = Queue::builder(sink).capacity(4).overflow(overflow).capacity_bytes(40, bytes);
                let queue = builder.build().unwrap();
                let accepted = AtomicU64::new(0);
                concurrently(5, |number| {
                    if number == 0 {
                        (0..round * 10).for_each(|_| std::thread::yield_now());
                        queue.close(how).unwrap();
                        return;
                    }
                    for n in 0..400 {
                        match queue.write(&vec![0; n % 20]) {
                            Ok(()) => accepted.fetch_add(1, Ordering::Relaxed),
                            Err(WriteError::Closed) => break,
                            Err(WriteError::Full) => continue,
                            Err(other) => panic!("{other:?}"),
                        };
                    }
                });
                queue.close(Shutdown::Abort).unwrap();
                let ledger = queue.ledger();
                assert_eq!(ledger.accepted, accepted.load(Ordering::Relaxed), "{overflow:?} {how:?}: {ledger:?}");
                // What was in flight when an abort came is done with when the sink has returned.
                while queue.ledger().pending > 0 {
                    std::thread::yield_now();
                }
                let ledger = queue.ledger();
                assert_eq!(ledger.delivered, delivered.load(Ordering::Relaxed), "{overflow:?} {how:?}: {ledger:?}");
                assert_eq!(queue.bytes(), Some(0));
            });
        }
    }
}

#[test]
fn a_manual_clock_bounds_the_wait_of_a_queue_before_a_full_one() {
    let (pool, clock): (Pool, ManualClock) = still_pool();
    let desk = Desk::default();
    let second = Queue::builder(desk.clone())
        .pool(&pool)
        .capacity(1)
        .overflow(Overflow::BlockFor(Duration::from_secs(1)))
        .build()
        .unwrap();
    let first = Queue::builder(second.clone()).pool(&pool).build().unwrap();
    (0..3).for_each(|event| first.send(event).unwrap());
    pool.wait_idle();
    assert_ledger(&first, 3, 1, &[]);
    clock.advance(Duration::from_secs(1));
    pool.wait_idle();
    assert_ledger(&first, 3, 1, &[(OVERFLOW, 1)]);
    clock.advance(Duration::from_secs(1));
    pool.wait_idle();
    assert_ledger(&first, 3, 1, &[(OVERFLOW, 2)]);
    desk.serve(1);
    first.close(Shutdown::Drain).unwrap();
    assert_ledger(&second, 1, 1, &[]);
}

/// A queue that has no room for another byte and has begun to close, but holds what it has.
fn full_of_bytes_and_closing(overflow: Overflow) -> Queue<u64> {
    let desk = Desk::default();
    let queue = Queue::builder(desk).pool(&still_pool().0).capacity_bytes(8, |_| 8).overflow(overflow).build().unwrap();
    queue.send(0).unwrap();
    let later = Shutdown::within(Duration::from_secs(3600));
    assert!(queue.poll_close(later, Waker::noop()).is_pending());
    queue
}

/// The writer looked for room again and again, since the bytes were asked before the close.
#[test]
fn a_closed_queue_without_room_for_bytes_is_closed() {
    for overflow in
        [Overflow::Block, Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest, Overflow::Disconnect]
    {
        let queue = full_of_bytes_and_closing(overflow);
        let answers = watched({
            let queue = queue.clone();
            move || {
                [
                    queue.send(1).map_err(|error| error.error),
                    queue.try_send(2).map_err(|error| error.error),
                    queue.write(&3),
                ]
            }
        });
        answers.iter().for_each(assert_closed);
        assert_ledger(&queue, 1, 0, &[]);
    }
}
