//! A thousand queues whose destinations refuse everything: a retry that waits costs no thread and next to no time, and the close keeps its deadline.
//!
//! In a process of its own, since it counts the threads and the processor time of the process.

#[path = "common/process.rs"]
mod process;

use std::time::{Duration, Instant};

use sinkworks::{
    Breaker, Broadcaster, DropReason, ExponentialBackoff, Failure, Pool, Queue, RetryStrategy, Shutdown, Sink, SinkExt,
    WriteError, sink_fn,
};

const QUEUES: u64 = 1_000;
const EVENTS: u64 = 20;

fn refusing(strategy: impl RetryStrategy + 'static) -> Queue<u64> {
    let refuse = |_: &u64| Err(Failure::transient(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)).into());
    sink_fn(refuse).retrying(strategy).queued()
}

#[test]
#[cfg_attr(debug_assertions, ignore = "measures time: run in release")]
fn a_thousand_refusing_destinations_cost_no_thread_and_close_in_time() {
    let broadcaster = Broadcaster::new();
    let mut queues = Vec::new();
    for number in 0..QUEUES {
        let queue = if number % 2 == 0 {
            refusing(Breaker::new(5, Duration::from_secs(1)))
        } else {
            refusing(ExponentialBackoff::default())
        };
        broadcaster.add(queue.clone()).unwrap();
        queues.push(queue);
    }
    for event in 0..EVENTS {
        broadcaster.write(&event).unwrap();
    }
    // Every queue has tried and waits for its time.
    Pool::global().wait_idle();
    assert!(Pool::global().stats().timers as u64 >= QUEUES * 9 / 10, "{:?}", Pool::global());

    let (began, cpu) = (Instant::now(), process::cpu_time());
    std::thread::sleep(Duration::from_secs(3));
    let share = process::cpu_time().saturating_sub(cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    let threads = process::threads_named("sinkworks");
    let allowed = std::thread::available_parallelism().unwrap().get() + 3;
    println!("refusing: {QUEUES} queues, {threads} threads of {allowed} allowed, {:.2} % of a core", share * 100.0);
    assert!(threads <= allowed, "{threads} threads");
    assert!(share < 0.05, "{:.1} % of a core", share * 100.0);

    let began = Instant::now();
    let report = broadcaster.close(Shutdown::within(Duration::from_secs(1))).unwrap();
    let took = began.elapsed();
    println!("refusing: closed within a deadline of 1 s in {took:?}");
    assert!(took < Duration::from_millis(1_200), "{took:?}");
    assert_eq!(report.components().count() as u64, QUEUES);
    assert_eq!((report.abandoned(), report.in_flight()), (QUEUES * EVENTS, 0), "the report is not exact");
    // A turn that was running when its queue ended may still be giving up what is left.
    Pool::global().wait_idle();
    for queue in &queues {
        let ledger = queue.ledger();
        assert!(ledger.balances());
        assert_eq!((ledger.accepted, ledger.dropped[DropReason::Abandoned], ledger.pending), (EVENTS, EVENTS, 0));
        assert!(matches!(queue.write(&0), Err(WriteError::Closed)));
    }
}
