//! Events that are lost, and what is left of them.

use super::{Alert, Case, HERE, case};

pub(super) fn alerts() -> Vec<Alert> {
    vec![
        Alert {
            name: "SinkworksEventsDropped",
            severity: "critical",
            hold: "",
            expression: "increase(@queue_dropped_total[10m]) > 0",
            summary: "Queue {{ $labels.queue }} of {{ $labels.instance }} drops events: {{ $labels.reason }}",
            description: "{{ $value | humanize }} accepted events were lost within 10 minutes.",
            dashboard: "/d/sinkworks-queue?var-queue={{ $labels.queue }}",
            firing: Case {
                labels: &[HERE, ("queue", "webhook"), ("reason", "overflow")],
                value: "5",
                ..case(
                    &[
                        ("@queue_dropped_total{queue=\"webhook\", reason=\"overflow\"}", "0x10 5x20"),
                        ("@queue_dropped_total{queue=\"webhook\", reason=\"permanent\"}", "0x30"),
                    ],
                    "15m",
                )
            },
            // An old loss, and a process that starts anew.
            silent: case(
                &[
                    ("@queue_dropped_total{queue=\"webhook\", reason=\"overflow\"}", "7x30"),
                    ("@queue_dropped_total{queue=\"webhook\", reason=\"permanent\"}", "7x20 0x10"),
                ],
                "25m",
            ),
        },
        Alert {
            name: "SinkworksDeadLetters",
            severity: "warning",
            hold: "",
            expression: "increase(@queue_dead_letters_total{outcome=\"written\"}[10m]) > 0",
            summary: "Dead letters of queue {{ $labels.queue }} of {{ $labels.instance }} are waiting to be read",
            description: "{{ $value | humanize }} letters about dropped events were written within 10 minutes.",
            dashboard: "/d/sinkworks-queue?var-queue={{ $labels.queue }}",
            firing: Case {
                labels: &[HERE, ("queue", "webhook"), ("outcome", "written")],
                value: "5",
                ..case(&[("@queue_dead_letters_total{queue=\"webhook\", outcome=\"written\"}", "0x10 5x20")], "15m")
            },
            silent: case(
                &[
                    ("@queue_dead_letters_total{queue=\"webhook\", outcome=\"written\"}", "5x30"),
                    ("@queue_dead_letters_total{queue=\"webhook\", outcome=\"lost\"}", "0x30"),
                ],
                "25m",
            ),
        },
        Alert {
            name: "SinkworksDeadLettersLost",
            severity: "critical",
            hold: "",
            expression: "increase(@queue_dead_letters_total{outcome=\"lost\"}[10m]) > 0",
            summary: "Dead letters of queue {{ $labels.queue }} of {{ $labels.instance }} are lost",
            description: "The queue of the letters did not take {{ $value | humanize }} of them within 10 minutes: the dropped events are gone for good.",
            dashboard: "/d/sinkworks-queue?var-queue={{ $labels.queue }}",
            firing: Case {
                labels: &[HERE, ("queue", "webhook"), ("outcome", "lost")],
                value: "5",
                ..case(&[("@queue_dead_letters_total{queue=\"webhook\", outcome=\"lost\"}", "0x10 5x20")], "15m")
            },
            silent: case(
                &[
                    ("@queue_dead_letters_total{queue=\"webhook\", outcome=\"written\"}", "0+5x30"),
                    ("@queue_dead_letters_total{queue=\"webhook\", outcome=\"lost\"}", "0x30"),
                ],
                "25m",
            ),
        },
        Alert {
            name: "SinkworksBroadcastDropped",
            severity: "warning",
            hold: "",
            expression: "increase(@broadcaster_dropped_total[10m]) > 0",
            summary: "A sink of broadcaster {{ $labels.broadcaster }} of {{ $labels.instance }} misses events: {{ $labels.reason }}",
            description: "Its best-effort sinks did not take {{ $value | humanize }} events within 10 minutes.",
            dashboard: "/d/sinkworks-overview",
            firing: Case {
                labels: &[HERE, ("broadcaster", "relay"), ("reason", "overflow")],
                value: "5",
                ..case(
                    &[("@broadcaster_dropped_total{broadcaster=\"relay\", reason=\"overflow\"}", "0x10 5x20")],
                    "15m",
                )
            },
            silent: case(&[("@broadcaster_dropped_total{broadcaster=\"relay\", reason=\"overflow\"}", "5x30")], "25m"),
        },
        Alert {
            name: "SinkworksChannelLagging",
            severity: "info",
            hold: "10m",
            expression: "rate(@channel_lagged_total[10m]) > 0",
            summary: "The reader of channel {{ $labels.channel }} of {{ $labels.instance }} is too slow",
            description: "It misses {{ $value | humanize }} events a second.",
            dashboard: "/d/sinkworks-overview",
            firing: Case {
                labels: &[HERE, ("channel", "console")],
                value: "2",
                ..case(&[("@channel_lagged_total{channel=\"console\"}", "0+120x40")], "30m")
            },
            // Once, for less than the time that is waited for.
            silent: case(&[("@channel_lagged_total{channel=\"console\"}", "0x10 9x30")], "19m"),
        },
    ]
}
