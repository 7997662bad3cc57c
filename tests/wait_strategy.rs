//! How the workers of a pool wait: whatever the strategy, every event is delivered, nobody hangs, and a write wakes whom it should.

use std::sync::mpsc;
use std::time::Duration;

use sinkworks::{BuildError, Pool, Queue, Shutdown, Sink, WaitStrategy, sink_fn};

const STRATEGIES: [WaitStrategy; 4] = [
    WaitStrategy::Park,
    WaitStrategy::SpinThenPark { spin: Duration::from_micros(50) },
    WaitStrategy::Poll { interval: Duration::from_micros(50) },
    WaitStrategy::Poll { interval: Duration::from_millis(20) },
];

fn pool(wait: WaitStrategy, threads: usize) -> Pool {
    Pool::builder().threads(threads).max_threads(8).wait_strategy(wait).build().expect("threads start")
}

/// A queue, and a receiver of what it delivers.
fn queue(pool: &Pool) -> (Queue<u64>, mpsc::Receiver<u64>) {
    let (sender, receiver) = mpsc::channel();
    let sink = sink_fn(move |event: &u64| {
        sender.send(*event).expect("the test receives");
        Ok(())
    });
    (Queue::builder(sink).pool(pool).build().expect("nothing is wrong"), receiver)
}

#[test]
fn every_event_is_delivered_whatever_the_strategy() {
    for wait in STRATEGIES {
        for threads in [1, 2] {
            let pool = pool(wait, threads);
            let (queue, receiver) = queue(&pool);
            for event in 0..100 {
                queue.send(event).expect("it is open");
                // One by one, so that the workers wait in between.
                assert_eq!(receiver.recv().expect("it is delivered"), event, "{wait:?}, {threads} threads");
            }
            let report = queue.close(Shutdown::Drain).expect("it closes");
            assert_eq!((report.dropped(), queue.ledger().delivered), (0, 100), "{wait:?}");
        }
    }
}

#[test]
fn where_workers_poll_nobody_is_woken() {
    let pool = pool(WaitStrategy::Poll { interval: Duration::from_micros(50) }, 2);
    let (queue, receiver) = queue(&pool);
    for event in 0..100 {
        queue.send(event).expect("it is open");
        receiver.recv().expect("it is delivered");
    }
    assert_eq!(pool.stats().wakeups, 0);
}

#[test]
fn where_they_park_a_write_to_an_idle_pool_wakes_one() {
    let pool = pool(WaitStrategy::Park, 1);
    let (queue, receiver) = queue(&pool);
    for event in 0..10 {
        pool.wait_idle();
        queue.send(event).expect("it is open");
        receiver.recv().expect("it is delivered");
    }
    assert!(pool.stats().wakeups >= 10, "{:?}", pool.stats());
}

/// A sink that blocks holds one worker; the pool grows for the others, whatever the strategy.
#[test]
fn a_blocked_sink_keeps_nobody_else_from_delivery() {
    for wait in STRATEGIES {
        let pool = pool(wait, 1);
        let (release, gate) = mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let blocking = sink_fn(move |_: &u64| {
            // Until the sender goes.
            assert!(gate.lock().expect("no panic").recv().is_err());
            Ok(())
        });
        let blocked = Queue::builder(blocking).pool(&pool).build().expect("nothing is wrong");
        blocked.send(1).expect("it is open");
        let (queue, receiver) = queue(&pool);
        queue.send(2).expect("it is open");
        assert_eq!(receiver.recv().expect("it is delivered"), 2, "{wait:?}");
        drop(release);
        blocked.close(Shutdown::Drain).expect("it closes");
    }
}

#[test]
fn an_interval_or_a_spin_out_of_range_is_refused() {
    let refused = |wait| Pool::builder().wait_strategy(wait).build().expect_err("it makes no sense");
    let (zero, long) = (Duration::ZERO, Duration::from_secs(2));
    for wait in [
        WaitStrategy::Poll { interval: zero },
        WaitStrategy::Poll { interval: long },
        WaitStrategy::SpinThenPark { spin: long },
    ] {
        assert!(matches!(refused(wait), BuildError::OutOfRange { option: "wait_strategy", .. }), "{wait:?}");
    }
}
