//! Retries as a share of successes, over all events that share a destination.
//!
//! Two buckets of tokens, both without a lock:
//!
//! - The **deposits**: each success adds `ratio`, up to a maximum. In millionths of a token, so that adding is exact. When it is full, which is the
//!   usual case, a success only reads it.
//! - The **reserve**: so many tokens a second, see `reserve`. Only a failure reads the clock.
//!
//! `ci/loom.sh budget` checks that no token is lost, or spent twice. All orderings are Relaxed: the words carry nothing but themselves.

mod reserve;

use std::fmt;
use std::sync::Arc;

use crate::delivery::Delivery;
use crate::error::{BuildError, Failure};
use crate::retry::strategy::{Proceed, RetryStrategy, Verdict};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mutation;
use reserve::{MAX_PER_SECOND, Reserve};

/// What a token is counted in.
const TOKEN: u64 = 1_000_000;

/// Limits retries to a share of what succeeds, so that a destination which is down is not also flooded: each success deposits a part of a token, each retry
/// takes one. When there is none, the event is given up as exhausted; it does not wait for one.
///
/// While a destination is down nothing is deposited, and what was saved is spent soon: then `min_per_second` retries are made each second
/// over all that share the budget, and every other failed event is lost. So it fits where a late event is worth little, and where others are
/// tried instead; put a breaker inside, and those that it holds cost nothing.
///
/// The idea is that of Finagle's `RetryBudget`, which tower has too. There a deposit expires after some seconds; here what can be saved is bounded
/// instead ([`max_tokens`](RetryBudgetBuilder::max_tokens)), so that a success reads no clock.
///
/// A handle: clones are the same budget, for all sinks with one destination. A retry that was allowed and is then not made gives its token back.
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{Breaker, Queue, RetryBudget, RetryStrategy, SinkExt, sink_fn};
///
/// let budget = RetryBudget::new(0.2); // one retry for five successes
/// let strategy = Breaker::new(5, Duration::from_secs(1)).within_budget(budget.clone());
/// let queue: Queue<u32> = sink_fn(|_: &u32| Ok(())).retrying(strategy).queued();
/// assert_eq!(budget.refused(), 0);
/// ```
#[derive(Clone)]
pub struct RetryBudget(Arc<Buckets>);

struct Buckets {
    ratio: u64,
    max: u64,
    deposits: AtomicU64,
    reserve: Reserve,
    refused: AtomicU64,
}

impl Buckets {
    fn deposit(&self, amount: u64) {
        // A load first: a full bucket, which is the usual case, is a line that nobody writes to.
        if self.deposits.load(Ordering::Relaxed) < self.max {
            if mutation!("budget_deposit_by_store") {
                let saved = self.deposits.load(Ordering::Relaxed);
                return self.deposits.store((saved + amount).min(self.max), Ordering::Relaxed);
            }
            let add = |saved: u64| (saved < self.max).then(|| (saved + amount).min(self.max));
            let _ = self.deposits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    fn take_deposit(&self) -> bool {
        let take = |saved: u64| saved.checked_sub(TOKEN);
        if mutation!("budget_take_by_store") {
            let rest = take(self.deposits.load(Ordering::Relaxed));
            self.deposits.store(rest.unwrap_or(0), Ordering::Relaxed);
            return rest.is_some();
        }
        self.deposits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakenFrom {
    Deposits,
    Reserve,
}

/// What a [`RetryBudget`] remembers about an event: the token for the retry that comes. Dropped before the retry is made, it is put back.
#[derive(Default)]
pub struct Withdrawal(Option<(Arc<Buckets>, TakenFrom)>);

impl Withdrawal {
    /// The retry was made.
    fn spend(&mut self) {
        self.0 = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        match self.0.take() {
            _ if mutation!("budget_token_put_back") => {}
            Some((buckets, TakenFrom::Deposits)) => buckets.deposit(TOKEN),
            Some((buckets, TakenFrom::Reserve)) => buckets.reserve.put_back(),
            None => {}
        }
    }
}

impl fmt::Debug for Withdrawal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Withdrawal").field(&self.0.as_ref().map(|(_, from)| from)).finish()
    }
}

impl RetryBudget {
    /// Allows `ratio` retries for each success, and 10 a second in any case. A ratio that makes no sense becomes the nearest one that does, and one
    /// that is no number 0.2.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        let ratio = if ratio.is_nan() { DEFAULT_RATIO } else { ratio.clamp(MIN_RATIO, MAX_RATIO) };
        Self::builder().ratio(ratio).assemble()
    }

    /// A budget with options that are checked.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder { ratio: DEFAULT_RATIO, min_per_second: 10, max_tokens: 100 }
    }

