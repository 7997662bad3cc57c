//! What is around the queues: destinations, threads, and the scrapes themselves.

use super::{Alert, Case, HERE, case};

pub(super) fn destinations() -> Vec<Alert> {
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

pub(super) fn process() -> Vec<Alert> {
    vec![
        Alert {
            name: "SinkworksPoolAtMaximum",
            severity: "warning",
            hold: "5m",
            expression: "min_over_time(@pool_ready[5m]) > 0 \
                         and on (job, instance, pool) \
                         sum without (state) (@pool_threads) >= on (job, instance, pool) @pool_threads_max",
            summary: "Pool {{ $labels.pool }} of {{ $labels.instance }} is at its maximum",
            description: "At least {{ $value | humanize }} queues have waited for a thread for 5 minutes, and the pool has as many threads as it may.",
            dashboard: "/d/sinkworks-pool?var-pool={{ $labels.pool }}",
            firing: Case {
                labels: &[HERE, ("pool", "pool")],
                value: "3",
                ..case(
                    &[
                        ("@pool_ready{pool=\"pool\"}", "3x30"),
                        ("@pool_threads{pool=\"pool\", state=\"idle\"}", "0x30"),
                        ("@pool_threads{pool=\"pool\", state=\"busy\"}", "512x30"),
                        ("@pool_threads_max{pool=\"pool\"}", "512x30"),
                    ],
                    "20m",
                )
            },
            // Busy now and then, and with room to grow.
            silent: case(
                &[
                    ("@pool_ready{pool=\"sometimes\"}", "3 3 0 3 3 0 3 3 0 3 3 0 3 3 0 3 3 0 3 3 0"),
                    ("@pool_threads{pool=\"sometimes\", state=\"busy\"}", "4x30"),
                    ("@pool_threads_max{pool=\"sometimes\"}", "4x30"),
                    ("@pool_ready{pool=\"spare\"}", "1x30"),
                    ("@pool_threads{pool=\"spare\", state=\"busy\"}", "4x30"),
                    ("@pool_threads_max{pool=\"spare\"}", "5x30"),
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
