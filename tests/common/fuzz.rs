//! Random inputs for as long as there is time, found again by the seed that is printed.
//!
//! `SINKWORKS_FUZZ_SEED` sets the seed, `SINKWORKS_FUZZ_SECONDS` for how long each property is tried.

use std::time::{Duration, Instant};

use proptest::prelude::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

/// How long a property is tried unless told otherwise.
const SECONDS: f64 = 1.5;
/// Inputs between two looks at the clock.
const CASES: u32 = 64;

/// Runs `property`, which panics where it does not hold, on inputs until the time is over. Fails with the smallest input found.
pub(crate) fn explore<S: Strategy>(name: &str, inputs: &S, property: impl Fn(S::Value)) {
    let seed = variable("SINKWORKS_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    let time = Duration::from_secs_f64(variable("SINKWORKS_FUZZ_SECONDS").unwrap_or(SECONDS));
    println!("fuzz: {name}: SINKWORKS_FUZZ_SEED={seed}");
    let (began, mut blocks) = (Instant::now(), 0);
    while blocks == 0 || began.elapsed() < time {
        let rng_seed = RngSeed::Fixed(seed + blocks);
        let config = Config { cases: CASES, rng_seed, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(inputs, |input| {
            property(input);
            Ok::<(), TestCaseError>(())
        });
        if let Err(error) = outcome {
            panic!("fuzz: {name}: SINKWORKS_FUZZ_SEED={}: {error}", seed + blocks);
        }
        blocks += 1;
    }
    println!("fuzz: {name}: {} inputs in {:.1?}", blocks * u64::from(CASES), began.elapsed());
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}
