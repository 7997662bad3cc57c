//! Events that a queue drops, the letters about them, and the way back.

mod common;

use std::time::{Duration, SystemTime};

use common::{Desk, RefusedError, assert_ledger, lone_worker, stall, still_pool, watched};
use sinkworks::test_util::{Failing, Gate, Panicking, Recording};
use sinkworks::{
    Breaker, Channel, DeadLetter, DropReason, ExponentialBackoff, Failure, Overflow, Pool, Queue, QueueBuilder,
    Receiver, Shutdown, Sink, SinkExt, WriteError, replay, sink_fn,
};

/// A queue of letters on the same pool, and who reads them.
fn letters(pool: &Pool) -> (Queue<DeadLetter<u64>>, Receiver<DeadLetter<u64>>) {
    let (channel, letters) = Channel::unbounded();
    (Queue::builder(channel).name("dead").pool(pool).build().unwrap(), letters)
}

/// Sends three events through a queue and answers its letters as (event, reason, attempts).
fn fate(
    pool: &Pool,
    sink: impl Sink<u64> + 'static,
    how: Shutdown,
    options: impl FnOnce(QueueBuilder<u64>) -> QueueBuilder<u64>,
) -> Vec<(u64, DropReason, u32)> {
    let (dead, inbox) = letters(pool);
    let queue = options(Queue::builder(sink).pool(pool).dead_letters(&dead)).build().unwrap();
    for event in 0..3 {
        // Some are refused, once the queue has closed by itself.
        let _ = queue.send(event);
        pool.wait_idle();
    }
    let report = queue.close(how).unwrap();
    dead.close(Shutdown::Drain).unwrap();
    let letters: Vec<_> = inbox.iter().map(|letter| (letter.event, letter.reason, letter.attempts)).collect();
    assert_eq!(letters.len() as u64, report.dropped(), "one letter for each event that was dropped");
    assert_eq!(queue.dead_letters_lost(), 0);
    letters
}

#[test]
fn every_reason_has_its_letter_with_the_attempts_made() {
    let (pool, _clock) = still_pool();
    let plain = |builder: QueueBuilder<u64>| builder;
    let drain = Shutdown::Drain;
    let permanent = || sink_fn(|_: &u64| Err(Failure::permanent(RefusedError).into()));
    let each = |reason, attempts| vec![(0, reason, attempts), (1, reason, attempts), (2, reason, attempts)];

    assert_eq!(fate(&pool, permanent(), drain, plain), each(DropReason::Permanent, 1));
    let retried = permanent().retrying(Breaker::new(5, Duration::from_secs(1)));
    assert_eq!(fate(&pool, retried, drain, plain), each(DropReason::Permanent, 1));
    let failing = || Failing::always(Recording::new());
    assert_eq!(fate(&pool, failing(), drain, plain), each(DropReason::Exhausted, 1));
    let full = sink_fn(|_: &u64| Err(WriteError::Full));
    assert_eq!(fate(&pool, full, drain, plain), each(DropReason::Overflow, 1));
    let panicking = Panicking::new(|event: &u64| *event == 1, Recording::new());
    assert_eq!(fate(&pool, panicking, drain, plain), [(1, DropReason::Panicked, 1)]);
    let closed = Recording::new();
    Sink::<u64>::close(&closed, drain).unwrap();
    assert_eq!(fate(&pool, closed, drain, plain), [(0, DropReason::DestinationClosed, 1)]);

    // One attempt when it came, one more in the drain; the others wait behind it.
    let waiting = || failing().retrying(Breaker::new(1, Duration::from_secs(1)));
    let drained = [(0, DropReason::Abandoned, 2), (1, DropReason::Abandoned, 1), (2, DropReason::Abandoned, 1)];
    assert_eq!(fate(&pool, waiting(), drain, plain), drained);
    let aborted = [(0, DropReason::Abandoned, 1), (1, DropReason::Abandoned, 0), (2, DropReason::Abandoned, 0)];
    assert_eq!(fate(&pool, waiting(), Shutdown::Abort, plain), aborted);

    let small = |overflow| move |builder: QueueBuilder<u64>| builder.capacity(2).overflow(overflow);
    let newest = [(2, DropReason::Overflow, 0), (0, DropReason::Abandoned, 1), (1, DropReason::Abandoned, 0)];
    assert_eq!(fate(&pool, waiting(), Shutdown::Abort, small(Overflow::DropNewest)), newest);
    let oldest = [(1, DropReason::Overflow, 0), (0, DropReason::Abandoned, 1), (2, DropReason::Abandoned, 0)];
    assert_eq!(fate(&pool, waiting(), Shutdown::Abort, small(Overflow::DropOldest)), oldest);
}

