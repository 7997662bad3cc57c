//! The alerts, each with a case in which it fires and one in which it is silent.

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
    let mut all = queues();
    all.extend(losses());
    all.extend(destinations());
    all.extend(process());
    all
}

fn queues() -> Vec<Alert> {
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

fn losses() -> Vec<Alert> {
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

fn destinations() -> Vec<Alert> {
    vec![
        Alert {
            name: "SinkworksBreakerOpen",
            severity: "warning",
            hold: "5m",
            // Half-open counts, since a breaker whose destination is down is that from time to time.
            expression: "sum without (state) (@breaker_state{state=~\"open|half_open\"}) > 0",
            summary: "Breaker {{ $labels.breaker }} of {{ $labels.instance }} is open",
            description: "Its destination has failed for at least 5 minutes. Queues behind it hold their events and lose none while they have room.",
            dashboard: "/d/sinkworks-breakers?var-breaker={{ $labels.breaker }}",
            firing: Case {
                labels: &[HERE, ("breaker", "webhook")],
                ..case(
                    &[
                        // Probing once a minute, in turn.
                        ("@breaker_state{breaker=\"webhook\", state=\"open\"}", "1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0"),
                        ("@breaker_state{breaker=\"webhook\", state=\"half_open\"}", "0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1"),
                        ("@breaker_state{breaker=\"webhook\", state=\"closed\"}", "0x15"),
                    ],
                    "10m",
                )
            },
            // Closed, but for three minutes.
            silent: case(
                &[
                    ("@breaker_state{breaker=\"webhook\", state=\"open\"}", "0 0 0 1 1 1 0 0 0 0 0 0"),
                    ("@breaker_state{breaker=\"webhook\", state=\"half_open\"}", "0x11"),
                    ("@breaker_state{breaker=\"webhook\", state=\"closed\"}", "1 1 1 0 0 0 1 1 1 1 1 1"),
                ],
                "6m",
            ),
        },
        Alert {
            name: "SinkworksSinkEvicted",
            severity: "warning",
            hold: "",
            expression: "increase(@broadcaster_evictions_total[10m]) > 0",
            summary: "Broadcaster {{ $labels.broadcaster }} of {{ $labels.instance }} has lost a sink",
            description: "{{ $value | humanize }} sinks closed within 10 minutes and get no more events.",
            dashboard: "/d/sinkworks-overview",
            firing: Case {
                labels: &[HERE, ("broadcaster", "relay")],
                value: "1",
                ..case(&[("@broadcaster_evictions_total{broadcaster=\"relay\"}", "0x10 1x20")], "15m")
            },
            silent: case(&[("@broadcaster_evictions_total{broadcaster=\"relay\"}", "1x30")], "25m"),
        },
    ]
}

fn process() -> Vec<Alert> {
    vec![
        Alert {
            name: "SinkworksPoolAtMaximum",
            severity: "warning",
            hold: "5m",
            // A pool below its maximum would have grown within milliseconds.
            expression: "min_over_time(@pool_ready[5m]) > 0 \
                         and on (job, instance, pool) max_over_time(@pool_threads{state=\"idle\"}[5m]) == 0",
            summary: "Pool {{ $labels.pool }} of {{ $labels.instance }} has no thread left",
            description: "At least {{ $value | humanize }} queues have waited for a thread for 5 minutes, and none was idle: the pool is at its maximum, or the processors are.",
            dashboard: "/d/sinkworks-pool?var-pool={{ $labels.pool }}",
            firing: Case {
                labels: &[HERE, ("pool", "pool")],
                value: "3",
                ..case(
                    &[
                        ("@pool_ready{pool=\"pool\"}", "3x30"),
                        ("@pool_threads{pool=\"pool\", state=\"idle\"}", "0x30"),
                        ("@pool_threads{pool=\"pool\", state=\"busy\"}", "512x30"),
                    ],
                    "20m",
                )
            },
            // Busy now and then, and with a thread to spare.
            silent: case(
                &[
                    ("@pool_ready{pool=\"sometimes\"}", "3 3 0 3 3 0 3 3 0 3 3 0 3 3 0 3 3 0 3 3 0"),
                    ("@pool_threads{pool=\"sometimes\", state=\"idle\"}", "0x30"),
                    ("@pool_ready{pool=\"spare\"}", "1x30"),
                    ("@pool_threads{pool=\"spare\", state=\"idle\"}", "1x30"),
                ],
                "20m",
            ),
        },
        Alert {
            name: "SinkworksScrapeFailing",
            severity: "critical",
            hold: "2m",
            // Only for what has been one of ours within a day.
            expression: "@up == 0 and on (job, instance) group by (job, instance) (present_over_time(@pool_threads[1d]))",
            summary: "{{ $labels.instance }} of {{ $labels.job }} does not answer scrapes",
            description: "The process is down, or its metrics cannot be reached. Nothing is known about its queues, and no other alert can fire for it.",
            dashboard: "/d/sinkworks-pool",
            firing: Case {
                labels: &[HERE],
                ..case(&[("@up", "1x10 0x30"), ("@pool_threads{pool=\"pool\", state=\"idle\"}", "2x10 stale")], "30m")
            },
            // Up, and down for a minute.
            silent: case(
                &[("@up", "1x20 0 1x20"), ("@pool_threads{pool=\"pool\", state=\"idle\"}", "2x20 stale 2x20")],
                "25m",
            ),
        },
        Alert {
            name: "SinkworksScrapeMissing",
            severity: "critical",
            hold: "5m",
            expression: "group by (job) (present_over_time(@pool_threads[1d])) unless on (job) group by (job) (@pool_threads)",
            summary: "No instance of {{ $labels.job }} is scraped any more",
            description: "Some instance was within the last day. All of them are gone, or Prometheus does not find them.",
            dashboard: "/d/sinkworks-pool",
            firing: Case { ..case(&[("@pool_threads{pool=\"pool\", state=\"idle\"}", "2x10 stale")], "30m") },
            silent: case(&[("@pool_threads{pool=\"pool\", state=\"idle\"}", "2x40")], "30m"),
        },
    ]
}
