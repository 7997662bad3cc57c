//! A queue that grows, is full, or stands still.

use super::{Alert, Case, HERE, case};

pub(super) fn alerts() -> Vec<Alert> {
    vec![
        Alert {
            name: "SinkworksQueueGrowing",
            severity: "warning",
            hold: "10m",
            // The trend, not two points: a queue that fills and empties in turn has none. Below 100 events nobody need care.
            expression: "deriv(@queue_depth[10m]) > 0.1 and @queue_depth > 100",
            summary: "Queue {{ $labels.queue }} of {{ $labels.instance }} keeps growing",
            description: "It has grown for 10 minutes, now by {{ $value | humanize }} events a second: its destination is down or too slow.",
            dashboard: "/d/sinkworks-queue?var-queue={{ $labels.queue }}",
            firing: Case {
                labels: &[HERE, ("queue", "webhook")],
                value: "1",
                ..case(&[("@queue_depth{queue=\"webhook\"}", "0+60x60")], "45m")
            },
            // Long but steady, grown and come to rest, and growing on a small scale.
            silent: case(
                &[
                    ("@queue_depth{queue=\"steady\"}", "5000x60"),
                    ("@queue_depth{queue=\"rested\"}", "0+60x15 900x45"),
                    ("@queue_depth{queue=\"small\"}", "0+1x60"),
                ],
                "45m",
            ),
        },
        Alert {
            name: "SinkworksQueueNearlyFull",
            severity: "warning",
            hold: "5m",
            expression: "job_instance_queue:sinkworks_queue_fill:ratio > 0.9",
            summary: "Queue {{ $labels.queue }} of {{ $labels.instance }} is nearly full",
            description: "{{ $value | humanizePercentage }} of its room in {{ $labels.bound }} is taken. When it is full, its overflow policy makes writers wait, refuses writes or drops events.",
            dashboard: "/d/sinkworks-queue?var-queue={{ $labels.queue }}",
            firing: Case {
                labels: &[HERE, ("queue", "webhook"), ("bound", "bytes")],
                value: "95%",
                ..case(
                    &[
                        ("@queue_depth{queue=\"webhook\"}", "10x30"),
                        ("@queue_capacity{queue=\"webhook\"}", "1000x30"),
                        ("@queue_bytes{queue=\"webhook\"}", "950x30"),
                        ("@queue_capacity_bytes{queue=\"webhook\"}", "1000x30"),
                    ],
                    "20m",
                )
            },
            // Half full, and without a bound.
            silent: case(
                &[
                    ("@queue_depth{queue=\"half\"}", "500x30"),
                    ("@queue_capacity{queue=\"half\"}", "1000x30"),
                    ("@queue_depth{queue=\"unbounded\"}", "500x30"),
                    ("@queue_capacity{queue=\"unbounded\"}", "0x30"),
                ],
                "20m",
            ),
        },
        Alert {
            name: "SinkworksNoDeliveries",
            severity: "critical",
            hold: "5m",
            expression: "increase(@queue_delivered_total[10m]) == 0 and min_over_time(@queue_depth[10m]) > 0",
            summary: "Queue {{ $labels.queue }} of {{ $labels.instance }} delivers nothing",
            description: "It has held events for 10 minutes, and its destination has taken none in that time.",
            dashboard: "/d/sinkworks-queue?var-queue={{ $labels.queue }}",
            firing: Case {
                labels: &[HERE, ("queue", "webhook")],
                ..case(
                    &[
                        ("@queue_delivered_total{queue=\"webhook\"}", "0+10x10 100x50"),
                        ("@queue_depth{queue=\"webhook\"}", "0x9 3x51"),
                    ],
                    "40m",
                )
            },
            // Nothing to do, and slow.
            silent: case(
                &[
                    ("@queue_delivered_total{queue=\"idle\"}", "100x60"),
                    ("@queue_depth{queue=\"idle\"}", "0x60"),
                    ("@queue_delivered_total{queue=\"slow\"}", "0+1x60"),
                    ("@queue_depth{queue=\"slow\"}", "70x60"),
                ],
                "40m",
            ),
        },
    ]
}