#[test]
fn a_letter_tells_the_first_and_the_last_error_and_the_times() {
    let (pool, clock) = still_pool();
    let (dead, inbox) = letters(&pool);
    let backoff = ExponentialBackoff::builder().base(Duration::from_secs(1)).seed(1).build().unwrap();
    let told = std::sync::atomic::AtomicU64::new(0);
    let sink = sink_fn(move |_: &u64| {
        let n = told.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        Err(Failure::transient(format!("failure {n}")).into())
    });
    let builder = Queue::builder(sink.retrying(backoff)).name("orders").pool(&pool);
    let queue = builder.stamped().dead_letters(&dead).build().unwrap();
    let before = SystemTime::now();
    queue.send(123_454_321).unwrap();
    pool.wait_idle();
    clock.advance(Duration::from_secs(30));
    pool.wait_idle();
    queue.close(Shutdown::Abort).unwrap();
    dead.close(Shutdown::Drain).unwrap();

    let letter = inbox.recv().unwrap();
    assert_eq!((letter.event, &*letter.queue, letter.reason), (123_454_321, "orders", DropReason::Abandoned));
    assert!(letter.attempts >= 2, "{letter:?}");
    assert_eq!(letter.first_error.as_ref().unwrap().to_string(), "failure 1");
    assert_eq!(letter.last_error.as_ref().unwrap().to_string(), format!("failure {}", letter.attempts));
    let since = |at: Option<SystemTime>| letter.dropped.duration_since(at.unwrap()).unwrap();
    assert_eq!(since(letter.first_failure), Duration::from_secs(30));
    assert_eq!(since(letter.accepted), Duration::from_secs(30));
    assert!(letter.dropped >= before);
    assert!(!format!("{letter:?}").contains("123454321"), "no event contents: {letter:?}");
}

#[test]
fn a_letter_that_nobody_takes_is_counted_and_holds_up_no_writer() {
    let pool = lone_worker();
    let gate = stall(&pool);
    let (channel, inbox) = Channel::unbounded();
    // It would make a writer wait.
    let builder = Queue::builder(channel).pool(&pool).capacity(2).overflow(Overflow::Block);
    let dead: Queue<DeadLetter<u64>> = builder.build().unwrap();
    let builder = Queue::builder(Recording::new()).pool(&pool).capacity(1).overflow(Overflow::DropNewest);
    let queue = builder.dead_letters(&dead).build().unwrap();
    for event in 0..4 {
        queue.send(event).unwrap();
        queue.write(&event).unwrap();
    }
    assert_ledger(&queue, 8, 0, &[(DropReason::Overflow, 7)]);
    assert_eq!((queue.dead_letters_lost(), dead.refused()), (5, 5));
    gate.open();
    queue.close(Shutdown::Drain).unwrap();
    dead.close(Shutdown::Drain).unwrap();
    assert_eq!(inbox.iter().map(|letter| letter.event).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_failing_dead_letter_sink_is_counted_in_its_own_queue() {
    let (pool, _clock) = still_pool();
    let builder = Queue::builder(sink_fn(|_: &DeadLetter<u64>| Err(Failure::permanent(RefusedError).into())));
    let dead = builder.pool(&pool).build().unwrap();
    let builder = Queue::builder(Failing::always(Recording::new())).pool(&pool);
    let queue = builder.dead_letters(&dead).build().unwrap();
    queue.send(1).unwrap();
    queue.close(Shutdown::Drain).unwrap();
    dead.close(Shutdown::Drain).unwrap();
    assert_ledger(&queue, 1, 0, &[(DropReason::Exhausted, 1)]);
    assert_ledger(&dead, 1, 0, &[(DropReason::Permanent, 1)]);
}

#[test]
fn letters_written_back_arrive_and_what_is_refused_comes_back() {
    let (pool, _clock) = still_pool();
    let (dead, inbox) = letters(&pool);
    let builder = Queue::builder(Failing::always(Recording::<u64>::new())).pool(&pool);
    let broken = builder.dead_letters(&dead).build().unwrap();
    (0..5).for_each(|event| broken.send(event).unwrap());
    broken.close(Shutdown::Drain).unwrap();
    dead.close(Shutdown::Drain).unwrap();

    // Repaired, but small.
    let desk = Desk::default();
    let builder = Queue::builder(desk.clone()).pool(&pool).capacity(2).overflow(Overflow::Reject);
    let repaired = builder.build().unwrap();
    let replayed = replay(inbox.iter(), &repaired);
    assert_eq!(replayed.written, 2);
    let refused: Vec<_> = replayed.refused.iter().map(|(letter, _)| letter.event).collect();
    assert_eq!(refused, [2, 3, 4]);
    assert!(replayed.refused.iter().all(|(_, error)| matches!(error, WriteError::Full)));

    desk.serve(2);
    pool.wait_idle();
    let again = replay(replayed.refused.into_iter().map(|(letter, _)| letter), &repaired);
    assert_eq!((again.written, again.refused.len()), (2, 1));
    desk.serve(2);
    repaired.close(Shutdown::Drain).unwrap();
    let closed = replay(again.refused.into_iter().map(|(letter, _)| letter), &repaired);
    assert!(matches!(&closed.refused[..], [(letter, WriteError::Closed)] if letter.event == 4));
    assert_eq!(desk.served(), 4);
}

#[test]
fn what_a_deadline_abandons_is_in_the_letters_before_the_close_returns() {
    watched(|| {
        let pool = Pool::builder().build().unwrap();
        let (dead, inbox) = letters(&pool);
        let gate = Gate::new();
        let at = gate.clone();
        let sink = sink_fn(move |_: &u64| {
            at.pass();
            Ok(())
        });
        let queue = Queue::builder(sink).pool(&pool).dead_letters(&dead).build().unwrap();
        (0..10).for_each(|event| queue.send(event).unwrap());
        gate.wait_for(1);
        let report = queue.close(Shutdown::within(Duration::from_millis(5))).unwrap();
        assert_eq!((report.abandoned(), report.in_flight()), (9, 1));
        // The turn is still inside the sink: what it gives up comes when it returns.
        gate.open();
        pool.wait_idle();
        dead.close(Shutdown::Drain).unwrap();
        assert!(inbox.iter().map(|letter| letter.event).eq(1..10));
    });
}

#[test]
fn queues_may_share_their_dead_letters_and_one_that_ends_does_not_close_them() {
    let (pool, _clock) = still_pool();
    let (dead, inbox) = letters(&pool);
    let failing = |name: &str| {
        let builder = Queue::builder(Failing::always(Recording::new())).name(name).pool(&pool);
        builder.dead_letters(&dead).build().unwrap()
    };
    let (first, second) = (failing("first"), failing("second"));
    first.send(1).unwrap();
    first.close(Shutdown::Drain).unwrap();
    drop(first);
    second.send(2).unwrap();
    second.close(Shutdown::Drain).unwrap();
    dead.close(Shutdown::Drain).unwrap();
    let letters: Vec<_> = inbox.iter().map(|letter| (letter.queue.to_string(), letter.event)).collect();
    assert_eq!(letters, [("first".to_owned(), 1), ("second".to_owned(), 2)]);
}

#[test]
fn letters_of_events_that_never_had_a_turn_tell_when_they_were_accepted() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let (pool, _clock) = still_pool();
        let (dead, inbox) = letters(&pool);
        let builder = Queue::builder(Desk::default()).pool(&pool).capacity(2).overflow(overflow);
        let queue = builder.stamped().dead_letters(&dead).build().unwrap();
        (0..3).for_each(|event| queue.send(event).unwrap());
        queue.write(&3).unwrap();
        pool.wait_idle();
        let letters: Vec<_> = std::iter::from_fn(|| inbox.try_recv().ok()).collect();
        assert_eq!(letters.len(), 2);
        assert!(letters.iter().all(|letter| letter.accepted.is_some()), "{overflow:?}: {letters:?}");
        queue.close(Shutdown::Abort).unwrap();
    }
}

