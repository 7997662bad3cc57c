//! What components say about themselves, summed per series.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::ptr;
use std::sync::Arc;

use metrics::{Key, Label};

use super::histogram::{Buckets, Histogram};
use super::names::{Metric, MetricKind};
use crate::name::Name;

/// One series: a metric with its label values. Two components of one name are one series.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) metric: &'static Metric,
    pub(super) name: Name,
    pub(super) extra: Option<&'static str>,
}

impl Series {
    /// The series as the `metrics` crate names it. Allocates the list of labels; their values are shared.
    pub(super) fn key(&self) -> Key {
        let values = [Some(metrics::SharedString::from(Arc::from(self.name.clone()))), self.extra.map(Into::into)];
        let labels: Vec<Label> = (self.metric.labels.iter().copied().zip(values.into_iter().flatten()))
            .map(|(label, value)| Label::new(label, value))
            .collect();
        Key::from_parts(self.metric.name, labels)
    }
}

// A metric is identified by its address: the table has each one once, and an address is cheaper to compare than a name.
impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.metric, other.metric) && self.extra == other.extra && self.name == other.name
    }
}

impl Eq for Series {}

impl Hash for Series {
    fn hash<H: Hasher>(&self, state: &mut H) {
        ptr::from_ref(self.metric).hash(state);
        self.name.hash(state);
        self.extra.hash(state);
    }
}

/// Collects readings and sums them per series.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    pub(super) counters: HashMap<Series, u64>,
    pub(super) gauges: HashMap<Series, f64>,
    pub(super) histograms: HashMap<Series, Buckets>,
}

impl Observations {
    /// A counter's total since the component was built. It must never be lower than in an earlier reading, and never higher than
    /// what the component will report at its end.
    pub(crate) fn counter(&mut self, metric: &'static Metric, name: &Name, extra: Option<&'static str>, value: u64) {
        debug_assert_eq!(metric.kind, MetricKind::Counter, "{}", metric.name);
        self.add_counter(series(metric, name, extra), value);
    }

    /// A gauge's value now.
    pub(crate) fn gauge(&mut self, metric: &'static Metric, name: &Name, extra: Option<&'static str>, value: f64) {
        debug_assert_eq!(metric.kind, MetricKind::Gauge, "{}", metric.name);
        *self.gauges.entry(series(metric, name, extra)).or_default() += value;
    }

    /// A gauge that is a time. Of several components of one name the latest counts, since a sum of times says nothing.
    pub(crate) fn latest(&mut self, metric: &'static Metric, name: &Name, value: f64) {
        debug_assert_eq!(metric.kind, MetricKind::Gauge, "{}", metric.name);
        let latest = self.gauges.entry(series(metric, name, None)).or_default();
        *latest = latest.max(value);
    }

    /// What a histogram has recorded since the component was built.
    pub(crate) fn histogram(&mut self, metric: &'static Metric, name: &Name, histogram: &Histogram) {
        debug_assert_eq!(metric.kind, MetricKind::Histogram, "{}", metric.name);
        self.add_histogram(series(metric, name, None), &histogram.read());
    }

    /// Whether they are of a component that was given no name.
    pub(super) fn is_nameless(&self) -> bool {
        let mut series = self.counters.keys().chain(self.gauges.keys()).chain(self.histograms.keys());
        series.next().is_some_and(|series| !series.name.is_given())
    }

    /// Adds the last counts of a component that has ended. Its gauges are 0 now.
    pub(super) fn add_ended(&mut self, last: &Self) {
        for (series, value) in &last.counters {
            self.add_counter(series.clone(), *value);
        }
        for (series, buckets) in &last.histograms {
            self.add_histogram(series.clone(), buckets);
        }
        for series in last.gauges.keys() {
            self.gauges.entry(series.clone()).or_insert(0.0);
        }
    }

    pub(super) fn add_histogram(&mut self, series: Series, buckets: &Buckets) {
        self.histograms.entry(series).or_default().add(buckets);
    }

    pub(super) fn add_counter(&mut self, series: Series, value: u64) {
        add(&mut self.counters, series, value);
    }
}

/// Adds to a sum. Saturates, since a reading must not panic.
pub(super) fn add(sums: &mut HashMap<Series, u64>, series: Series, value: u64) {
    match sums.entry(series) {
        Entry::Occupied(mut sum) => *sum.get_mut() = sum.get().saturating_add(value),
        Entry::Vacant(sum) => {
            sum.insert(value);
        }
    }
}

fn series(metric: &'static Metric, name: &Name, extra: Option<&'static str>) -> Series {
    let given = 1 + usize::from(extra.is_some());
    debug_assert_eq!(metric.labels.len(), given, "the labels of {} are {:?}", metric.name, metric.labels);
    Series { metric, name: name.clone(), extra }
}
