//! Counts of durations by size. A histogram here is a row of counters, not a store of samples: it costs the same however much it has recorded.
//!
//! Recording is two relaxed additions. A reading that meets one may have its count and not yet its duration; the next has both. The number of
//! recordings is the sum of the buckets, so that within a reading these two always agree.

// Not those of `sync`: no model depends on them, and thirty more atomics for each queue would be thirty more for it to explore.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets with an upper bound: 1 µs, 2 µs, 4 µs … 2^28 µs, which is 268 s.
pub(super) const BOUNDED: usize = 29;
/// All buckets: the last has what took longer.
pub(super) const BUCKETS: usize = BOUNDED + 1;

/// The upper bounds of the buckets of every histogram of this crate, in seconds: from 0.000001 to 268.435456, each twice the one before. A duration that
/// is equal to a bound counts below it. For exporters that must be told, such as with `set_buckets_for_metric`.
///
/// ```
/// let bounds = sinkworks::telemetry::bucket_bounds();
/// assert_eq!((bounds[0], bounds[10], bounds[28]), (0.000_001, 0.001_024, 268.435_456));
/// ```
#[must_use]
pub fn bucket_bounds() -> &'static [f64] {
    &BOUNDS
}

/// Each the nearest number to its decimal form, so that they print as one expects: hence divided, and not multiplied by 0.000001.
static BOUNDS: [f64; BOUNDED] = {
    let mut bounds = [0.0; BOUNDED];
    let mut index = 0;
    while index < BOUNDED {
        bounds[index] = (1_u32 << index) as f64 / 1e6;
        index += 1;
    }
    bounds
};

/// The bucket of a duration.
fn bucket(nanos: u64) -> usize {
    // A part of a microsecond is above the bound.
    match nanos.div_ceil(1000) {
        0 | 1 => 0,
        micros => BOUNDED.min((micros - 1).ilog2() as usize + 1),
    }
}

/// Durations by bucket, and their sum.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    // First, beside the buckets of a few microseconds, which are the usual ones.
    nanos: AtomicU64,
    counts: [AtomicU64; BUCKETS],
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Buckets {
        let counts = std::array::from_fn(|index| self.counts[index].load(Ordering::Relaxed));
        Buckets { nanos: self.nanos.load(Ordering::Relaxed), counts }
    }
}

/// What a histogram had at one moment, or several together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Buckets {
    pub(super) nanos: u64,
    pub(super) counts: [u64; BUCKETS],
}

impl Buckets {
    /// Saturates, since a reading must not panic.
    pub(super) fn add(&mut self, other: &Self) {
        self.nanos = self.nanos.saturating_add(other.nanos);
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }
}

/// A duration that recorders without our buckets can count into the bucket with this index: its upper bound, in seconds.
pub(super) fn representative(bucket: usize) -> f64 {
    BOUNDS.get(bucket).copied().unwrap_or(BOUNDS[BOUNDED - 1] * 2.0)
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        for (index, bound) in (0..BOUNDED).map(|index| (index, 1000_u64 << index)) {
            assert_eq!((bucket(bound), bucket(bound + 1)), (index, index + 1), "{bound} ns");
        }
        assert_eq!((bucket(0), bucket(1), bucket(u64::MAX)), (0, 0, BOUNDED));
    }

    #[test]
    fn it_counts_sums_and_merges() {
        let histogram = Histogram::default();
        for micros in [1, 3, 4, 300_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut buckets = histogram.read();
        assert_eq!((buckets.counts[0], buckets.counts[2], buckets.counts[BOUNDED]), (1, 2, 1));
        assert_eq!((buckets.nanos, buckets.counts.iter().sum()), (300_000_008_000, 4_u64));
        buckets.add(&histogram.read());
        assert_eq!((buckets.nanos, buckets.counts[2]), (600_000_016_000, 4));
    }

    #[test]
    fn a_representative_falls_into_its_own_bucket() {
        for index in 0..BUCKETS {
            let found = BOUNDS.iter().position(|bound| representative(index) <= *bound).unwrap_or(BOUNDED);
            assert_eq!(found, index);
        }
    }
}
