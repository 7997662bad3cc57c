//! Histograms for recorders that take samples: what is new since the last time, each recording to exactly one recorder.
//!
//! `HANDED` has, for each series and bucket, how many recordings some recorder has been given. Whoever hands over
//!
//! 1. *claims*: under the lock, what the reading has more than `HANDED`, and raises `HANDED` by it;
//! 2. gives it to the recorder, without the lock, since that is foreign code;
//! 3. gives the claim back if the recorder did not take it, or panicked.
//!
//! **Nothing goes out twice**: `HANDED` only ever counts what was claimed and not given back, and a claim is the difference to it. Of two publishers
//! with different readings the later claim takes what the earlier has left. **Nothing is lost**: what nobody takes is claimed again the next time, also
//! after its component has ended, since readings keep the counts of those.
//!
//! **Whether a recorder takes it.** The recorder that is there when none is installed, and one that filters a metric out, answer with a handle that does nothing,
//! which looks like any other. But a handle converts a value only if it has somewhere to put it; so the value here notes that it was converted.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use metrics::{Histogram, IntoF64, Recorder};

use super::histogram::{BUCKETS, Buckets, representative};
use super::observations::Series;
use super::publish::METADATA;

/// Recordings by bucket.
type Counts = [u64; BUCKETS];

static HANDED: LazyLock<Mutex<HashMap<Series, Counts>>> = LazyLock::new(Mutex::default);

fn handed() -> MutexGuard<'static, HashMap<Series, Counts>> {
    // Nothing that runs under the lock can panic halfway.
    HANDED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives `recorder` what no recorder has taken yet. Registers every series, those without recordings too.
pub(super) fn hand_over(readings: &HashMap<Series, Buckets>, recorder: &dyn Recorder) {
    for (series, buckets) in readings {
        let handle = recorder.register_histogram(&series.key(), &METADATA);
        Claim::of(series, &buckets.counts).give_to(&handle);
    }
}

/// These series have ended, and no reading that begins now has them.
pub(super) fn forget<'a>(series: impl Iterator<Item = &'a Series>) {
    let mut handed = handed();
    for series in series {
        handed.remove(series);
    }
}

/// Recordings that nobody else hands over. What is left of them when it is dropped is given back.
struct Claim<'a> {
    series: &'a Series,
    counts: Counts,
}

impl<'a> Claim<'a> {
    fn of(series: &'a Series, read: &Counts) -> Self {
        let mut handed = handed();
        let before = handed.get(series).copied().unwrap_or_default();
        // A reading may be older than one that has been handed over, or have missed a component that was dying.
        let counts = std::array::from_fn(|bucket| read[bucket].saturating_sub(before[bucket]));
        if counts != [0; BUCKETS] {
            let after = std::array::from_fn(|bucket| before[bucket] + counts[bucket]);
            handed.insert(series.clone(), after);
        }
        Self { series, counts }
    }

    fn give_to(mut self, handle: &Histogram) {
        for bucket in 0..BUCKETS {
            // All at once, unless a count is too large for the recorders' type.
            while let count @ 1.. = usize::try_from(self.counts[bucket]).unwrap_or(usize::MAX) {
                let taken = Cell::new(false);
                handle.record_many(Noted { value: representative(bucket), taken: &taken }, count);
                if !taken.get() {
                    return;
                }
                self.counts[bucket] -= count as u64;
            }
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.counts == [0; BUCKETS] {
            return;
        }
        if let Some(handed) = handed().get_mut(self.series) {
            for (handed, back) in handed.iter_mut().zip(self.counts) {
                // Less than that, if it was forgotten and claimed anew meanwhile.
                *handed = handed.saturating_sub(back);
            }
        }
    }
}

/// A value that notes that it was converted.
struct Noted<'a> {
    value: f64,
    taken: &'a Cell<bool>,
}

impl IntoF64 for Noted<'_> {
    fn into_f64(self) -> f64 {
        self.taken.set(true);
        self.value
    }
}
