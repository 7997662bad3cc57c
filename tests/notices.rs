//! What a log is told about state changes, seen by a subscriber of the test's own. It is the process's, since much is told on pool threads; each test looks for
//! the names of its own components.
#![cfg(feature = "tracing")]

mod common;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use common::{Desk, stall, still_pool};
use sinkworks::{
    Breaker, Broadcaster, Channel, Failure, Overflow, Pool, Queue, RetryingSink, Shutdown, Sink, WriteError, sink_fn,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// An event: its level, and its fields as text, the message among them.
type Told = (Level, BTreeMap<&'static str, String>);

static TOLD: Mutex<Vec<Told>> = Mutex::new(Vec::new());

struct Collect;

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Collect {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sinkworks"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let panics = fields.0.values().any(|value| value == "n-panicking-subscriber");
        TOLD.lock().unwrap_or_else(PoisonError::into_inner).push((*event.metadata().level(), fields.0));
        assert!(!panics, "told to panic");
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Collect).unwrap());
}

/// What was told about the component with this name.
fn told(name: &str) -> Vec<Told> {
    let all = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().filter(|(_, fields)| fields.values().any(|value| value == name)).cloned().collect()
}

/// The same, of one message: the level and some fields.
fn messages<const N: usize>(name: &str, message: &str, fields: [&str; N]) -> Vec<(Level, [String; N])> {
    let told = told(name).into_iter().filter(|(_, known)| known["message"] == message);
    told.map(|(level, known)| (level, fields.map(|field| known[field].clone()))).collect()
}

fn texts<const N: usize>(fields: [&str; N]) -> [String; N] {
    fields.map(str::to_owned)
}

#[test]
fn a_breakers_changes_are_told_in_order() {
    listen();
    let (pool, clock) = still_pool();
    let desk = Desk::default();
    desk.refuse(true);
    let breaker = Breaker::builder().name("n-breaker").threshold(1).backoff(Duration::from_secs(10)).build().unwrap();
    let retry = RetryingSink::new(desk.clone(), breaker);
    let queue = Queue::builder(retry).name("n-held").pool(&pool).build().unwrap();
    queue.send(1_u64).unwrap();
    pool.wait_idle();
    desk.refuse(false);
    desk.serve(1);
    clock.advance(Duration::from_secs(10));
    pool.wait_idle();
    assert_eq!(
        messages("n-breaker", "breaker changed", ["from", "to", "suppressed"]),
        [
            (Level::WARN, texts(["closed", "open", "0"])),
            (Level::INFO, texts(["open", "half_open", "0"])),
            (Level::INFO, texts(["half_open", "closed", "0"])),
        ]
    );
}

#[test]
fn losses_dead_letters_and_the_close_are_told_with_their_numbers_and_without_contents() {
    listen();
    let (pool, _clock) = still_pool();
    let letters = Queue::builder(sink_fn(|_: &sinkworks::DeadLetter<u64>| Ok(()))).name("n-letters").pool(&pool);
    let letters = letters.capacity(1).overflow(Overflow::Reject).build().unwrap();
    let fails = sink_fn(|event: &u64| match event {
        0 => Ok(()),
        _ => Err(WriteError::Failed(Failure::permanent(format!("secret {event}")))),
    });
    let queue = Queue::builder(fails).name("n-queue").pool(&pool).dead_letters(&letters).build().unwrap();
    for event in [0, 77_777, 77_777] {
        queue.send(event).unwrap();
    }
    // In one turn: the first letter fills its queue.
    pool.wait_idle();
    queue.close(Shutdown::Drain).unwrap();
    let written = messages("n-queue", "dead letter written", ["reason"]);
    let lost = messages("n-queue", "dead letter lost", ["reason"]);
    assert_eq!(written.len() + lost.len(), 2);
    assert!(written.iter().all(|told| *told == (Level::INFO, texts(["permanent"]))), "{written:?}");
    assert!(lost.iter().all(|told| *told == (Level::ERROR, texts(["permanent"]))), "{lost:?}");
    assert_eq!(lost.len() as u64, queue.dead_letters_lost());
    assert_eq!(messages("n-queue", "closing", ["how", "pending"]), [(Level::INFO, texts(["drain", "0"]))]);
    assert_eq!(
        messages("n-queue", "closed", ["accepted", "delivered", "dropped", "abandoned", "pending"]),
        [(Level::WARN, texts(["3", "1", "2", "0", "0"]))]
    );
    let all = format!("{:?}", told("n-queue"));
    assert!(!all.contains("77777") && !all.contains("77_777") && !all.contains("secret"), "{all}");
}

