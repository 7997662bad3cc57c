//! One queue: where do its events go, and how long do they take?

use crate::grafana::Look::{Alarm, Lines, Number};
use crate::grafana::{Dashboard, Item, Variable, panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "sinkworks-queue",
        title: "sinkworks / queue",
        about: "One queue in depth: where do its events go, and how long do they take?",
        variables: vec![Variable { name: "queue", metric: "queue_depth", multi: false }],
        items: [now(), room(), flow(), time()].into_iter().flatten().collect(),
    }
}

fn now() -> Vec<Item> {
    vec![
        panel(
            Number,
            "short",
            "Held",
            "Events that the queue holds: waiting, or in flight.",
            &[("sum(@queue_depth)", "events")],
        )
        .into(),
        panel(
            Number,
            "cps",
            "Accepted",
            "Events a second that the queue took responsibility for.",
            &[("sum(rate(@queue_accepted_total[$__rate_interval]))", "events/s")],
        )
        .into(),
        panel(
            Number,
            "cps",
            "Delivered",
            "Events a second that the destination took.",
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
            "cps",
            "Refused",
            "Writes a second that were refused for want of room. Their writers still had the events.",
            &[("sum(rate(@queue_refused_total[$__rate_interval]))", "writes/s")],
        )
        .into(),
        panel(
            Number,
            "s",
            "Time to empty",
            "How long the queue would take to deliver what it holds at its present pace, if nothing came in. Infinite while nothing is delivered.",
            &[("sum(@queue_depth) / sum(rate(@queue_delivered_total[$__rate_interval]))", "seconds")],
        )
        .into(),
    ]
}

fn room() -> Vec<Item> {
    vec![
        Item::Row("Room"),
        panel(
            Lines,
            "short",
            "Depth, its bound and its high-water mark",
            "Events that the queue holds, the most it has held, and the most it may hold where it has a bound.",
            &[
                ("@queue_depth", "{{instance}}"),
                ("@queue_depth_high_water", "{{instance}}, high-water mark"),
                ("@queue_capacity > 0", "{{instance}}, bound"),
            ],
        )
        .into(),
        panel(
            Lines,
            "bytes",
            "Bytes, and their bound",
            "Bytes of the events that the queue holds, by its size function. 0 for a queue without a bound in bytes.",
            &[("@queue_bytes", "{{instance}}"), ("@queue_capacity_bytes > 0", "{{instance}}, bound")],
        )
        .into(),
    ]
}

fn flow() -> Vec<Item> {
    vec![
        Item::Row("Flow"),
        panel(
            Lines,
            "cps",
            "In and out",
            "Events a second that came in, that were delivered, and that were lost. The distance between them is how fast the depth changes.",
            &[
                ("sum(rate(@queue_accepted_total[$__rate_interval]))", "accepted"),
                ("sum(rate(@queue_delivered_total[$__rate_interval]))", "delivered"),
                ("sum(rate(@queue_dropped_total[$__rate_interval]))", "dropped"),
            ],
        )
        .into(),
        panel(
            Lines,
            "cps",
            "Delivered, by instance",
            "Events a second that the destination took from each instance. One that differs has a trouble of its own.",
            &[("sum by (instance) (rate(@queue_delivered_total[$__rate_interval]))", "{{instance}}")],
        )
        .into(),
        panel(
            Lines,
            "cps",
            "Dropped, by reason",
            "Overflow: no room. Permanent: the destination refused it for good. Exhausted: no more attempts were allowed. Closed: the destination has ended. Abandoned: at shutdown. Panicked: in the sink.",
            &[("sum by (reason) (rate(@queue_dropped_total[$__rate_interval]))", "{{reason}}")],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "cps",
            "Dead letters",
            "Letters a second about dropped events: written, or lost because their queue did not take them.",
            &[("sum by (outcome) (rate(@queue_dead_letters_total[$__rate_interval]))", "{{outcome}}")],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "cps",
            "Refused",
            "Writes a second that were refused for want of room. Their writers still had the events.",
            &[("sum by (instance) (rate(@queue_refused_total[$__rate_interval]))", "{{instance}}")],
        )
        .wide(8)
        .into(),
    ]
}

fn time() -> Vec<Item> {
    let waits = |title, description, quantiles| panel(Lines, "s", title, description, quantiles);
    vec![
        Item::Row("Time"),
        waits(
            "Wait in the queue",
            "Time that an event was in the queue until it left: for half of them, for nine of ten, and for 99 of a hundred, at most this. Sampled.",
            &[
                ("histogram_quantile(0.5, sum by (le) (rate(@queue_wait_seconds_bucket[$__rate_interval])))", "50 %"),
                ("histogram_quantile(0.9, sum by (le) (rate(@queue_wait_seconds_bucket[$__rate_interval])))", "90 %"),
                ("histogram_quantile(0.99, sum by (le) (rate(@queue_wait_seconds_bucket[$__rate_interval])))", "99 %"),
            ],
        )
        .needs("queue_wait_seconds")
        .wide(8)
        .into(),
        waits(
            "Time that a write takes",
            "Time that the destination took for one write: for half of them, for nine of ten, and for 99 of a hundred, at most this. Sampled.",
            &[
                (
                    "histogram_quantile(0.5, sum by (le) (rate(@write_duration_seconds_bucket[$__rate_interval])))",
                    "50 %",
                ),
                (
                    "histogram_quantile(0.9, sum by (le) (rate(@write_duration_seconds_bucket[$__rate_interval])))",
                    "90 %",
                ),
                (
                    "histogram_quantile(0.99, sum by (le) (rate(@write_duration_seconds_bucket[$__rate_interval])))",
                    "99 %",
                ),
            ],
        )
        .needs("write_duration_seconds")
        .wide(8)
        .into(),
        panel(
            Lines,
            "s",
            "Time since the last delivery",
            "How long ago the destination took an event last. It rises while nothing gets through, and while there is nothing to deliver.",
            &[("time() - (@queue_last_delivery_timestamp_seconds > 0)", "{{instance}}")],
        )
        .needs("queue_last_delivery_timestamp_seconds")
        .wide(8)
        .into(),
    ]
}
