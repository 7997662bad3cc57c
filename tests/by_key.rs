//! The fan-out by key of `examples/by_key`: a stage that has nothing but the public API, held to the contract.

mod common;

#[path = "../examples/by_key/by_key.rs"]
mod by_key;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use by_key::{ByKey, KeyClosed};
use common::{Desk, assert_closed, assert_ledger, concurrently, offer, still_pool, watched};
use sinkworks::test_util::{Failing, NotReadyYet, Recording, check_contract};
use sinkworks::{Breaker, Class, Journey, Queue, Shutdown, Sink, SinkExt, WriteError};

const SECOND: Duration = Duration::from_secs(1);

#[allow(clippy::trivially_copy_pass_by_ref, reason = "it is what says an event's key")]
fn even(event: &u64) -> bool {
    event % 2 == 0
}

#[test]
fn it_keeps_the_contract() {
    let difficult = |_: &bool| {
        NotReadyYet::new(1, Failing::first(2, NotReadyYet::new(2, Recording::new())))
            .retrying(Breaker::new(1, SECOND / 1000))
    };
    check_contract(|| ByKey::new(2, even, difficult), &1);
    check_contract(|| ByKey::new(2, even, |_: &bool| Queue::new(Recording::new())), &1);
    let nested = move |_: &bool| ByKey::new(9, |event: &u64| event % 3, move |_: &u64| difficult(&true));
    check_contract(|| ByKey::new(2, even, nested).queued(), &1);
}

#[test]
fn each_key_has_a_sink_and_its_events_in_order() {
    let (pool, _clock) = still_pool();
    let leaves = [Recording::new(), Recording::new()];
    let made = Arc::new(AtomicUsize::new(0));
    let (sinks, count, threads) = (leaves.clone(), made.clone(), pool.clone());
    let build = move |even: &bool| {
        count.fetch_add(1, Ordering::AcqRel);
        Queue::builder(sinks[usize::from(*even)].clone()).pool(&threads).build().unwrap()
    };
    let sink = ByKey::new(2, even, build);
    for event in 0..6u64 {
        sink.write(&event).unwrap();
    }
    pool.wait_idle();
    assert_eq!(leaves.map(|leaf| leaf.events()), [vec![1, 3, 5], vec![0, 2, 4]]);
    assert_eq!(made.load(Ordering::Acquire), 2);
    let report = Sink::<u64>::close(&sink, Shutdown::Drain).unwrap();
    assert_eq!((report.components().count(), report.dropped()), (2, 0));
    assert_closed(&sink.write(&6));
}

#[test]
fn a_key_that_waits_holds_up_no_other() {
    let desk = Desk::default();
    let taken = Recording::new();
    let (slow, fast) = (desk.clone(), taken.clone());
    let make = move |even: &bool| -> Box<dyn Sink<u64>> {
        if *even { Box::new(slow.clone().queued()) } else { Box::new(fast.clone()) }
    };
    let sink = ByKey::new(2, even, make);
    for event in 0..6 {
        sink.write(&event).unwrap();
    }
    assert_eq!(taken.events(), [1, 3, 5]);
    desk.serve(3);
    let report = Sink::<u64>::close(&sink, Shutdown::within(30 * SECOND)).unwrap();
    assert_eq!((desk.served(), report.dropped()), (3, 0));
}

#[test]
fn an_event_that_is_offered_again_goes_on_with_the_sink_that_has_begun() {
    let (_pool, clock) = still_pool();
    let desk = Desk::default();
    let (one, made) = (desk.clone(), Arc::new(AtomicUsize::new(0)));
    let count = made.clone();
    let sink = ByKey::new(2, even, move |_: &bool| {
        count.fetch_add(1, Ordering::AcqRel);
        one.clone()
    });
    let (mut answer, mut journey) = offer(&sink, &1u64, &clock, Journey::default());
    for _ in 0..3 {
        assert!(matches!(answer, Err(WriteError::NotReady(_))));
        (answer, journey) = offer(&sink, &1, &clock, journey);
    }
    desk.serve(1);
    assert!(offer(&sink, &1, &clock, journey).0.is_ok());
    assert_eq!((desk.arrived(), made.load(Ordering::Acquire)), (1, 1));
}

#[test]
fn a_sink_that_has_closed_is_replaced_and_the_event_repeated() {
    let (pool, clock) = still_pool();
    let sinks = Arc::new(std::sync::Mutex::new(Vec::<Recording<u64>>::new()));
    let kept = sinks.clone();
    let by_key = Arc::new(ByKey::new(2, even, move |_: &bool| {
        let sink = Recording::new();
        kept.lock().unwrap().push(sink.clone());
        sink
    }));
    let queue = Queue::builder(by_key.clone().retrying(Breaker::new(1, SECOND))).pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    pool.wait_idle();
    let first = sinks.lock().unwrap()[0].clone();
    Sink::<u64>::close(&first, Shutdown::Drain).unwrap();
    let Err(WriteError::Failed(failure)) = by_key.write(&3) else { panic!("its sink has closed") };
    assert_eq!((failure.class(), failure.cause().is::<KeyClosed>()), (Class::Transient, true));
    queue.send(5).unwrap();
    pool.wait_idle();
    let second = sinks.lock().unwrap()[1].clone();
    Sink::<u64>::close(&second, Shutdown::Drain).unwrap();
    queue.send(7).unwrap();
    pool.wait_idle();
    assert_eq!(sinks.lock().unwrap().len(), 2, "until the retry comes");
    clock.advance(SECOND);
    pool.wait_idle();
    assert_eq!(sinks.lock().unwrap().iter().map(Recording::events).collect::<Vec<_>>(), [vec![1], vec![5], vec![7]]);
    assert_ledger(&queue, 3, 3, &[]);
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn there_are_no_more_keys_than_allowed() {
    let sink = ByKey::new(2, |event: &u64| *event, |_: &u64| Recording::new());
    sink.write(&1).unwrap();
    sink.write(&2).unwrap();
    assert!(matches!(sink.write(&3), Err(WriteError::Full)));
    sink.write(&1).unwrap();
    Sink::<u64>::close(&sink, Shutdown::Drain).unwrap();
}

#[test]
fn writers_and_a_close_at_the_same_time_lose_nothing_that_was_taken() {
    watched(|| {
        for _ in 0..20 {
            let sink = ByKey::new(10, |event: &u64| event % 10, |_: &u64| Queue::new(Recording::new()));
            let taken = AtomicUsize::new(0);
            let report = std::sync::Mutex::new(None);
            concurrently(4, |writer| {
                if writer == 3 {
                    while taken.load(Ordering::Acquire) < 50 {
                        std::thread::yield_now();
                    }
                    *report.lock().unwrap() = Some(Sink::<u64>::close(&sink, Shutdown::Drain).unwrap());
                    return;
                }
                for event in 0..200 {
                    if sink.write(&event).is_err() {
                        break;
                    }
                    taken.fetch_add(1, Ordering::AcqRel);
                }
            });
            let report = report.lock().unwrap().take().unwrap();
            let delivered: u64 = report.components().map(|(_, component)| component.ledger.delivered).sum();
            assert_eq!((delivered, report.dropped()), (taken.load(Ordering::Acquire) as u64, 0));
        }
    });
}
