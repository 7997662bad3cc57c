//! The ways in which our pool's workers can wait, as contenders.

use std::time::Duration;

use sinkworks::{Pool, WaitStrategy};

pub trait Strategy: Send + Sync + 'static {
    const NAME: &'static str;
    /// Its workers never sleep for long, which would slow the other contenders down: it is opened for each round anew.
    const POLLS: bool = false;

    fn pool() -> Pool;
}

/// What a user gets who says nothing.
pub struct Default;

impl Strategy for Default {
    const NAME: &'static str = crate::figure::OURS;

    fn pool() -> Pool {
        Pool::global().clone()
    }
}

/// A worker that looks for work for longer than the writers pause, but where they pause for a millisecond.
pub struct Spin;

impl Strategy for Spin {
    const NAME: &'static str = "sinkworks-spin";
    const POLLS: bool = true;

    fn pool() -> Pool {
        pool(WaitStrategy::SpinThenPark { spin: Duration::from_micros(100) })
    }
}

/// A worker that looks for work once in so many microseconds.
pub struct Poll<const MICROS: u64>;

impl<const MICROS: u64> Strategy for Poll<MICROS> {
    const NAME: &'static str = POLL;
    const POLLS: bool = MICROS < 1_000;

    fn pool() -> Pool {
        pool(WaitStrategy::Poll { interval: Duration::from_micros(MICROS) })
    }
}

/// How it is called.
pub const POLL: &str = "sinkworks-poll";

/// With one worker, so that it leaves the writer its processor.
fn pool(wait: WaitStrategy) -> Pool {
    Pool::builder().name("waiting").threads(1).wait_strategy(wait).build().expect("a thread starts")
}
