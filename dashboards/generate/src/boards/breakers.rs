//! The destinations as the retries see them: which are left alone, since when, and what do attempts cost?

use crate::grafana::Look::{Alarm, BreakerStates, Lines, Number};
use crate::grafana::{Dashboard, Item, Variable, panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "sinkworks-breakers",
        title: "sinkworks / breakers",
        about: "The destinations as the retries see them: which are left alone, since when, and what do attempts cost?",
        variables: vec![
            Variable { name: "breaker", metric: "breaker_state", multi: true },
            Variable { name: "sink", metric: "write_attempts_total", multi: true },
        ],
        items: [states(), attempts()].into_iter().flatten().collect(),
    }
}

fn states() -> Vec<Item> {
    vec![
        panel(
            Alarm,
            "none",
            "Open",
            "Breakers that are open: their destinations are left alone.",
            &[("sum(@breaker_state{state=\"open\"})", "breakers")],
        )
        .wide(6)
        .into(),
        panel(
            Alarm,
            "none",
            "Half-open",
            "Breakers that are probing whether their destination works again.",
            &[("sum(@breaker_state{state=\"half_open\"})", "breakers")],
        )
        .wide(6)
        .into(),
        panel(
            Number,
            "none",
            "Closed",
            "Breakers that let everything through.",
            &[("sum(@breaker_state{state=\"closed\"})", "breakers")],
        )
        .wide(6)
        .into(),
        panel(
            Number,
            "percentunit",
            "Time not closed",
            "Part of the time range that the breakers were open or half-open, on average.",
            &[("1 - avg(avg_over_time(@breaker_state{state=\"closed\"}[$__range]))", "part")],
        )
        .wide(6)
        .into(),
        panel(
            BreakerStates,
            "none",
            "State",
            "The state of each breaker in each instance. Open: its queues hold their events and lose none. Half-open: a probe is under way.",
            &[(
                "max by (breaker, instance) (clamp_max(@breaker_state{state=\"half_open\"}, 1) or clamp_max(2 * @breaker_state{state=\"open\"}, 2))",
                "{{breaker}}, {{instance}}",
            )],
        )
        .wide(24)
        .into(),
        panel(
            Lines,
            "cps",
            "Transitions",
            "Changes of state a second, by the state changed to. To half-open and back to open, again and again: the destination is still down.",
            &[("sum by (breaker, to) (rate(@breaker_transitions_total[$__rate_interval]))", "{{breaker}} to {{to}}")],
        )
        .into(),
        panel(
            Lines,
            "percentunit",
            "Part of the instances that are not closed",
            "All: the destination is down. A few: the trouble is on the way to it.",
            &[("1 - avg by (breaker) (clamp_max(@breaker_state{state=\"closed\"}, 1))", "{{breaker}}")],
        )
        .into(),
    ]
}

fn attempts() -> Vec<Item> {
    vec![
        Item::Row("Attempts"),
        panel(
            Lines,
            "cps",
            "Attempts, by outcome",
            "Writes a second that each retrying sink tried. Transient failures are tried again, permanent ones are not, closed ends the sink.",
            &[(
                "sum by (sink, outcome) (rate(@write_attempts_total[$__rate_interval])) > 0",
                "{{sink}}, {{outcome}}",
            )],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "cps",
            "Retries",
            "Writes a second that repeated an earlier one that had failed.",
            &[("sum by (sink) (rate(@retries_total[$__rate_interval]))", "{{sink}}")],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "percentunit",
            "Failed attempts",
            "Part of the attempts that did not succeed.",
            &[(
                "sum by (sink) (rate(@write_attempts_total{outcome!=\"ok\"}[$__rate_interval])) / sum by (sink) (rate(@write_attempts_total[$__rate_interval]))",
                "{{sink}}",
            )],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "s",
            "Wait before a retry, median and 99th percentile",
            "How long events were held before an attempt: for a backoff, for a breaker, or because the destination asked for it.",
            &[
                (
                    "histogram_quantile(0.5, sum by (le, sink) (rate(@retry_backoff_seconds_bucket[$__rate_interval])))",
                    "{{sink}}, 50 %",
                ),
                (
                    "histogram_quantile(0.99, sum by (le, sink) (rate(@retry_backoff_seconds_bucket[$__rate_interval])))",
                    "{{sink}}, 99 %",
                ),
            ],
        )
        .needs("retry_backoff_seconds")
        .wide(24)
        .into(),
    ]
}
