//! What a write costs that finds no room: no more than twice a normal one, where the policy is to reject or to drop the newest.
//!
//! In a process of its own, since it measures time.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sinkworks::test_util::{Blocking, Gate, Recording};
use sinkworks::{Overflow, Pool, Queue, Sink};

const WRITES: u32 = 20_000;
const ROUNDS: usize = 41;

type Event = Arc<[u8; 256]>;

/// How a writer writes.
type Write = fn(&Queue<Event>, &Event);

fn per_write(queue: &Queue<Event>, event: &Event, write: Write) -> Duration {
    let began = Instant::now();
    for _ in 0..WRITES {
        write(queue, event);
    }
    began.elapsed() / WRITES
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[cfg_attr(debug_assertions, ignore = "measures time: run in release")]
fn a_write_to_a_full_queue_costs_no_more_than_two_normal_writes() {
    let pool = Pool::builder().build().unwrap();
    let event: Event = Arc::new([7; 256]);
    let ways: [(&str, Write); 2] = [
        ("send", |queue, event| drop(black_box(queue.send(event.clone())))),
        ("write", |queue, event| drop(black_box(queue.write(event)))),
    ];
    for (name, write) in ways {
        let gate = Gate::new();
        // Its sink holds the first event, so that no drain runs beside any of the measurements.
        let full = |overflow| {
            let sink = Blocking::new(gate.clone(), Recording::new());
            let builder = Queue::builder(sink).pool(&pool).capacity(1000).overflow(overflow);
            let queue = builder.build().unwrap();
            (0..1000).for_each(|_| queue.send(event.clone()).unwrap());
            queue
        };
        let (reject, drop_newest) = (full(Overflow::Reject), full(Overflow::DropNewest));
        gate.wait_for(2);
        let (mut normal, mut rejected, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let sink = Blocking::new(gate.clone(), Recording::new());
            let open = Queue::builder(sink).pool(&pool).build().unwrap();
            open.send(event.clone()).unwrap();
            normal.push(per_write(&open, &event, write));
            rejected.push(per_write(&reject, &event, write));
            dropped.push(per_write(&drop_newest, &event, write));
        }
        assert_eq!(reject.refused(), u64::from(WRITES) * ROUNDS as u64, "each of them found it full");
        assert_eq!(drop_newest.ledger().dropped.total(), u64::from(WRITES) * ROUNDS as u64);
        let (normal, rejected, dropped) = (median(normal), median(rejected), median(dropped));
        println!("overflow cost, {name}: normal {normal:?}, reject {rejected:?}, drop newest {dropped:?}");
        assert!(rejected <= 2 * normal, "reject: {rejected:?} against {normal:?}");
        assert!(dropped <= 2 * normal, "drop newest: {dropped:?} against {normal:?}");
        gate.open();
    }
}
