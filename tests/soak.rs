//! Ten million events through bounded queues under every policy: memory stays flat, and the books are exact.
//!
//! In a process of its own, since it measures the process's memory.

#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::concurrently;
use sinkworks::{DeadLetter, DropReason, Ledger, Overflow, Queue, Shutdown, Sink, WriteError, sink_fn};

const EVENTS: u64 = 10_000_000;
const WRITERS: u64 = 3;
const CAPACITY: u64 = 1000;
/// What the process may grow by after its first twentieth: the allocator's slack, not a leak of one byte an event.
const SLACK: u64 = 4 << 20;

type Event = Box<[u8; 64]>;

/// The memory of this process that is resident, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A leaf that now and then is slow, so that writers find the queue full.
fn uneven(count: &Arc<AtomicU64>) -> impl Sink<Event> + 'static {
    let count = count.clone();
    sink_fn(move |_: &Event| {
        if count.fetch_add(1, Ordering::Relaxed) % 2_000 == 0 {
            let until = Instant::now() + Duration::from_micros(100);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        Ok(())
    })
}

/// What was written, as the writers saw it.
#[derive(Default)]
struct Answers {
    ok: AtomicU64,
    full: AtomicU64,
    closed: AtomicU64,
}

/// Writes `events`, from several threads at once.
fn write(queue: &Queue<Event>, events: u64, answers: &Answers) {
    concurrently(WRITERS, |_| {
        for n in 0..events / WRITERS {
            let answer = queue.send(Box::new([u8::try_from(n % 251).unwrap(); 64])).map_err(|refused| refused.error);
            let count = match answer {
                Ok(()) => &answers.ok,
                Err(WriteError::Full) => &answers.full,
                Err(WriteError::Closed) => &answers.closed,
                Err(other) => panic!("{other:?}"),
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// One policy's share, in slices. Answers what the process has grown by since the first one.
fn soak(overflow: Overflow, events: u64) -> u64 {
    let slices = 20;
    let (delivered, letters) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let answers = Answers::default();
    let mut total = Ledger::default();
    let (mut base, mut peak, mut refused) = (0, 0, 0);
    for slice in 0..slices {
        let count = letters.clone();
        let dead = Queue::builder(sink_fn(move |_: &DeadLetter<Event>| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        let dead = dead.capacity(CAPACITY).overflow(Overflow::Reject).build().unwrap();
        let builder = Queue::builder(uneven(&delivered)).capacity(CAPACITY).overflow(overflow).dead_letters(&dead);
        let queue = builder.capacity_bytes(CAPACITY * 64, |event| event.len() as u64).build().unwrap();
        write(&queue, events / slices, &answers);
        peak = peak.max(resident());
        queue.close(Shutdown::Drain).unwrap();
        dead.close(Shutdown::Drain).unwrap();

        let ledger = queue.ledger();
        assert_eq!((ledger.pending, queue.bytes()), (0, Some(0)), "{overflow:?}");
        assert_eq!(ledger.dropped.total(), ledger.dropped[DropReason::Overflow]);
        assert_eq!(dead.ledger().accepted + queue.dead_letters_lost(), ledger.dropped.total());
        assert!(queue.high_water() <= CAPACITY, "{overflow:?}: {}", queue.high_water());
        total.accepted += ledger.accepted;
        total.delivered += ledger.delivered;
        refused += queue.refused();
        if slice == 0 {
            base = resident();
            peak = base;
        }
    }
    let [ok, full, closed] = [&answers.ok, &answers.full, &answers.closed].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(ok + full + closed, events / slices / WRITERS * WRITERS * slices, "every write was answered");
    assert_eq!((total.accepted, refused), (ok, full + closed), "{overflow:?}");
    assert_eq!(total.delivered, delivered.load(Ordering::Relaxed), "{overflow:?}");
    println!(
        "soak, {overflow:?}: ok {ok}, refused {refused}, delivered {}, letters {}, grown by {} KiB",
        total.delivered,
        letters.load(Ordering::Relaxed),
        peak.saturating_sub(base) >> 10
    );
    peak.saturating_sub(base)
}

#[test]
#[cfg_attr(debug_assertions, ignore = "ten million events: run in release")]
fn ten_million_events_leave_memory_flat_and_books_exact() {
    let policies = [
        Overflow::Block,
        Overflow::BlockFor(Duration::from_micros(200)),
        Overflow::Reject,
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Disconnect,
    ];
    let began = Instant::now();
    for overflow in policies {
        let grown = soak(overflow, EVENTS / policies.len() as u64);
        assert!(grown <= SLACK, "{overflow:?}: the process has grown by {grown} bytes");
    }
    println!("soak: {EVENTS} events in {:.1} s", began.elapsed().as_secs_f64());
}
