//! Numbers that are worth keeping for longer than the series that they come from.

/// One recording rule, named `level:metric:operations` as is the custom.
pub struct Recording {
    pub name: &'static str,
    /// With `@name` for metrics.
    pub expression: &'static str,
}

/// All of them. The first is what an alert is built on, the others are for reports over months.
#[must_use]
pub fn recordings() -> Vec<Recording> {
    let rule = |name, expression| Recording { name, expression };
    vec![
        rule(
            "job_instance_queue:sinkworks_queue_fill:ratio",
            // With a label that tells the two apart: a queue may have both bounds.
            "label_replace(@queue_depth / (@queue_capacity > 0), \"bound\", \"events\", \"\", \"\") \
             or label_replace(@queue_bytes / (@queue_capacity_bytes > 0), \"bound\", \"bytes\", \"\", \"\")",
        ),
        rule("job_queue:sinkworks_queue_depth:sum", "sum by (job, queue) (@queue_depth)"),
        rule("job_queue:sinkworks_queue_accepted:rate5m", "sum by (job, queue) (rate(@queue_accepted_total[5m]))"),
        rule("job_queue:sinkworks_queue_delivered:rate5m", "sum by (job, queue) (rate(@queue_delivered_total[5m]))"),
        rule(
            "job_queue_reason:sinkworks_queue_dropped:rate5m",
            "sum by (job, queue, reason) (rate(@queue_dropped_total[5m]))",
        ),
        rule(
            "job_sink:sinkworks_write_attempts_failed:ratio_rate5m",
            "sum by (job, sink) (rate(@write_attempts_total{outcome!=\"ok\"}[5m])) \
             / sum by (job, sink) (rate(@write_attempts_total[5m]))",
        ),
        rule(
            "job_breaker:sinkworks_breaker_not_closed:max",
            "max by (job, breaker) (@breaker_state{state=~\"open|half_open\"})",
        ),
        rule(
            "job_pool:sinkworks_pool_busy:ratio",
            "sum by (job, pool) (@pool_threads{state=\"busy\"}) / sum by (job, pool) (@pool_threads)",
        ),
    ]
}
