//! Receipts: who has delivered an event, told when nobody can deliver it any more.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Desk, assert_ledger, concurrently, offer, stall, still_pool, watched};
use sinkworks::test_util::{Failing, Gate, ManualClock, NotReadyYet, Panicking, Recording, check_contract};
use sinkworks::{
    Breaker, Broadcaster, Channel, DropReason, Failure, Journey, Outcome, Overflow, Queue, Receipt, ReceiptError,
    Shutdown, Sink, SinkExt, Tracked, WriteError, sink_fn,
};

const SECOND: Duration = Duration::from_secs(1);

fn breaker() -> Breaker {
    Breaker::new(1, SECOND)
}

/// The names that have acknowledged, with how often.
fn names(outcome: &Outcome) -> Vec<(&str, u64)> {
    outcome.acknowledgements().iter().map(|known| (&*known.name, known.times)).collect()
}

/// Writes a tracked event and keeps only its receipt.
fn write(sink: &impl Sink<Tracked<u64>>, event: u64) -> Receipt {
    let (event, receipt) = Tracked::new(event);
    sink.write(&event).unwrap();
    receipt
}

#[test]
fn a_receipt_comes_when_the_last_clone_is_gone_and_not_before() {
    let (event, receipt) = Tracked::new(7_u64);
    let seen = Recording::new();
    let sink = seen.clone().acknowledged("seen");
    sink.write(&event).unwrap();
    let again = event.clone();
    drop(event);
    assert_eq!(receipt.try_outcome(), None);
    assert_eq!(receipt.wait_timeout(Duration::ZERO), Err(ReceiptError::TimedOut));
    drop(again);
    let outcome = receipt.wait().unwrap();
    assert_eq!((names(&outcome), seen.events()), (vec![("seen", 1)], vec![7]));
    assert_eq!(outcome.acknowledgements()[0].sink, Sink::<Tracked<u64>>::id(&sink));
    assert_eq!(receipt.try_outcome(), Some(outcome), "it can be asked again");
}

