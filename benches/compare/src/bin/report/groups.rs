//! Which scenarios stand together in one table and one plot.

pub struct Group {
    /// Of the plot's file.
    pub name: &'static str,
    pub title: &'static str,
    /// The scenarios, each a column.
    pub columns: &'static [&'static str],
    /// Only where columns are comparable.
    pub plotted: bool,
}

pub const GROUPS: &[Group] = &[
    Group {
        name: "s1",
        title: "S1: throughput of a queue, ns an event",
        columns: &["s1-u64-1w", "s1-u64-2w", "s1-u64-4w", "s1-arc256-1w", "s1-arc256-2w", "s1-arc256-4w"],
        plotted: true,
    },
    Group {
        name: "s2-write",
        title: "S2: a write of a paced writer, µs",
        columns: &[
            "s2-20us-write-p50",
            "s2-50us-write-p50",
            "s2-1000us-write-p50",
            "s2-20us-write-p99.9",
            "s2-50us-write-p99.9",
            "s2-1000us-write-p99.9",
        ],
        plotted: true,
    },
    Group {
        name: "s2-delivery",
        title: "S2: from a paced write to its sink, µs",
        columns: &[
            "s2-20us-delivery-p50",
            "s2-50us-delivery-p50",
            "s2-1000us-delivery-p50",
            "s2-20us-delivery-p99.9",
            "s2-50us-delivery-p99.9",
            "s2-1000us-delivery-p99.9",
        ],
        plotted: true,
    },
    Group {
        name: "s2-cpu",
        title: "S2: processor time of the receiver, % of a core",
        columns: &["s2-20us-cpu", "s2-50us-cpu", "s2-1000us-cpu"],
        plotted: false,
    },
    Group {
        name: "s3",
        title: "S3: one broadcast to idle queues, the writer's time, µs",
        columns: &["s3-1", "s3-10", "s3-100", "s3-1000"],
        plotted: true,
    },
    Group {
        name: "s4",
        title: "S4: steady fan-out, ns an event and queue",
        columns: &["s4-10", "s4-100", "s4-1000"],
        plotted: true,
    },
    Group {
        name: "s5",
        title: "S5: the broadcaster alone, ns an event",
        columns: &["s5-10", "s5-100", "s5-1000", "s5-10000"],
        plotted: true,
    },
    Group {
        name: "s5-churn",
        title: "S5: a write while sinks come and go, µs",
        columns: &[
            "s5-churn-10-p50",
            "s5-churn-100-p50",
            "s5-churn-1000-p50",
            "s5-churn-10-p99",
            "s5-churn-100-p99",
            "s5-churn-1000-p99",
        ],
        plotted: true,
    },
    Group {
        name: "s6",
        title: "S6: what telemetry costs",
        columns: &["s6-instructions-write", "s6-instructions-delivered", "s6-time-write", "s6-time-delivery"],
        plotted: false,
    },
    Group {
        name: "s7",
        title: "S7: 100,000 idle queues; 10,000 refusing endpoints",
        columns: &["s7-idle-new", "s7-idle-used", "s7-idle-threads", "s7-refusing-threads", "s7-refusing-cpu"],
        plotted: false,
    },
    Group { name: "s8", title: "S8: a backlog of 10 million u64", columns: &["s8-backlog", "s8-left"], plotted: false },
    Group {
        name: "s9",
        title: "S9: a delivery to an endpoint over loopback HTTP, µs",
        columns: &["s9-1", "s9-10", "s9-100"],
        plotted: true,
    },
    Group {
        name: "s9-cpu",
        title: "S9: the sender's processor time for a delivery, µs",
        columns: &["s9-1-cpu", "s9-10-cpu", "s9-100-cpu"],
        plotted: false,
    },
];
