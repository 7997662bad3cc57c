//! State changes as events of the `tracing` crate (feature `tracing`): what a log wants to have, and a counter does not say.
//!
//! | message | level | fields, besides the component's name |
//! |---|---|---|
//! | `breaker changed` | warn when it opens, else info | `from`, `to` |
//! | `sink evicted` | warn | `sink`: its id |
//! | `no room` | warn | `what` became of the event: dropped, evicted, refused, disconnected |
//! | `dead letter written`, `dead letter lost` | info, error | `reason` |
//! | `closing` | info | `how`, `pending` |
//! | `closed` | info; warn if events were lost | `accepted`, `delivered`, `dropped`, `abandoned`, `pending` |
//! | `panic contained` | error | `whose` |
//! | `pool at its maximum` | warn | `threads` |
//!
//! The target is `sinkworks`. Names, numbers and words from fixed lists are all that is in them: never an event, nor the text of an error, which may quote one.
//!
//! **Limited.** Each component may tell [`BURST`] events of one kind at once, and one per [`PERIOD`] in the long run. What is kept back is counted, and the next
//! that is told has the number as `suppressed`. What no subscriber wants is neither counted nor limited.
//!
//! **Where they are told.** Never under a lock that a write takes, since a subscriber is foreign code and may itself write to a queue. A panic of a subscriber
//! is contained. Without the feature all of this is empty.

use std::ops::Deref;
#[cfg(feature = "tracing")]
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "tracing")]
use std::sync::{LazyLock, OnceLock};
#[cfg(feature = "tracing")]
use std::time::{Duration, Instant};

#[cfg(feature = "tracing")]
use crate::contain::contain;
use crate::ledger::{DropReason, Ledger};
use crate::retry::BreakerState;
use crate::shutdown::Shutdown;
use crate::sink::SinkId;

/// Events that may come at once.
#[cfg(feature = "tracing")]
const BURST: u64 = 10;
/// The time per event in the long run.
#[cfg(feature = "tracing")]
const PERIOD: Duration = Duration::from_secs(1);

/// Lets some events of one kind of one component pass.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    /// Until when the events that have passed fill the long run, in nanoseconds since the process began to count.
    #[cfg(feature = "tracing")]
    filled: AtomicU64,
    #[cfg(feature = "tracing")]
    suppressed: AtomicU64,
}

/// The limits of one component, made when one of them is needed: most queues never have anything to tell.
#[derive(Debug, Default)]
pub(crate) struct MadeLate<L> {
    #[cfg(feature = "tracing")]
    limits: OnceLock<Box<L>>,
    #[cfg(not(feature = "tracing"))]
    limits: L,
}

impl<L: Default> Deref for MadeLate<L> {
    type Target = L;

    fn deref(&self) -> &L {
        #[cfg(feature = "tracing")]
        {
            self.limits.get_or_init(Box::default)
        }
        #[cfg(not(feature = "tracing"))]
        {
            &self.limits
        }
    }
}

#[cfg(feature = "tracing")]
impl Limit {
    /// Whether an event may pass now, and how many have not since the last one.
    fn admit(&self) -> Option<u64> {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        self.admit_at(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn admit_at(&self, now: u64) -> Option<u64> {
        let period = u64::try_from(PERIOD.as_nanos()).unwrap_or(u64::MAX);
        let fill = |filled: u64| {
            let next = filled.max(now) + period;
            (next - now <= BURST * period).then_some(next)
        };
        if self.filled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fill).is_err() {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}

/// Tells one event, unless nobody wants it or the limit keeps it back.
#[cfg(feature = "tracing")]
macro_rules! tell {
    ($limit:expr, $level:ident, $message:literal, $($field:tt)+) => {
        contain(|| {
            if tracing::enabled!(target: "sinkworks", tracing::Level::$level) {
                if let Some(suppressed) = $limit.admit() {
                    tracing::event!(target: "sinkworks", tracing::Level::$level, $($field)+, suppressed, $message);
                }
            }
        });
    };
}

/// Each function tells one kind of change. `$this` is `self`, which a macro must be given. The arguments are evaluated without the feature too: they must cost nothing.
macro_rules! notices {
    ($($(#[$doc:meta])* fn $name:ident(&$this:ident $(, $arg:ident: $type:ty)*) $body:block)+) => {
        impl Limit {
            $(
                $(#[$doc])*
                #[cfg(feature = "tracing")]
                #[cold]
                pub(crate) fn $name(&$this $(, $arg: $type)*) $body

                $(#[$doc])*
                #[cfg(not(feature = "tracing"))]
                #[inline]
                #[allow(clippy::unused_self, reason = "nobody is told anything")]
                pub(crate) fn $name(&self $(, _: $type)*) {}
            )+
        }
    };
}

notices! {
    fn breaker_changed(&self, breaker: &str, from: BreakerState, to: BreakerState) {
        let (from, to_word) = (from.as_str(), to.as_str());
        if to == BreakerState::Open {
            tell!(self, WARN, "breaker changed", breaker, from, to = to_word);
        } else {
            tell!(self, INFO, "breaker changed", breaker, from, to = to_word);
        }
    }

    fn evicted(&self, broadcaster: &str, sink: SinkId) {
        tell!(self, WARN, "sink evicted", broadcaster, sink = sink.number());
    }

    /// `what` became of an event, or a write, for which there was none.
    fn no_room(&self, component: &str, what: &str) {
        tell!(self, WARN, "no room", component, what);
    }

    fn dead_letter(&self, queue: &str, reason: DropReason, written: bool) {
        let reason = reason.as_str();
        if written {
            tell!(self, INFO, "dead letter written", queue, reason);
        } else {
            tell!(self, ERROR, "dead letter lost", queue, reason);
        }
    }

    fn closing(&self, queue: &str, how: Shutdown, pending: u64) {
        let how = match how {
            Shutdown::Drain => "drain",
            Shutdown::Until(_) => "until",
            Shutdown::Abort => "abort",
        };
        tell!(self, INFO, "closing", queue, how, pending);
    }

    fn closed(&self, queue: &str, ledger: &Ledger) {
        let Ledger { accepted, delivered, dropped, pending } = *ledger;
        let (abandoned, dropped) = (dropped.get(DropReason::Abandoned), dropped.total());
        if dropped + pending > 0 {
            tell!(self, WARN, "closed", queue, accepted, delivered, dropped, abandoned, pending);
        } else {
            tell!(self, INFO, "closed", queue, accepted, delivered, dropped, abandoned, pending);
        }
    }

    /// `whose` code panicked.
    fn panicked(&self, component: &str, whose: &str) {
        tell!(self, ERROR, "panic contained", component, whose);
    }

    fn at_maximum(&self, pool: &str, threads: usize) {
        tell!(self, WARN, "pool at its maximum", pool, threads);
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_a_period_which_says_what_was_kept_back() {
        let limit = Limit::default();
        let second = 1_000_000_000;
        assert!((0..BURST).all(|_| limit.admit_at(5) == Some(0)));
        assert!((0..7).all(|_| limit.admit_at(second).is_none()));
        assert_eq!(limit.admit_at(second + 5), Some(7));
        assert_eq!((limit.admit_at(second + 6), limit.admit_at(2 * second + 5)), (None, Some(1)));
        // A long quiet time gives a burst and no more.
        assert!((0..BURST).all(|_| limit.admit_at(1000 * second) == Some(0)));
        assert_eq!(limit.admit_at(1000 * second), None);
    }
}
