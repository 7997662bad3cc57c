//! Two hundred queues whose sinks swallow requests beside one healthy queue: the pool grows for the blocked ones, and the healthy one keeps its latency.
//!
//! In a process of its own, since it measures latencies.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use sinkworks::test_util::{Blocking, Gate, Recording};
use sinkworks::{Pool, Queue, sink_fn};

const BLOCKED: u64 = 200;

/// A queue whose deliveries tell how long their events were under way.
struct Healthy {
    queue: Queue<Instant>,
    latencies: mpsc::Receiver<Duration>,
}

impl Healthy {
    fn new(pool: &Pool) -> Self {
        let (tell, latencies) = mpsc::channel();
        let sink = sink_fn(move |sent: &Instant| {
            tell.send(sent.elapsed()).ok();
            Ok(())
        });
        Self { queue: Queue::builder(sink).name("healthy").pool(pool).build().unwrap(), latencies }
    }

    /// The 99th percentile of the latencies of an event every half millisecond for a while.
    fn p99(&self, during: Duration) -> Duration {
        let began = Instant::now();
        let mut sent = 0;
        while began.elapsed() < during {
            self.queue.send(Instant::now()).unwrap();
            sent += 1;
            std::thread::sleep(Duration::from_micros(500));
        }
        let mut latencies: Vec<_> = (0..sent).map(|_| self.latencies.recv().unwrap()).collect();
        latencies.sort_unstable();
        latencies[latencies.len() * 99 / 100]
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "measures time: run in release")]
fn a_healthy_queue_keeps_its_latency_beside_two_hundred_that_swallow_requests() {
    let pool = Pool::builder().name("swallowing").build().unwrap();
    let healthy = Healthy::new(&pool);
    let (mut quiet, mut blocked) = (Vec::new(), Vec::new());
    healthy.p99(Duration::from_millis(100));
    for round in 0..5 {
        quiet.push(healthy.p99(Duration::from_millis(500)));

        let gate = Gate::new();
        let began = Instant::now();
        let swallowed: Vec<_> = (0..BLOCKED)
            .map(|event| {
                let queue = Queue::builder(Blocking::new(gate.clone(), Recording::new())).pool(&pool).build().unwrap();
                queue.send(event).unwrap();
                queue
            })
            .collect();
        let first = healthy.p99(Duration::from_millis(500));
        // All are inside their sinks at the same time.
        gate.wait_for(BLOCKED);
        println!(
            "swallowing: round {round}: p99 {first:?} in the first 500 ms, all blocked within {:?}",
            began.elapsed()
        );
        assert!(first < Duration::from_millis(25), "p99 {first:?} in the first 500 ms");
        assert!(pool.stats().threads as u64 > BLOCKED, "{pool:?}");

        blocked.push(healthy.p99(Duration::from_millis(500)));
        gate.open();
        pool.wait_idle();
        assert!(swallowed.iter().all(|queue| queue.ledger().delivered == 1));
    }
    // The least of five: what else the machine does only adds, and what the blocked ones cost is in each.
    let least = |values: Vec<Duration>| values.into_iter().min().unwrap();
    let (quiet, blocked) = (least(quiet), least(blocked));
    println!("swallowing: least p99 {quiet:?} quiet, {blocked:?} beside {BLOCKED} blocked");
    assert!(blocked < 2 * quiet, "{blocked:?} against {quiet:?}");
}