    /// How many retries the deposits would allow now, without the reserve.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.0.deposits.load(Ordering::Relaxed) / TOKEN
    }

    /// How many retries were refused: each an event that was given up.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl RetryStrategy for RetryBudget {
    type State = Withdrawal;

    fn proceed(&self, _: &mut Withdrawal, _: &Delivery<'_>) -> Proceed {
        Proceed::Now
    }

    fn success(&self, withdrawal: &mut Withdrawal, _: &Delivery<'_>) {
        withdrawal.spend();
        self.0.deposit(self.0.ratio);
    }

    fn failure(&self, withdrawal: &mut Withdrawal, delivery: &Delivery<'_>, _: &Failure) -> Verdict {
        withdrawal.spend();
        let from = if self.0.take_deposit() {
            TakenFrom::Deposits
        } else if self.0.reserve.take(delivery.now()) {
            TakenFrom::Reserve
        } else {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return Verdict::GiveUp;
        };
        withdrawal.0 = Some((self.0.clone(), from));
        Verdict::Retry
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget")
            .field("saved", &self.saved())
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}

const DEFAULT_RATIO: f64 = 0.2;
const MIN_RATIO: f64 = 0.001;
const MAX_RATIO: f64 = 1000.0;

/// The options of a [`RetryBudget`].
#[derive(Debug, Clone)]
#[must_use]
pub struct RetryBudgetBuilder {
    ratio: f64,
    min_per_second: u32,
    max_tokens: u32,
}

impl RetryBudgetBuilder {
    /// How many retries each success allows, from 0.001 to 1000. Default: 0.2.
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = ratio;
        self
    }

    /// How many retries a second are allowed without any success, for a beginning and for little traffic; as many may be made at once. 0 for none.
    /// Default: 10.
    pub fn min_per_second(mut self, retries: u32) -> Self {
        self.min_per_second = retries;
        self
    }

    /// How many retries successes can save up. Default: 100.
    pub fn max_tokens(mut self, retries: u32) -> Self {
        self.max_tokens = retries;
        self
    }

    /// Builds the budget.
    ///
    /// # Errors
    ///
    /// [`BuildError::OutOfRange`] for a ratio outside its range or that is no number; [`BuildError::Zero`] for a maximum of 0;
    /// [`BuildError::TooLarge`] for more than a million retries a second.
    pub fn build(self) -> Result<RetryBudget, BuildError> {
        // False for what is not a number, too.
        if !(MIN_RATIO..=MAX_RATIO).contains(&self.ratio) {
            return Err(BuildError::OutOfRange { option: "ratio", range: "from 0.001 to 1000" });
        }
        if self.max_tokens == 0 {
            return Err(BuildError::Zero { option: "max_tokens" });
        }
        if self.min_per_second > MAX_PER_SECOND {
            let (value, max) = (self.min_per_second.into(), MAX_PER_SECOND.into());
            return Err(BuildError::TooLarge { option: "min_per_second", value, max });
        }
        Ok(self.assemble())
    }

    fn assemble(self) -> RetryBudget {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1,000 to 1,000,000,000")]
        let ratio = (self.ratio * 1e6).round() as u64;
        RetryBudget(Arc::new(Buckets {
            ratio,
            max: u64::from(self.max_tokens) * TOKEN,
            deposits: AtomicU64::new(0),
            reserve: Reserve::new(self.min_per_second),
            refused: AtomicU64::new(0),
        }))
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;

    #[test]
    fn deposits_add_up_exactly_and_stop_at_the_maximum() {
        let RetryBudget(buckets) = RetryBudget::builder().ratio(0.1).max_tokens(2).build().unwrap();
        (0..9).for_each(|_| buckets.deposit(buckets.ratio));
        assert!(!buckets.take_deposit(), "nine tenths are no token");
        buckets.deposit(buckets.ratio);
        assert!(buckets.take_deposit() && !buckets.take_deposit());
        (0..1000).for_each(|_| buckets.deposit(buckets.ratio));
        assert_eq!(buckets.deposits.load(Ordering::Relaxed), 2 * TOKEN);
    }
}
