//! What `ci/telemetry-cost.sh` measures, built with telemetry and without: a million writes to a running queue, then their delivery.
//!
//! The worker is held while the events are written, so that the two phases are apart: each takes the same instructions every time. Prints the nanoseconds
//! per event of the one and of the other.

use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};

use sinkworks::{Pool, Queue, Shutdown, Sink, sink_fn};

/// Apart, and by this name, so that callgrind can count what happens in it.
#[inline(never)]
fn write_events(queue: &Queue<u64>, events: u64) {
    for event in 1..=events {
        queue.send(event).expect("an open queue");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let events = std::env::args().nth(1).map_or(Ok(1_000_000), |events| events.parse())?;
    let gate = Arc::new(Barrier::new(2));
    let (door, (told, delivered)) = (gate.clone(), mpsc::channel());
    let sink = sink_fn(move |event: &u64| {
        if *event == 0 {
            door.wait();
            door.wait();
        }
        if *event == events {
            told.send(Instant::now()).expect("somebody waits");
        }
        Ok(())
    });
    let pool = Pool::dedicated("cost")?;
    let queue = Queue::builder(sink).name("cost").pool(&pool).build()?;
    queue.send(0)?;
    // The turn has begun: before that each write would wake the queue.
    gate.wait();
    let began = Instant::now();
    write_events(&queue, events);
    let opened = Instant::now();
    gate.wait();
    // Before the close: a closed queue delivers in a longer way, so that an abort splits it exactly.
    let ended = delivered.recv()?;
    queue.close(Shutdown::Drain)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let per_event = |time: Duration| time.as_secs_f64() * 1e9 / events as f64;
    println!("{:.2} {:.2}", per_event(opened - began), per_event(ended - opened));
    Ok(())
}
