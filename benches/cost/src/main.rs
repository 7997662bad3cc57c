//! What `ci/telemetry-cost.sh` measures, built with telemetry and without: a million writes to a running queue, then their delivery.
//!
//! The worker is held while the events are written, so that the two phases are apart: each takes the same instructions every time. Prints the nanoseconds
//! per event of the one and of the other.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use sinkworks::{Pool, Queue, Shutdown, Sink, sink_fn};

/// Apart, and by this name, so that callgrind can count what happens in it.
#[inline(never)]
fn write_events(queue: &Queue<u64>, events: u64) {
    for event in 0..events {
        queue.send(event).expect("an open queue");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let events = std::env::args().nth(1).map_or(Ok(1_000_000), |events| events.parse())?;
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let door = gate.clone();
    let sink = sink_fn(move |event: &u64| {
        if *event == 0 {
            let mut open = door.0.lock().expect("no panic");
            while !*open {
                open = door.1.wait(open).expect("no panic");
            }
        }
        Ok(())
    });
    let pool = Pool::dedicated("cost")?;
    let queue = Queue::builder(sink).name("cost").pool(&pool).build()?;
    let began = Instant::now();
    write_events(&queue, events);
    let written = began.elapsed();
    let began = Instant::now();
    *gate.0.lock().expect("no panic") = true;
    gate.1.notify_all();
    queue.close(Shutdown::Drain)?;
    let delivered = began.elapsed();
    let per_event = |time: std::time::Duration| time.as_nanos() / u128::from(events.max(1));
    println!("{} {}", per_event(written), per_event(delivered));
    Ok(())
}
