//! What must be reached, and whether it is.
//!
//! A mark says of scenarios, by the beginning of their names, how large our ratio to some contenders may be, or our own figure.

use crate::figure::{Figure, OURS};
use crate::strategy::POLL;

pub struct Mark {
    /// Which of ours.
    whose: &'static str,
    /// Of these scenarios: the whole name, or its beginning where this ends with a dash.
    scenarios: &'static [&'static str],
    bound: Bound,
}

enum Bound {
    /// Ours / theirs, for each of these contenders.
    Ratio(f64, &'static [&'static str]),
    /// Our own figure.
    Figure(f64),
}

/// What became of a mark for one scenario.
pub struct Judged<'f> {
    pub scenario: &'f str,
    pub whose: &'static str,
    /// Beside whom; ourselves where it is our own figure.
    pub contender: &'f str,
    pub at_most: f64,
    pub value: f64,
}

impl Judged<'_> {
    pub fn is_met(&self) -> bool {
        self.value <= self.at_most
    }
}

const GO: &[&str] = &["go-events"];

const MARKS: &[Mark] = &[
    ratio(&["s1-"], 1.0, &["crossbeam-channel"]),
    ratio(&["s1-"], 0.35, GO),
    // Of the default strategy.
    ratio(
        &[
            "s2-20us-write-p50",
            "s2-50us-write-p50",
            "s2-1000us-write-p50",
            "s2-20us-write-p99.9",
            "s2-50us-write-p99.9",
            "s2-1000us-write-p99.9",
        ],
        1.15,
        &["crossbeam-channel", "std-mpsc", "tokio-mpsc"],
    ),
    of_poll(
        &["s2-20us-write-p50", "s2-50us-write-p50", "s2-1000us-write-p50"],
        0.03,
        &["crossbeam-channel", "std-mpsc", "tokio-mpsc"],
    ),
    of_poll(
        &["s2-20us-write-p99.9", "s2-50us-write-p99.9", "s2-1000us-write-p99.9"],
        0.2,
        &["crossbeam-channel", "std-mpsc", "tokio-mpsc"],
    ),
    of_poll(&["s3-"], 0.1, &["go-events", "go-events-direct", "tokio-tasks"]),
    ratio(&["s3-1", "s3-10"], 1.2, &["go-events", "go-events-direct", "tokio-tasks"]),
    ratio(&["s3-100", "s3-1000"], 0.8, &["go-events", "go-events-direct", "tokio-tasks"]),
    ratio(&["s4-10", "s4-1000"], 0.4, GO),
    ratio(&["s4-100"], 0.5, GO),
    ratio(&["s5-10"], 0.1, GO),
    ratio(&["s5-10000"], 0.6, GO),
    ratio(&["s5-churn-10-p99", "s5-churn-100-p99", "s5-churn-1000-p99"], 2.0, &["sinkworks-quiet"]),
    ratio(&["s6-instructions-"], 1.03, &["without-telemetry"]),
    ratio(&["s6-time-write"], 1.10, &["without-telemetry"]),
    figure(&["s7-idle-new"], 1280.0),
    // One block of `SegQueue` more: 31 slots of an event and a state, and a pointer.
    figure(&["s7-idle-used"], 1280.0 + 504.0),
    figure(&["s7-idle-threads"], 0.0),
    // Cores + 3, on two cores.
    figure(&["s7-refusing-threads"], 5.0),
    figure(&["s7-refusing-cpu"], 5.0),
    figure(&["s8-backlog"], 24.0),
    // One and a half times the deliveries in a second.
    ratio(&["s9-1", "s9-10", "s9-100"], 0.666, &["go-events", "go-events-no-timeout"]),
];

const fn ratio(scenarios: &'static [&'static str], at_most: f64, contenders: &'static [&'static str]) -> Mark {
    Mark { whose: OURS, scenarios, bound: Bound::Ratio(at_most, contenders) }
}

const fn of_poll(scenarios: &'static [&'static str], at_most: f64, contenders: &'static [&'static str]) -> Mark {
    Mark { whose: POLL, scenarios, bound: Bound::Ratio(at_most, contenders) }
}

const fn figure(scenarios: &'static [&'static str], at_most: f64) -> Mark {
    Mark { whose: OURS, scenarios, bound: Bound::Figure(at_most) }
}

impl Mark {
    fn is_about(&self, scenario: &str) -> bool {
        self.scenarios.iter().any(|name| *name == scenario || (name.ends_with('-') && scenario.starts_with(name)))
    }

    fn judge<'f>(&self, theirs: &'f Figure, figures: &[Figure]) -> Option<Judged<'f>> {
        let (at_most, value) = match self.bound {
            Bound::Ratio(at_most, contenders) if contenders.contains(&theirs.contender.as_str()) => {
                let is_ours = |figure: &&Figure| figure.scenario == theirs.scenario && figure.contender == self.whose;
                (at_most, figures.iter().find(is_ours)?.value / theirs.value)
            }
            Bound::Figure(at_most) if theirs.contender == self.whose => (at_most, theirs.value),
            _ => return None,
        };
        Some(Judged { scenario: &theirs.scenario, whose: self.whose, contender: &theirs.contender, at_most, value })
    }
}

/// All marks that these figures are about.
pub fn judge(figures: &[Figure]) -> Vec<Judged<'_>> {
    let mut all = Vec::new();
    for figure in figures {
        let about = MARKS.iter().filter(|mark| mark.is_about(&figure.scenario));
        all.extend(about.filter_map(|mark| mark.judge(figure, figures)));
    }
    all
}