#[test]
fn an_eviction_and_a_contained_panic_are_told() {
    listen();
    let broadcaster = Broadcaster::named("n-broadcaster").unwrap();
    broadcaster.add(sink_fn(|_: &u64| Err(WriteError::Closed))).unwrap();
    broadcaster.add(sink_fn(|_: &u64| -> Result<(), WriteError> { panic!("told to panic") })).unwrap();
    broadcaster.write(&1).unwrap();
    assert_eq!(messages("n-broadcaster", "sink evicted", []), [(Level::WARN, [])]);
    assert_eq!(messages("n-broadcaster", "panic contained", ["whose"]), [(Level::ERROR, texts(["sink"]))]);
    let (pool, _clock) = still_pool();
    let panics = sink_fn(|_: &u64| -> Result<(), WriteError> { panic!("told to panic") });
    let queue = Queue::builder(panics).name("n-panics").pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    pool.wait_idle();
    assert_eq!(messages("n-panics", "panic contained", ["whose"]), [(Level::ERROR, texts(["sink"]))]);
}

#[test]
fn the_want_of_room_is_told_by_policy_and_limited() {
    listen();
    let room = |name| messages(name, "no room", ["what", "suppressed"]);
    for (name, overflow, what) in [
        ("n-reject", Overflow::Reject, "refused"),
        ("n-newest", Overflow::DropNewest, "dropped"),
        ("n-oldest", Overflow::DropOldest, "evicted"),
        ("n-cut", Overflow::Disconnect, "disconnected"),
    ] {
        let (channel, _receiver) = Channel::builder().name(name).capacity(1).overflow(overflow).build().unwrap();
        channel.send(0_u64).unwrap();
        assert_eq!(room(name), []);
        let _ = channel.send(1);
        assert_eq!(room(name), [(Level::WARN, texts([what, "0"]))]);
    }
    let (channel, _receiver) =
        Channel::builder().name("n-flood").capacity(1).overflow(Overflow::DropNewest).build().unwrap();
    let began = std::time::Instant::now();
    for event in 0..10_000_u64 {
        channel.send(event).unwrap();
    }
    // A burst of ten, and one for each second that this took.
    let most = 11 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!((10..=most).contains(&room("n-flood").len()), "{}", room("n-flood").len());
}

#[test]
fn a_pool_that_cannot_grow_says_so() {
    listen();
    let pool = Pool::builder().name("n-pool").threads(1).max_threads(2).build().unwrap();
    // Both threads are taken, and a third queue waits.
    let gates = [stall_slow(&pool), stall_slow(&pool)];
    let third = Queue::builder(sink_fn(|_: &u64| Ok(()))).pool(&pool).build().unwrap();
    third.send(1).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while messages("n-pool", "pool at its maximum", []).is_empty() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(messages("n-pool", "pool at its maximum", ["threads"])[0], (Level::WARN, texts(["2"])));
    for gate in &gates {
        gate.open();
    }
    third.close(Shutdown::Drain).unwrap();
}

/// Holds a thread of the pool, if it gets one.
fn stall_slow(pool: &Pool) -> sinkworks::test_util::Gate {
    let gate = sinkworks::test_util::Gate::new();
    let at = gate.clone();
    let block = sink_fn(move |(): &()| {
        at.pass();
        Ok(())
    });
    Queue::builder(block).pool(pool).build().unwrap().send(()).unwrap();
    gate
}

#[test]
fn a_subscriber_that_panics_does_no_harm() {
    listen();
    let (pool, _clock) = still_pool();
    let sink = sink_fn(|event: &u64| -> Result<(), WriteError> {
        assert!(*event != 1, "told to panic");
        Ok(())
    });
    let queue = Queue::builder(sink).name("n-panicking-subscriber").pool(&pool).build().unwrap();
    let gate = stall(&pool);
    for event in 0..3 {
        queue.send(event).unwrap();
    }
    gate.open();
    let report = queue.close(Shutdown::Drain).unwrap();
    assert_eq!((report.dropped(), queue.ledger().delivered), (1, 2));
    assert!(told("n-panicking-subscriber").len() >= 3);
}
