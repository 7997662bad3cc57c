//! Counts of durations by size. A histogram here is a row of counters, not a store of samples: it costs the same however much it has recorded.
//!
//! Recording is two additions, by one thread at a time: so they need not be read-modify-writes. A reading that meets one may have its count and not yet its
//! duration; the next has both. The number of recordings is the sum of the buckets, so that within a reading these two always agree.
//!
//! **Two bytes a count.** A histogram has the last 16 bits of each count. Whenever a count has reached a multiple of [`NOTED`], the whole of it is *noted*
//! beside, right after. So what is noted is never 65,536 behind, not even before it is noted that a multiple has been reached; and the whole count is what is
//! noted and as much as the last bits are further on, exactly, at every moment. A reader that is held up between its looks at the two might find the bits
//! further on than that: it looks at what is noted once more, and begins again if that has changed.
//!
//! The whole counts are made when there is one to note: a queue, which has two histograms, measures for long before.
//!
//! **Orderings.** The bits and what is noted are each stored with Release and loaded with Acquire. Who finds a count noted finds the bits as far on at least;
//! and who finds bits that are a multiple further on finds that one noted at the second look.

// Not those of `sync`: no model depends on them, and thirty more atomics for each retrying sink would be thirty more for it to explore.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use crate::sync::mutation;

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

/// A count is noted as a whole at each multiple of this, which is half of what its last bits can tell apart.
const NOTED: u16 = 1 << 15;

/// Durations by bucket, and their sum. Who records sees to it that nobody else does meanwhile; anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    // First, beside the buckets of a few microseconds, which are the usual ones.
    nanos: AtomicU64,
    /// The last bits of each count.
    bits: [AtomicU16; BUCKETS],
    /// Each count at its last multiple of `NOTED`.
    noted: OnceLock<Box<[AtomicU64; BUCKETS]>>,
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.count_one(bucket(nanos), || ());
        self.nanos.store(self.nanos.load(Ordering::Relaxed).wrapping_add(nanos), Ordering::Relaxed);
    }

    /// `halfway` is what tests do before the count is noted.
    #[inline]
    fn count_one(&self, bucket: usize, halfway: impl FnOnce()) {
        let bits = self.bits[bucket].load(Ordering::Relaxed).wrapping_add(1);
        self.bits[bucket].store(bits, Ordering::Release);
        if bits % NOTED == 0 {
            halfway();
            self.note(bucket);
        }
    }

    #[cold]
    fn note(&self, bucket: usize) {
        if !mutation!("histogram_notes") {
            let count = self.count(bucket, || ());
            self.noted.get_or_init(Box::default)[bucket].store(count, Ordering::Release);
        }
    }

    fn noted(&self, bucket: usize) -> u64 {
        self.noted.get().map_or(0, |noted| noted[bucket].load(Ordering::Acquire))
    }

    /// The whole count. `halfway` is what tests do between the looks at its two parts.
    fn count(&self, bucket: usize, halfway: impl Fn()) -> u64 {
        loop {
            let noted = self.noted(bucket);
            halfway();
            let bits = self.bits[bucket].load(Ordering::Acquire);
            if self.noted(bucket) == noted || mutation!("histogram_looks_again") {
                return noted + u64::from(bits.wrapping_sub(last_bits(noted)));
            }
        }
    }

    pub(super) fn read(&self) -> Buckets {
        let counts = std::array::from_fn(|bucket| self.count(bucket, || ()));
        Buckets { nanos: self.nanos.load(Ordering::Relaxed), counts }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn last_bits(count: u64) -> u16 {
    count as u16
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

    /// A histogram that has recorded so many of half a millisecond. Its last bits and what is noted are as recording leaves them.
    fn with(count: u64) -> Histogram {
        let histogram = Histogram::default();
        histogram.bits[BUCKET].store(last_bits(count), Ordering::Relaxed);
        if count >= NOTED.into() {
            histogram.noted.get_or_init(Box::default)[BUCKET]
                .store(count - count % u64::from(NOTED), Ordering::Relaxed);
        }
        histogram
    }

    const BUCKET: usize = 9;
    const HALF_A_MILLISECOND: Duration = Duration::from_micros(500);

    fn count(histogram: &Histogram) -> u64 {
        histogram.read().counts[BUCKET]
    }

    #[test]
    fn counts_beyond_their_bits_are_exact() {
        let histogram = Histogram::default();
        let bits = 1 << u16::BITS;
        for recorded in 1..=3 * bits {
            histogram.record(HALF_A_MILLISECOND);
            assert_eq!(histogram.count(BUCKET, || ()), recorded);
        }
        let mut expected = Buckets { nanos: 3 * bits * 500_000, ..Buckets::default() };
        expected.counts[BUCKET] = 3 * bits;
        assert_eq!(histogram.read(), expected);

        for power in [16, 17, 31, 32, 33, 63] {
            let histogram = with((1 << power) - 2);
            for more in 1..=4 {
                histogram.record(HALF_A_MILLISECOND);
                assert_eq!(count(&histogram), (1 << power) - 2 + more, "2^{power}");
            }
        }
    }

    #[test]
    fn a_count_is_exact_before_it_is_noted() {
        let mut met = 0;
        for multiple in 1..=8 {
            let reached = multiple * u64::from(NOTED);
            let histogram = with(reached - 1);
            histogram.count_one(BUCKET, || {
                met += 1;
                assert_eq!((histogram.noted(BUCKET), count(&histogram)), (reached - u64::from(NOTED), reached));
            });
            assert_eq!((histogram.noted(BUCKET), count(&histogram)), (reached, reached));
        }
        assert_eq!(met, 8);
    }

    #[test]
    fn a_reader_that_is_held_up_between_its_two_looks_begins_again() {
        for held_up in [1, u64::from(NOTED), 1 << 16, (1 << 16) + 1, 3 << 16] {
            let histogram = with(u64::from(NOTED) - 1);
            let first = std::cell::Cell::new(true);
            let read = histogram.count(BUCKET, || {
                let more = if first.take() { held_up } else { 0 };
                (0..more).for_each(|_| histogram.record(HALF_A_MILLISECOND));
            });
            assert_eq!(read, u64::from(NOTED) - 1 + held_up, "held up for {held_up}");
        }
    }

    #[test]
    fn who_reads_while_another_records_finds_what_was_recorded_and_no_more() {
        const RECORDED: u64 = 1_000_000;
        let histogram = Histogram::default();
        let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < RECORDED {
                        let done = ended.load(Ordering::SeqCst).max(last);
                        last = count(&histogram);
                        let at_most = begun.load(Ordering::SeqCst);
                        assert!((done..=at_most).contains(&last), "{last} is not from {done} to {at_most}");
                    }
                });
            }
            for number in 1..=RECORDED {
                begun.store(number, Ordering::SeqCst);
                histogram.record(HALF_A_MILLISECOND);
                ended.store(number, Ordering::SeqCst);
            }
        });
    }

    #[test]
    fn a_representative_falls_into_its_own_bucket() {
        for index in 0..BUCKETS {
            let found = BOUNDS.iter().position(|bound| representative(index) <= *bound).unwrap_or(BOUNDED);
            assert_eq!(found, index);
        }
    }
}
