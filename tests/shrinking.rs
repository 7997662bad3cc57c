//! A pool that has grown for sinks that block goes back to its least threads when they do not any more, whatever else it has to do.

use std::time::{Duration, Instant};

use sinkworks::test_util::{Blocking, Gate, Recording};
use sinkworks::{Pool, Queue, sink_fn};

const KEEP_ALIVE: Duration = Duration::from_millis(300);
const GROWN: usize = 4;
const BUSY: usize = 64;

/// Has the pool do `work` until it has so many threads.
fn until_threads(pool: &Pool, threads: usize, mut work: impl FnMut()) {
    let began = Instant::now();
    while pool.stats().threads != threads {
        assert!(began.elapsed() < Duration::from_secs(10), "{pool:?}");
        work();
    }
}

#[test]
fn a_pool_shrinks_while_short_turns_go_on() {
    let pool = Pool::builder().name("shrinking").threads(1).max_threads(GROWN).keep_alive(KEEP_ALIVE).build().unwrap();
    let gate = Gate::new();
    let blocked: Vec<_> = (0..GROWN)
        .map(|_| Queue::builder(Blocking::new(gate.clone(), Recording::new())).pool(&pool).build().unwrap())
        .collect();
    for queue in &blocked {
        queue.send(0_u64).unwrap();
    }
    until_threads(&pool, GROWN, std::thread::yield_now);
    gate.open();

    // Each burst wakes every worker that is parked, one after the other, far more often than once in a keep-alive.
    let busy = || Queue::builder(sink_fn(|_: &u64| Ok(()))).pool(&pool).build().unwrap();
    let queues: Vec<_> = (0..BUSY).map(|_| busy()).collect();
    until_threads(&pool, 1, || {
        for queue in &queues {
            queue.send(1).unwrap();
        }
        pool.wait_idle();
    });
    assert!(blocked.iter().chain(&queues).all(|queue| queue.ledger().pending == 0));
}
