//! What a scrape costs in a process of a thousand queues. In a process of its own, since it measures time.
#![cfg(feature = "prometheus")]

use std::time::{Duration, Instant};

use sinkworks::telemetry::Exporter;
use sinkworks::{Pool, Queue, sink_fn};

const QUEUES: usize = 1_000;
const EVENTS: u64 = 500;
const ALLOWED: Duration = Duration::from_millis(60);

/// The shortest of some scrapes, and the length of what they rendered.
fn scrape(exporter: &Exporter) -> (Duration, usize) {
    let timed = || {
        let began = Instant::now();
        let length = exporter.render().len();
        (began.elapsed(), length)
    };
    (0..9).map(|_| timed()).min().unwrap()
}

#[test]
#[cfg_attr(debug_assertions, ignore = "measures time: run in release")]
fn a_scrape_of_a_thousand_queues_is_quick_and_does_not_grow_with_events() {
    let exporter = Exporter::install().unwrap();
    let queue = |number| Queue::builder(sink_fn(|_: &u64| Ok(()))).name(format!("queue-{number}")).build().unwrap();
    let queues: Vec<Queue<u64>> = (0..QUEUES).map(queue).collect();
    let before = scrape(&exporter);
    for event in 0..EVENTS {
        for queue in &queues {
            queue.send(event).unwrap();
        }
    }
    Pool::global().wait_idle();
    let after = scrape(&exporter);
    println!("scrape: {QUEUES} queues: {before:?}, after {} events {after:?}", EVENTS * QUEUES as u64);
    assert!(before.0 < ALLOWED && after.0 < ALLOWED, "{before:?} {after:?}");
    // Digits and no lines.
    assert!(after.1 < before.1 + before.1 / 20, "{before:?} {after:?}");
}
