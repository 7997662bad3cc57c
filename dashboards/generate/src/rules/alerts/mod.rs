//! The alerts, each with a case in which it fires and one in which it is silent.

mod around;
mod losses;
mod queues;

/// One alert.
pub struct Alert {
    pub name: &'static str,
    /// `critical`: events are being lost or stand still, somebody should look now. `warning`: soon. `info`: some time.
    pub severity: &'static str,
    /// For how long the expression must hold. Empty: at once.
    pub hold: &'static str,
    /// With `@name` for metrics.
    pub expression: &'static str,
    pub summary: &'static str,
    pub description: &'static str,
    /// The dashboard to look at, with its variables.
    pub dashboard: &'static str,
    pub firing: Case,
    pub silent: Case,
}

/// A history of some series, a value a minute, and what is expected at a time. Each series is of the job `shop`, instance `a:9100`.
pub struct Case {
    pub series: &'static [(&'static str, &'static str)],
    pub at: &'static str,
    /// The labels of the alert that fires, and its value as the description shows it. Nothing in a silent case.
    pub labels: &'static [(&'static str, &'static str)],
    pub value: &'static str,
}

const fn case(series: &'static [(&'static str, &'static str)], at: &'static str) -> Case {
    Case { series, at, labels: &[], value: "" }
}

const HERE: (&str, &str) = ("instance", "a:9100");

/// All of them, the way of an event.
#[must_use]
pub fn alerts() -> Vec<Alert> {
    [queues::alerts(), losses::alerts(), around::destinations(), around::process()].into_iter().flatten().collect()
}
