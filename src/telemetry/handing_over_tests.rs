//! Histograms handed to recorders. Each test has series of its own, and readings that only it has.
#![allow(clippy::float_cmp, reason = "bounds are handed over as they are")]

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, NoopRecorder, Recorder, SharedString, Unit,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use super::handing_over::hand_over;
use super::histogram::Buckets;
use super::names;
use super::observations::{Observations, Series};
use crate::name::Name;

fn reading(name: &str, counts: &[u64]) -> HashMap<Series, Buckets> {
    let mut buckets = Buckets::default();
    buckets.counts[..counts.len()].copy_from_slice(counts);
    let mut out = Observations::default();
    out.histogram(&names::QUEUE_WAIT, &Name::known(name), &super::Histogram::default());
    for value in out.histograms.values_mut() {
        *value = buckets;
    }
    out.histograms
}

/// How many samples the recorder has got since the last look, by value.
fn got(recorder: &DebuggingRecorder) -> Vec<(f64, usize)> {
    let mut found: Vec<(f64, usize)> = Vec::new();
    for (_, _, _, value) in recorder.snapshotter().snapshot().into_vec() {
        let DebugValue::Histogram(values) = value else { unreachable!() };
        for value in values {
            match found.iter_mut().find(|(known, _)| *known == value.0) {
                Some((_, times)) => *times += 1,
                None => found.push((value.0, 1)),
            }
        }
    }
    found
}

#[test]
fn each_recording_goes_out_once_as_the_bound_of_its_bucket() {
    let (first, second) = (DebuggingRecorder::new(), DebuggingRecorder::new());
    hand_over(&reading("once", &[2, 0, 1]), &first);
    assert_eq!(got(&first), [(0.000_001, 2), (0.000_004, 1)]);
    hand_over(&reading("once", &[2, 0, 1]), &first);
    hand_over(&reading("once", &[5, 0, 1]), &second);
    assert_eq!((got(&first), got(&second)), (vec![], vec![(0.000_001, 3)]));
    // A reading that is older, or that missed a component.
    hand_over(&reading("once", &[4, 0, 1]), &second);
    hand_over(&reading("once", &[6, 0, 1]), &second);
    assert_eq!(got(&second), [(0.000_001, 1)]);
}

#[test]
fn what_nobody_takes_is_kept() {
    let recorder = DebuggingRecorder::new();
    hand_over(&reading("nobody", &[7]), &NoopRecorder);
    hand_over(&reading("nobody", &[8]), &NoopRecorder);
    hand_over(&reading("nobody", &[9]), &recorder);
    assert_eq!(got(&recorder), [(0.000_001, 9)]);
}

#[test]
fn a_recorder_that_panics_has_got_what_it_took_and_no_more() {
    struct Panics;
    impl HistogramFn for Panics {
        fn record(&self, value: f64) {
            assert!(value < 0.000_003, "told to panic");
        }
    }
    impl Recorder for Panics {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(Arc::new(Self))
        }
    }
    let recorder = DebuggingRecorder::new();
    assert!(catch_unwind(AssertUnwindSafe(|| hand_over(&reading("panics", &[1, 2, 3]), &Panics))).is_err());
    hand_over(&reading("panics", &[1, 2, 3]), &recorder);
    // The call over which it panicked is not repeated halfway: it is made again whole.
    assert_eq!(got(&recorder), [(0.000_004, 3)]);
}

#[test]
fn publishers_side_by_side_hand_everything_over_exactly_once() {
    let recorders: Vec<_> = (0..3).map(|_| DebuggingRecorder::new()).collect();
    thread::scope(|scope| {
        for recorder in &recorders {
            scope.spawn(move || (1..=500).for_each(|count| hand_over(&reading("side", &[count]), recorder)));
        }
        scope.spawn(|| (1..=500).for_each(|count| hand_over(&reading("side", &[count]), &NoopRecorder)));
    });
    // What the one that takes nothing held at the end.
    hand_over(&reading("side", &[500]), &recorders[0]);
    let all: usize = recorders.iter().flat_map(got).map(|(_, times)| times).sum();
    assert_eq!(all, 500);
}
