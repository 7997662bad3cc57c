//! Random chains under random schedules: whatever happens, every event is accounted for, exactly once and in order.
//!
//! A case is a [`Plan`](plan::Plan): a tree of stages and the steps that are done to it. Between each two stages stands a [`Probe`](probe::Probe), which notes
//! what was offered and how it was answered; so what a component says of itself is compared with what others have seen of it ([`books`]).
//!
//! - `PROPTEST_CASES`: how many cases in all. Default: 10,000.
//! - `SINKWORKS_SEED`: the seed, which is printed. The same seed and number are the same cases. Half of the schedules let the pool come to rest after each
//!   step: those run the same way each time; the others, and those with threads, may have to be repeated.

mod books;
mod leaf;
mod plan;
mod probe;
mod slices;
mod watchdog;
mod world;

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use sinkworks::test_util::Seed;

use watchdog::watched;

/// Of this many cases one has threads.
const THREADED: u32 = 10;

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000)
}

/// Runs `cases` of a property, with the seed printed.
fn check<P: Debug + Clone + Send + 'static>(
    name: &'static str,
    cases: u32,
    plans: impl Strategy<Value = P>,
    run: impl Fn(&P),
) {
    let seed = Seed::from_env();
    println!("{name}: {cases} cases, SINKWORKS_SEED={}", seed.value());
    let rng_seed = RngSeed::Fixed(seed.value());
    let config = Config { cases, rng_seed, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() };
    let outcome = TestRunner::new(config).run(&plans, |plan| {
        watched(name, seed.value(), &plan, || run(&plan));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{name}: {error}");
    }
}

#[test]
fn one_step_after_the_other() {
    check("steps", cases() - cases() / THREADED, plan::plans(40), world::in_steps);
}

#[test]
fn with_threads() {
    check("threads", cases() / THREADED, plan::threaded(12), world::with_threads);
}
