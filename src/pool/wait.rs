//! What a worker does that has nothing to do.

use std::time::Duration;

use crate::error::BuildError;

/// The longest spin and the longest interval.
const LONGEST: Duration = Duration::from_secs(1);

/// How the workers of a pool wait for the next event. It decides what a write to an idle queue costs its writer, how long the event is on its way, and
/// what an idle pool costs. `benches/README.md` has the figures of each; the names are about those of the LMAX Disruptor.
///
/// | strategy | a write to an idle queue | the event arrives | an idle pool |
/// |---|---|---|---|
/// | [`Park`](Self::Park) | one system call, unless a worker is awake | after a wake | costs nothing |
/// | [`SpinThenPark`](Self::SpinThenPark) | none within `spin` after the event before, else one | at once, else after a wake | costs nothing after `spin` |
/// | [`Poll`](Self::Poll) | none, ever | after `interval` at most, and a wake by a timer | each worker wakes once in `interval` |
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{Pool, WaitStrategy};
///
/// let poll = WaitStrategy::Poll { interval: Duration::from_micros(200) };
/// let pool = Pool::builder().name("orders").threads(1).wait_strategy(poll).build()?;
/// # Ok::<(), sinkworks::BuildError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// A worker looks for work for some microseconds, about as long as a wake costs, and then parks. Who makes a queue ready wakes one, if none looks.
    #[default]
    Park,
    /// A worker looks for work for this long, and then parks. One worker at a time does; it keeps a processor busy. For events that follow each other more closely
    /// than `spin`.
    SpinThenPark {
        /// How long, up to a second.
        spin: Duration,
    },
    /// A worker sleeps for this long and looks for work, again and again. Nobody wakes anybody, so a write makes no system call. The kernel's timer adds
    /// some 50 µs to the interval.
    Poll {
        /// How long it sleeps, from a microsecond to a second.
        interval: Duration,
    },
}

impl WaitStrategy {
    pub(super) fn check(self) -> Result<(), BuildError> {
        let (is_right, range) = match self {
            Self::Park => return Ok(()),
            Self::SpinThenPark { spin } => (spin <= LONGEST, "a spin of at most 1 s"),
            Self::Poll { interval } => {
                ((Duration::from_micros(1)..=LONGEST).contains(&interval), "an interval from 1 µs to 1 s")
            }
        };
        if is_right { Ok(()) } else { Err(BuildError::OutOfRange { option: "wait_strategy", range }) }
    }
}
