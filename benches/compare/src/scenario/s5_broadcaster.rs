//! S5: a broadcaster alone, before N trivial sinks that count; and what a write takes at worst while another thread adds and removes one sink every
//! millisecond.
//!
//! No peer crate has a broadcaster that calls its sinks. What one would write by hand stands beside it: a vector of boxed functions behind a read lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use sinkworks::{Broadcaster, Sink, sink_fn};

use super::Plan;
use crate::figure::{self, OURS};
use crate::rounds::{Contender, alternate, quantile};
use crate::tally::{Counter, Tally};

pub fn run(plan: &Plan) {
    for sinks in [10, 100, 1_000, 10_000] {
        alone(plan, sinks);
    }
    for sinks in [10, 100, 1_000] {
        churn(plan, sinks);
    }
}

fn alone(plan: &Plan, sinks: usize) {
    let events = (plan.pick(1_000_000, 5_000_000) / sinks).min(100_000);
    let (ours, by_hand) = (Alone::new(OURS, sinks, events, ours), Alone::new("rwlock-vec", sinks, events, by_hand));
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(ours), Box::new(by_hand)];
    if let Some(go) = plan.start_go() {
        contenders.push(go.contender("go-events", format!("broadcast {sinks} {events}"), &[0]));
    }
    let measured = alternate(&mut contenders, 2, plan.pick(15, 31));
    figure::print(&format!("s5-{sinks}"), &[("", "ns/event")], &measured);
}

fn churn(plan: &Plan, sinks: usize) {
    let time = Duration::from_millis(plan.pick(100, 300));
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    for (name, churns) in [(OURS, true), ("sinkworks-quiet", false)] {
        contenders.push(Box::new(Churn { name, churns, time, broadcaster: counting(Tally::new(sinks).1) }));
    }
    if let Some(go) = plan.start_go() {
        for (name, churns) in [("go-events", 1), ("go-events-quiet", 0)] {
            let question = format!("churn {sinks} {churns} {}", time.as_millis());
            contenders.push(go.contender(name, question, &[0, 1]));
        }
    }
    let measured = alternate(&mut contenders, 1, plan.pick(5, 11));
    figure::print(&format!("s5-churn-{sinks}"), &[("-p50", "µs"), ("-p99", "µs")], &measured);
}

/// A write to all sinks.
type Write = Box<dyn Fn()>;

fn counting(counters: Vec<Counter>) -> Broadcaster<u64> {
    let broadcaster = Broadcaster::new();
    for counter in counters {
        let sink = sink_fn(move |_: &u64| {
            counter.count();
            Ok(())
        });
        broadcaster.add(sink).expect("it is open");
    }
    broadcaster
}

fn ours(counters: Vec<Counter>) -> Write {
    let broadcaster = counting(counters);
    Box::new(move || broadcaster.write(&1).expect("it is open"))
}

type Handler = Box<dyn Fn(&u64) -> bool + Send + Sync>;

fn by_hand(counters: Vec<Counter>) -> Write {
    let handlers = counters.into_iter().map(|counter| -> Handler {
        Box::new(move |_| {
            counter.count();
            true
        })
    });
    let handlers = RwLock::new(handlers.collect::<Vec<_>>());
    Box::new(move || {
        for handler in handlers.read().expect("no panic").iter() {
            std::hint::black_box(handler(&1));
        }
    })
}

struct Alone {
    name: &'static str,
    write: Write,
    tally: Tally,
    events: usize,
}

impl Alone {
    fn new(name: &'static str, sinks: usize, events: usize, open: fn(Vec<Counter>) -> Write) -> Self {
        let (tally, counters) = Tally::new(sinks);
        Self { name, write: open(counters), tally, events }
    }
}

impl Contender for Alone {
    fn name(&self) -> String {
        self.name.into()
    }

    fn round(&mut self) -> Vec<f64> {
        self.tally.expect(self.events as u64);
        let began = Instant::now();
        for _ in 0..self.events {
            (self.write)();
        }
        let took = self.tally.wait() - began;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let events = self.events as f64;
        vec![took.as_secs_f64() * 1e9 / events]
    }
}

struct Churn {
    name: &'static str,
    churns: bool,
    time: Duration,
    broadcaster: Broadcaster<u64>,
}

impl Churn {
    /// Adds and removes one sink every millisecond.
    fn churn(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
            if self.churns {
                let sink = Arc::new(sink_fn(|_: &u64| Ok(())));
                let id = self.broadcaster.add(sink).expect("it is open");
                self.broadcaster.remove_id(id).expect("it is open");
            }
        }
    }
}

impl Contender for Churn {
    fn name(&self) -> String {
        self.name.into()
    }

    /// Writes at full speed, each write timed, both looks at the clock included.
    fn round(&mut self) -> Vec<f64> {
        let over = AtomicBool::new(false);
        let mut times = Vec::with_capacity(1 << 21);
        std::thread::scope(|scope| {
            scope.spawn(|| self.churn(&over));
            let began = Instant::now();
            let mut before = began;
            while before - began < self.time {
                self.broadcaster.write(&1).expect("it is open");
                let after = Instant::now();
                times.push((after - before).as_secs_f64() * 1e6);
                before = after;
            }
            over.store(true, Ordering::Relaxed);
        });
        [0.5, 0.99].map(|share| quantile(&mut times, share)).into()
    }
}