#[test]
fn a_panic_where_the_letter_goes_loses_the_letter_and_nothing_else() {
    watched(|| {
        let (pool, _clock) = still_pool();
        let size = |_: &DeadLetter<u64>| -> u64 { panic!("told to panic") };
        let builder = Queue::builder(Recording::<DeadLetter<u64>>::new()).pool(&pool).capacity_bytes(10, size);
        let dead = builder.build().unwrap();
        let builder = Queue::builder(Failing::always(Recording::new())).pool(&pool).capacity(1);
        let queue = builder.overflow(Overflow::DropNewest).dead_letters(&dead).build().unwrap();
        let gate = stall(&pool);
        (0..2).for_each(|event| queue.send(event).unwrap());
        gate.open();
        queue.close(Shutdown::Drain).unwrap();
        assert_ledger(&queue, 2, 0, &[(DropReason::Exhausted, 1), (DropReason::Overflow, 1)]);
        assert_eq!(queue.dead_letters_lost(), 2);
    });
}

/// Closed in the order that the documentation says, while writers take each other's places.
#[test]
fn no_letter_of_an_evicted_event_comes_after_the_queue_has_closed() {
    for round in 0..100 {
        watched(move || {
            let (channel, inbox) = Channel::unbounded();
            let dead: Queue<DeadLetter<u64>> = Queue::new(channel);
            let sink = sink_fn(|_: &u64| {
                std::thread::yield_now();
                Ok(())
            });
            let builder = Queue::builder(sink).capacity(2).overflow(Overflow::DropOldest);
            let queue = builder.dead_letters(&dead).build().unwrap();
            common::concurrently(4, |number| {
                if number > 0 {
                    while queue.send(number).is_ok() {}
                    return;
                }
                (0..round * 100).for_each(|_| std::hint::spin_loop());
                queue.close(Shutdown::Drain).unwrap();
                dead.close(Shutdown::Drain).unwrap();
            });
            assert_eq!(queue.dead_letters_lost(), 0);
            assert_eq!(inbox.iter().count() as u64, queue.ledger().dropped.total());
        });
    }
}
