//! Tokens that come back evenly: the generic cell rate algorithm.
//!
//! One word, the time at which the bucket would be full again. A token that is taken moves that time on by the time that a token takes to come
//! back, and may not move it further ahead than all tokens take. So nothing has to be refilled.

use std::sync::OnceLock;
use std::time::Instant;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mutation;

const SECOND: u64 = 1_000_000_000;
/// A token takes a microsecond to come back at least.
pub(super) const MAX_PER_SECOND: u32 = 1_000_000;

pub(super) struct Reserve {
    /// Nanoseconds for a token to come back; `None` where there is no reserve.
    interval: Option<u64>,
    /// How far ahead `full_at` may be.
    most: u64,
    /// When time 0 is: at the first retry, so that the clock of whoever makes it counts.
    epoch: OnceLock<Instant>,
    full_at: AtomicU64,
}

impl Reserve {
    pub(super) fn new(per_second: u32) -> Self {
        let interval = SECOND.checked_div(per_second.into());
        let most = interval.unwrap_or(0) * u64::from(per_second);
        Self { interval, most, epoch: OnceLock::new(), full_at: AtomicU64::new(0) }
    }

    pub(super) fn take(&self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return false };
        let epoch = *self.epoch.get_or_init(|| now);
        let now = u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX / 2);
        // Relaxed, as all here: the words carry nothing but themselves.
        let take = |full_at: u64| {
            let after = full_at.max(now) + interval;
            (after - now <= self.most).then_some(after)
        };
        if mutation!("budget_reserve_by_store") {
            let after = take(self.full_at.load(Ordering::Relaxed));
            self.full_at.store(after.unwrap_or(u64::MAX), Ordering::Relaxed);
            return after.is_some();
        }
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    pub(super) fn put_back(&self) {
        let put = |full_at: u64| Some(full_at.saturating_sub(self.interval.unwrap_or(0)));
        let _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, put);
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_reserve_allows_its_number_at_once_and_refills_evenly() {
        for per_second in [1, 3, 10, 7, MAX_PER_SECOND] {
            let (reserve, now) = (Reserve::new(per_second), Instant::now());
            let taken = |at| (0..=per_second).take_while(|_| reserve.take(at)).fold(0, |n, _| n + 1);
            assert_eq!(taken(now), per_second);
            assert_eq!(taken(now), 0, "it is used up");
            assert_eq!(taken(now + 500 * MS), per_second / 2, "half of {per_second}");
            assert_eq!(taken(now + 3_600_000 * MS), per_second, "no more than that is kept");
        }
        assert!(!Reserve::new(0).take(Instant::now()));
    }

    #[test]
    fn what_is_put_back_can_be_taken_again() {
        let (reserve, now) = (Reserve::new(2), Instant::now());
        assert!(reserve.take(now) && reserve.take(now) && !reserve.take(now));
        reserve.put_back();
        assert!(reserve.take(now) && !reserve.take(now));
    }
}
