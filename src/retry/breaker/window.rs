//! The share of failures among the attempts of a sliding time.
//!
//! The time is cut into slices, and each slice has a bucket in a ring: one word with the slice's number, its successes and its failures. Who
//! records finds either its own slice there, and adds, or one that is ten slices old, and replaces it, by compare-exchange in both cases. Who
//! reads adds up the buckets whose number is among the last ten. So no bucket has to be emptied when its time is over, and there is no lock.
//!
//! The current slice is always a partial one: what counts reaches back between 9/10 of the window and the whole of it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mutation;

/// Slices of a window.
const SLICES: u64 = 10;
/// As many buckets.
const BUCKETS: usize = 10;
const COUNT_BITS: u32 = 18;
/// What a bucket can count of either kind. Beyond it both counts are halved, which keeps their share.
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;
/// The slice's number: what is left of the word. With slices of a millisecond it comes again after three days.
const NUMBER: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

/// Far above what a product of doubles is off by, far below the share that one attempt of [`MAX_MINIMUM`] makes.
const ROUNDING: f64 = 1e-9;

/// The largest minimum: a bucket whose counts have been halved still has more.
pub(super) const MAX_MINIMUM: u32 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Bucket {
    number: u64,
    successes: u64,
    failures: u64,
}

impl Bucket {
    fn unpack(word: u64) -> Self {
        Self {
            number: word >> (2 * COUNT_BITS),
            successes: (word >> COUNT_BITS) & MAX_COUNT,
            failures: word & MAX_COUNT,
        }
    }

    fn pack(self) -> u64 {
        (self.number << (2 * COUNT_BITS)) | (self.successes << COUNT_BITS) | self.failures
    }

    fn is_empty(self) -> bool {
        self.successes + self.failures == 0
    }

    fn counting(mut self, failed: bool) -> Self {
        if self.successes.max(self.failures) == MAX_COUNT {
            self.successes /= 2;
            self.failures /= 2;
        }
        *if failed { &mut self.failures } else { &mut self.successes } += 1;
        self
    }
}

#[derive(Debug)]
pub(super) struct Window {
    rate: f64,
    minimum: u64,
    slice: u64,
    /// When slice 0 began: at the first attempt, so that the clock of whoever makes it counts.
    epoch: OnceLock<Instant>,
    buckets: [AtomicU64; BUCKETS],
}

impl Window {
    pub(super) fn new(rate: f64, length: Duration, minimum: u32) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self {
            rate,
            minimum: minimum.into(),
            slice: (nanos / SLICES).max(1),
            epoch: OnceLock::new(),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn number(&self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_init(|| now);
        let nanos = u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX);
        nanos / self.slice
    }

    pub(super) fn record(&self, now: Instant, failed: bool) {
        let number = self.number(now);
        let index = usize::try_from(number % SLICES).unwrap_or(0);
        let number = number & NUMBER;
        let bucket = &self.buckets[index];
        // Relaxed: the counts carry nothing else, and each bucket is exact by itself.
        let mut word = bucket.load(Ordering::Relaxed);
        loop {
            let known = Bucket::unpack(word);
            let age = number.wrapping_sub(known.number) & NUMBER;
            let current = match age {
                0 => known,
                // A later slice is there already: this attempt's time is over. Numbers come again; one that seems to be far ahead is very old.
                _ if age > NUMBER - 4 * SLICES && !known.is_empty() => return,
                _ => Bucket { number, ..Bucket::default() },
            };
            let counted = current.counting(failed).pack();
            if mutation!("breaker_window_by_store") {
                return bucket.store(counted, Ordering::Relaxed);
            }
            match bucket.compare_exchange_weak(word, counted, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Whether enough attempts were made, and enough of them failed.
    pub(super) fn is_tripped(&self, now: Instant) -> bool {
        let number = self.number(now) & NUMBER;
        let recent = self.buckets.iter().map(|bucket| Bucket::unpack(bucket.load(Ordering::Relaxed)));
        let (successes, failures) = recent
            .filter(|bucket| number.wrapping_sub(bucket.number) & NUMBER < SLICES)
            .fold((0, 0), |(ok, failed), bucket| (ok + bucket.successes, failed + bucket.failures));
        let attempts = successes + failures;
        #[allow(clippy::cast_precision_loss, reason = "ten buckets of 18 bits are exact")]
        // Seven of a hundred are 0.07 of them, whatever the product of the two rounds to.
        let share = failures as f64 >= (self.rate - ROUNDING) * attempts as f64;
        attempts >= self.minimum && share
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn record(window: &Window, now: Instant, successes: u32, failures: u32) {
        (0..successes).for_each(|_| window.record(now, false));
        (0..failures).for_each(|_| window.record(now, true));
    }

    #[test]
    fn a_bucket_is_what_was_packed_and_halves_both_counts_before_one_overflows() {
        let full = Bucket { number: NUMBER, successes: MAX_COUNT, failures: MAX_COUNT / 2 };
        assert_eq!(Bucket::unpack(full.pack()), full);
        let halved = Bucket { number: NUMBER, successes: MAX_COUNT / 2, failures: MAX_COUNT / 4 + 1 };
        assert_eq!(full.counting(true), halved);
        assert!(halved.successes > MAX_MINIMUM.into());
    }

    #[test]
    fn it_trips_at_the_rate_once_there_are_enough_attempts() {
        let now = Instant::now();
        let window = Window::new(0.5, 10 * SECOND, 10);
        record(&window, now, 4, 4);
        assert!(!window.is_tripped(now), "eight attempts");
        record(&window, now, 1, 0);
        assert!(!window.is_tripped(now), "nine");
        record(&window, now, 0, 1);
        assert!(window.is_tripped(now), "5 of 10");
        record(&window, now, 1, 0);
        assert!(!window.is_tripped(now), "5 of 11");
        window.clear();
        record(&window, now, 0, 9);
        assert!(!window.is_tripped(now), "nine since it was cleared");
    }

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let start = Instant::now();
        let window = Window::new(1.0, 10 * SECOND, 1);
        record(&window, start, 0, 1);
        assert!(window.is_tripped(start + Duration::from_nanos(9_999_999_999)));
        assert!(!window.is_tripped(start + 10 * SECOND));
        // The bucket of the first slice is used again, with nothing of the first in it.
        record(&window, start + 10 * SECOND, 1, 0);
        assert!(!window.is_tripped(start + 10 * SECOND));
        record(&window, start + 25 * SECOND, 0, 1);
        assert!(window.is_tripped(start + 25 * SECOND), "the success has slid out");
    }

    #[test]
    fn an_attempt_that_is_recorded_too_late_does_not_erase_a_later_slice() {
        let start = Instant::now();
        let window = Window::new(1.0, 10 * SECOND, 1);
        record(&window, start, 1, 0);
        record(&window, start + 10 * SECOND, 0, 1);
        record(&window, start, 1, 0);
        assert!(window.is_tripped(start + 10 * SECOND));
    }

    #[test]
    fn a_window_of_any_length_is_one() {
        for length in [Duration::from_nanos(1), Duration::MAX] {
            let window = Window::new(1.0, length, 2);
            record(&window, Instant::now(), 0, 1);
            let now = Instant::now();
            record(&window, now, 0, 2);
            assert!(window.is_tripped(now));
        }
    }
}