#[test]
fn a_retry_acknowledges_once_when_it_has_delivered_above_it_and_below() {
    let (pool, clock) = still_pool();
    let (above, below) = (Recording::new(), Recording::new());
    let broadcaster = Broadcaster::new();
    let add = |sink: Box<dyn Sink<Tracked<u64>>>| {
        broadcaster.add(Queue::builder(sink).pool(&pool).build().unwrap()).unwrap();
    };
    add(Box::new(NotReadyYet::new(2, Failing::first(2, above.clone())).retrying(breaker()).acknowledged("above")));
    add(Box::new(NotReadyYet::new(2, Failing::first(2, below.clone())).acknowledged("below").retrying(breaker())));
    let receipt = write(&broadcaster, 1);
    for _ in 0..2 {
        pool.wait_idle();
        assert_eq!(receipt.try_outcome(), None, "it is being retried");
        clock.advance(SECOND);
    }
    pool.wait_idle();
    let outcome = receipt.try_outcome().unwrap();
    assert_eq!((above.attempts(), below.attempts()), (vec![(1, 3)], vec![(1, 3)]), "and the journey was passed on");
    assert!(outcome.has_all(["above", "below"]));
    assert_eq!(outcome.acknowledgements().iter().map(|known| known.times).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn of_two_branches_the_one_that_fails_is_missing() {
    let (pool, _clock) = still_pool();
    let broadcaster = Broadcaster::new();
    let good = Recording::new().acknowledged("good");
    let bad = sink_fn(|_: &u64| Err(Failure::permanent("bad").into())).acknowledged("bad");
    broadcaster.add(Queue::builder(good).pool(&pool).build().unwrap()).unwrap();
    broadcaster.add(Queue::builder(bad).pool(&pool).build().unwrap()).unwrap();
    let receipt = write(&broadcaster, 1);
    let outcome = watched(move || receipt.wait()).unwrap();
    assert_eq!(names(&outcome), [("good", 1)]);
    assert!(outcome.has("good") && !outcome.has("bad") && !outcome.has_all(["good", "bad"]));
}

#[test]
fn what_a_full_queue_refuses_is_missing_that_branch_alone() {
    let (pool, _clock) = still_pool();
    let stalled = stall(&pool);
    let (bounded, other) = (Recording::new().acknowledged("bounded"), Recording::new().acknowledged("other"));
    let bounded = Queue::builder(bounded).pool(&pool).capacity(1).overflow(Overflow::Reject).build().unwrap();
    let broadcaster = Broadcaster::new();
    broadcaster.add(bounded).unwrap();
    broadcaster.add(Queue::builder(other).pool(&pool).build().unwrap()).unwrap();
    let (first, second) = (write(&broadcaster, 1), write(&broadcaster, 2));
    assert_eq!((first.try_outcome(), second.try_outcome()), (None, None));
    stalled.open();
    pool.wait_idle();
    assert!(first.try_outcome().unwrap().has_all(["bounded", "other"]));
    assert_eq!(names(&second.try_outcome().unwrap()), [("other", 1)]);
    assert_eq!(broadcaster.lost()[DropReason::Overflow], 1);
}

#[test]
fn what_a_close_abandons_is_acknowledged_by_nobody() {
    let (pool, _clock) = still_pool();
    let sink = Failing::always(Recording::new()).retrying(breaker()).acknowledged("sink");
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    let receipts: Vec<_> = (0..3).map(|event| write(&queue, event)).collect();
    pool.wait_idle();
    assert!(receipts.iter().all(|receipt| receipt.try_outcome().is_none()));
    queue.close(Shutdown::Abort).unwrap();
    pool.wait_idle();
    assert!(receipts.iter().all(|receipt| receipt.try_outcome() == Some(Outcome::default())));
}

#[test]
fn a_sink_that_panics_or_has_closed_acknowledges_nothing_and_the_receipt_comes() {
    let (pool, _clock) = still_pool();
    let panicking = Panicking::new(|event: &u64| *event == 1, Recording::new()).acknowledged("sink");
    let queue = Queue::builder(panicking).pool(&pool).build().unwrap();
    let (panicked, fine) = (write(&queue, 1), write(&queue, 2));
    pool.wait_idle();
    assert_eq!(names(&panicked.try_outcome().unwrap()), []);
    assert_eq!(names(&fine.try_outcome().unwrap()), [("sink", 1)]);

    let closed = Recording::<u64>::new();
    Sink::<u64>::close(&closed, Shutdown::Drain).unwrap();
    let queue = Queue::builder(closed.acknowledged("closed")).pool(&pool).build().unwrap();
    let receipt = write(&queue, 1);
    pool.wait_idle();
    assert_eq!(names(&receipt.try_outcome().unwrap()), []);
}

#[test]
fn required_branches_and_receipts_together_tell_who_has_it_once_each() {
    let (pool, clock) = still_pool();
    let (steady, flaky, best_effort) = (Recording::new(), Recording::new(), Recording::new());
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(steady.clone().acknowledged("steady")).unwrap();
    broadcaster.add_required(Failing::first(2, flaky.clone()).acknowledged("flaky")).unwrap();
    broadcaster.add(best_effort.clone().untracked()).unwrap();
    let queue = Queue::builder(broadcaster.retrying(breaker())).pool(&pool).build().unwrap();
    let receipt = write(&queue, 1);
    for _ in 0..2 {
        pool.wait_idle();
        assert_eq!(receipt.try_outcome(), None);
        clock.advance(SECOND);
    }
    pool.wait_idle();
    assert_eq!(names(&receipt.try_outcome().unwrap()), [("steady", 1), ("flaky", 1)]);
    for sink in [&steady, &flaky, &best_effort] {
        assert_eq!(sink.events(), [1]);
    }
    assert_ledger(&queue, 1, 1, &[]);
}

#[test]
fn above_a_broadcaster_it_acknowledges_what_all_required_sinks_took() {
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(Failing::first(1, Recording::new())).unwrap();
    let sink = broadcaster.acknowledged("all");
    let (event, receipt) = Tracked::new(1_u64);
    assert!(matches!(sink.write(&event), Err(WriteError::Failed(_))));
    drop(event);
    assert_eq!(names(&receipt.wait().unwrap()), []);
    assert_eq!(names(&write(&sink, 2).wait().unwrap()), [("all", 1)]);
}

#[test]
fn a_queue_of_plain_events_does_not_keep_the_receipt_back() {
    let (pool, _clock) = still_pool();
    let stalled = stall(&pool);
    let seen = Recording::new();
    let queue = Queue::builder(seen.clone()).pool(&pool).build().unwrap();
    let receipt = write(&queue.clone().untracked(), 1);
    assert_eq!(names(&receipt.try_outcome().unwrap()), []);
    stalled.open();
    pool.wait_idle();
    assert_eq!(seen.events(), [1]);
}

#[test]
fn two_of_the_same_name_and_a_write_that_is_repeated_are_told_apart() {
    let (one, two) = (Recording::new().acknowledged("disk"), Recording::new().acknowledged("disk"));
    let (event, receipt) = Tracked::new(1_u64);
    one.write(&event).unwrap();
    two.write(&event).unwrap();
    two.write(&event).unwrap();
    event.acknowledge("disk");
    drop(event);
    let outcome = receipt.wait().unwrap();
    assert_eq!(names(&outcome), [("disk", 1), ("disk", 2), ("disk", 1)]);
    let ids: Vec<_> = outcome.acknowledgements().iter().map(|known| known.sink).collect();
    assert_eq!(ids, [Sink::<Tracked<u64>>::id(&one), Sink::<Tracked<u64>>::id(&two), None]);
}

#[test]
fn a_reader_of_a_channel_acknowledges_by_hand() {
    let (channel, receiver) = Channel::<Tracked<u64>>::builder().capacity(4).build().unwrap();
    let (read, unread) = (write(&channel, 1), write(&channel, 2));
    let event = receiver.recv().unwrap();
    assert_eq!(*event, 1);
    event.acknowledge("reader");
    assert_eq!(read.try_outcome(), None);
    drop(event);
    assert_eq!(names(&read.try_outcome().unwrap()), [("reader", 1)]);
    assert_eq!(unread.try_outcome(), None);
}

#[test]
fn everyone_who_waits_is_told_when_the_event_ends() {
    watched(|| {
        let (event, receipt) = Tracked::new(());
        let event = std::sync::Mutex::new(Some(event));
        concurrently(4, |number| match number {
            0 => drop(event.lock().unwrap().take()),
            1 => assert_eq!(receipt.wait_timeout(Duration::MAX), Ok(Outcome::default())),
            _ => assert_eq!(receipt.wait(), Ok(Outcome::default())),
        });
    });
}

#[test]
fn all_acknowledgements_made_before_the_end_are_in_the_outcome() {
    watched(|| {
        for _ in 0..200 {
            let (event, receipt) = Tracked::new(());
            let writers: Vec<_> = (0..3)
                .map(|_| {
                    let event = event.clone();
                    thread::spawn(move || event.acknowledge("writer"))
                })
                .collect();
            drop(event);
            assert_eq!(names(&receipt.wait().unwrap()), [("writer", 3)]);
            for writer in writers {
                writer.join().unwrap();
            }
        }
    });
}

#[test]
fn a_waiter_that_parks_is_woken_by_the_delivery() {
    watched(|| {
        let gate = Gate::new();
        let sink = sinkworks::test_util::Blocking::new(gate.clone(), Recording::new()).acknowledged("sink");
        let queue = sink.queued();
        let receipt = write(&queue, 1);
        let waiter = thread::spawn(move || receipt.wait());
        gate.wait_for(1);
        gate.open();
        assert_eq!(names(&waiter.join().unwrap().unwrap()), [("sink", 1)]);
    });
}

#[test]
fn on_a_pool_thread_nobody_waits_for_itself() {
    watched(|| {
        let (pool, _clock) = still_pool();
        let (tell, told) = std::sync::mpsc::channel();
        let inside = sink_fn(move |_: &u64| {
            let (event, receipt) = Tracked::new(());
            let waits = (receipt.wait(), receipt.wait_timeout(Duration::MAX), receipt.try_outcome());
            drop(event);
            tell.send((waits, receipt.wait())).unwrap();
            Ok(())
        });
        let queue = Queue::builder(inside).pool(&pool).build().unwrap();
        queue.send(1).unwrap();
        let (waits, known) = told.recv().unwrap();
        assert_eq!(waits, (Err(ReceiptError::OnWorker), Err(ReceiptError::OnWorker), None));
        assert_eq!(known, Ok(Outcome::default()), "what is known needs no wait");
    });
}

/// Panics when it is dropped, and notes that it was.
struct DropsBadly(Arc<AtomicBool>);

impl Drop for DropsBadly {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        panic!("told to panic");
    }
}

#[test]
fn an_event_that_panics_when_it_is_dropped_has_its_receipt() {
    let dropped = Arc::new(AtomicBool::new(false));
    let (event, receipt) = Tracked::new(DropsBadly(dropped.clone()));
    event.acknowledge("reader");
    assert!(thread::spawn(move || drop(event)).join().is_err());
    assert!(dropped.load(Ordering::Acquire));
    assert_eq!(names(&receipt.try_outcome().unwrap()), [("reader", 1)]);
}

/// Asks for its own receipt when it is dropped.
struct Asks(Arc<std::sync::Mutex<Option<Receipt>>>);

impl Drop for Asks {
    fn drop(&mut self) {
        let receipt = self.0.lock().unwrap();
        assert!(receipt.as_ref().unwrap().try_outcome().is_none());
    }
}

#[test]
fn the_end_is_told_after_the_event_is_dropped() {
    let slot = Arc::new(std::sync::Mutex::new(None));
    let (event, receipt) = Tracked::new(Asks(slot.clone()));
    *slot.lock().unwrap() = Some(receipt);
    drop(event);
    assert!(slot.lock().unwrap().as_ref().unwrap().try_outcome().is_some());
}

#[test]
fn the_stages_are_transparent_and_keep_the_contract() {
    let event = Tracked::new(1_u64).0;
    check_contract(|| Recording::<u64>::new().acknowledged("sink"), &event);
    check_contract(|| NotReadyYet::new(2, Recording::<u64>::new()).acknowledged("sink"), &event);
    check_contract(|| Queue::<u64>::new(Recording::new()).untracked(), &event);
    let retried = || Failing::first(3, NotReadyYet::new(2, Recording::<u64>::new())).retrying(breaker_ms());
    check_contract(move || retried().untracked(), &event);
    check_contract(move || retried().acknowledged("sink"), &event);

    // What is below saves, and is resumed.
    let clock = ManualClock::new();
    let desk = Desk::default();
    let sink = desk.clone().acknowledged("desk");
    let (event, receipt) = Tracked::new(1_u64);
    let (answer, journey) = offer(&sink, &event, &clock, Journey::default());
    assert!(matches!(answer, Err(WriteError::NotReady(_))) && !journey.is_at_start());
    desk.serve(1);
    offer(&sink, &event, &clock, journey).0.unwrap();
    drop(event);
    assert_eq!((desk.arrived(), names(&receipt.wait().unwrap())), (1, vec![("desk", 1)]));
}

fn breaker_ms() -> Breaker {
    Breaker::new(1, Duration::from_millis(1))
}

#[test]
fn nothing_of_the_event_shows_in_debug() {
    let (event, receipt) = Tracked::new("hunter2");
    let sink = Recording::<&str>::new().acknowledged("sink");
    let shown = format!("{event:?} {receipt:?} {sink:?} {:?}", Recording::<&str>::new().untracked());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(*event, "hunter2");
}
