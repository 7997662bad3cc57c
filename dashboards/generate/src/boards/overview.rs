//! All queues, and what is around them: is anything stuck, lost or growing?

use crate::grafana::Look::{Alarm, BreakerStates, Lines, Number};
use crate::grafana::{Dashboard, Item, Variable, panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "sinkworks-overview",
        title: "sinkworks / overview",
        about: "All queues, and what is around them: is anything stuck, lost or growing?",
        variables: vec![Variable { name: "queue", metric: "queue_depth", multi: true }],
        items: [now(), queues(), losses(), retries(), fan_out()].into_iter().flatten().collect(),
    }
}

fn now() -> Vec<Item> {
    vec![
        panel(Number, "none", "Instances", "Processes that answered the last scrape.", &[("sum(@up)", "instances")])
            .into(),
        panel(
            Number,
            "short",
            "Events held",
            "Events that all queues hold together: waiting, or in flight.",
            &[("sum(@queue_depth)", "events")],
        )
        .into(),
        panel(
            Number,
            "cps",
            "Accepted",
            "Events a second that the queues took responsibility for.",
            &[("sum(rate(@queue_accepted_total[$__rate_interval]))", "events/s")],
        )
        .into(),
        panel(
            Number,
            "cps",
            "Delivered",
            "Events a second that the destinations took.",
            &[("sum(rate(@queue_delivered_total[$__rate_interval]))", "events/s")],
        )
        .into(),
        panel(
            Alarm,
            "cps",
            "Dropped",
            "Accepted events a second that were lost, for any reason.",
            &[("sum(rate(@queue_dropped_total[$__rate_interval]))", "events/s")],
        )
        .into(),
        panel(
            Alarm,
            "none",
            "Breakers not closed",
            "Breakers that are open or half-open: destinations that are left alone because they fail.",
            &[("sum(@breaker_state{state=~\"open|half_open\"})", "breakers")],
        )
        .into(),
    ]
}

fn queues() -> Vec<Item> {
    vec![
        Item::Row("Queues"),
        panel(
            Lines,
            "short",
            "Depth",
            "Events that each queue holds. A queue that rises for long has a destination that is down or too slow.",
            &[("sum by (queue) (@queue_depth)", "{{queue}}")],
        )
        .opens_queue()
        .into(),
        panel(
            Lines,
            "percentunit",
            "Fill",
            "Part of the room that is taken, in events or in bytes, of the queues that have a bound. At 100 % the overflow policy decides.",
            &[
                ("max by (queue) (@queue_depth / (@queue_capacity > 0))", "{{queue}}, events"),
                ("max by (queue) (@queue_bytes / (@queue_capacity_bytes > 0))", "{{queue}}, bytes"),
            ],
        )
        .opens_queue()
        .into(),
        panel(
            Lines,
            "cps",
            "Accepted",
            "Events a second that each queue took responsibility for.",
            &[("sum by (queue) (rate(@queue_accepted_total[$__rate_interval]))", "{{queue}}")],
        )
        .opens_queue()
        .into(),
        panel(
            Lines,
            "cps",
            "Delivered",
            "Events a second that each queue's destination took.",
            &[("sum by (queue) (rate(@queue_delivered_total[$__rate_interval]))", "{{queue}}")],
        )
        .opens_queue()
        .into(),
        panel(
            Lines,
            "s",
            "Wait in the queue, 99th percentile",
            "Time from which on an event was in the queue until it left, for one of a hundred events longer than this. Sampled.",
            &[(
                "histogram_quantile(0.99, sum by (le, queue) (rate(@queue_wait_seconds_bucket[$__rate_interval])))",
                "{{queue}}",
            )],
        )
        .needs("queue_wait_seconds")
        .opens_queue()
        .into(),
        panel(
            Lines,
            "s",
            "Time since the last delivery",
            "Of the queues that hold something. One that delivers shows next to nothing; one that is stuck rises steadily.",
            &[(
                "max by (queue) ((time() - (@queue_last_delivery_timestamp_seconds > 0)) and on (job, instance, queue) (@queue_depth > 0))",
                "{{queue}}",
            )],
        )
        .needs("queue_last_delivery_timestamp_seconds")
        .opens_queue()
        .into(),
    ]
}

fn losses() -> Vec<Item> {
    vec![
        Item::Row("Losses"),
        panel(
            Lines,
            "cps",
            "Dropped, by reason",
            "Accepted events a second that were lost, and why. In a healthy system this is 0.",
            &[("sum by (queue, reason) (rate(@queue_dropped_total[$__rate_interval])) > 0", "{{queue}}, {{reason}}")],
        )
        .wide(8)
        .opens_queue()
        .into(),
        panel(
            Lines,
            "cps",
            "Refused",
            "Writes a second that were refused for want of room. Their writers still had the events.",
            &[("sum by (queue) (rate(@queue_refused_total[$__rate_interval]))", "{{queue}}")],
        )
        .wide(8)
        .opens_queue()
        .into(),
        panel(
            Lines,
            "cps",
            "Dead letters",
            "Letters a second about dropped events: written, or lost because their queue did not take them.",
            &[(
                "sum by (queue, outcome) (rate(@queue_dead_letters_total[$__rate_interval])) > 0",
                "{{queue}}, {{outcome}}",
            )],
        )
        .wide(8)
        .opens_queue()
        .into(),
    ]
}

fn retries() -> Vec<Item> {
    vec![
        Item::Row("Destinations"),
        panel(
            BreakerStates,
            "none",
            "Breakers",
            "The worst state of each breaker over all instances: closed, half-open while it probes, or open.",
            &[(
                "max by (breaker) (clamp_max(@breaker_state{state=\"half_open\"}, 1) or clamp_max(2 * @breaker_state{state=\"open\"}, 2))",
                "{{breaker}}",
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
            "Part of the attempts that did not succeed, for each sink that retries.",
            &[(
                "sum by (sink) (rate(@write_attempts_total{outcome!=\"ok\"}[$__rate_interval])) / sum by (sink) (rate(@write_attempts_total[$__rate_interval]))",
                "{{sink}}",
            )],
        )
        .wide(8)
        .into(),
    ]
}

fn fan_out() -> Vec<Item> {
    vec![
        Item::Row("Fan-out"),
        panel(
            Lines,
            "cps",
            "Broadcasts",
            "Events a second that each broadcaster offered to its sinks.",
            &[("sum by (broadcaster) (rate(@broadcaster_writes_total[$__rate_interval]))", "{{broadcaster}}")],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "short",
            "Sinks",
            "Sinks that each broadcaster writes to, and how many it removed within the window because they had closed.",
            &[
                ("sum by (broadcaster) (@broadcaster_sinks)", "{{broadcaster}}"),
                (
                    "sum by (broadcaster) (increase(@broadcaster_evictions_total[$__rate_interval]))",
                    "{{broadcaster}}, evicted",
                ),
            ],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "cps",
            "Not taken by best-effort sinks",
            "Events a second that a best-effort sink of the broadcaster did not take, and why.",
            &[(
                "sum by (broadcaster, reason) (rate(@broadcaster_dropped_total[$__rate_interval])) > 0",
                "{{broadcaster}}, {{reason}}",
            )],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "short",
            "Channel depth",
            "Events that wait in each channel for its reader.",
            &[("sum by (channel) (@channel_depth)", "{{channel}}")],
        )
        .into(),
        panel(
            Lines,
            "cps",
            "Missed by channel readers",
            "Events a second that a channel's reader missed because it was too slow.",
            &[("sum by (channel) (rate(@channel_lagged_total[$__rate_interval]))", "{{channel}}")],
        )
        .into(),
    ]
}
