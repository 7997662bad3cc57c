//! The threads that do the work, and the process around them.

use crate::grafana::Look::{Alarm, Lines, Number, Presence, Stacked};
use crate::grafana::{Dashboard, Item, Variable, panel};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "sinkworks-pool",
        title: "sinkworks / pool and process",
        about: "The threads that do the work, and the process around them. The panels of the row Process need the standard metrics of a process, \
                which a service has from a library such as metrics-process.",
        variables: vec![Variable { name: "pool", metric: "pool_threads", multi: true }],
        items: [pool(), process(), scrapes()].into_iter().flatten().collect(),
    }
}

fn pool() -> Vec<Item> {
    vec![
        panel(
            Number,
            "none",
            "Threads",
            "Threads of all pools together. A pool grows when sinks block.",
            &[("sum(@pool_threads)", "threads")],
        )
        .wide(6)
        .into(),
        panel(
            Number,
            "percentunit",
            "Busy",
            "Part of the threads that is at work.",
            &[("sum(@pool_threads{state=\"busy\"}) / sum(@pool_threads)", "busy")],
        )
        .wide(6)
        .into(),
        panel(
            Number,
            "none",
            "Ready queues",
            "Queues with work that wait for a thread.",
            &[("sum(@pool_ready)", "queues")],
        )
        .wide(6)
        .into(),
        panel(
            Alarm,
            "none",
            "Pools at their maximum",
            "Pools in which queues wait for a thread, and which have as many as they may.",
            &[(
                "count((@pool_ready > 0) and on (job, instance, pool) \
                 (sum without (state) (@pool_threads) >= on (job, instance, pool) @pool_threads_max)) or sum(0 * @pool_ready)",
                "pools",
            )],
        )
        .wide(6)
        .into(),
        panel(
            Stacked,
            "short",
            "Threads, by what they do",
            "Busy threads run a queue's turn or sit in a sink's write. Idle ones wait for work and end after a while.",
            &[("sum by (pool, state) (@pool_threads)", "{{pool}}, {{state}}")],
        )
        .into(),
        panel(
            Lines,
            "short",
            "Ready queues",
            "Queues with work that wait for a thread. Above 0 for long: the pool is at its maximum, or the processors are busy.",
            &[("sum by (pool) (@pool_ready)", "{{pool}}")],
        )
        .into(),
        panel(
            Lines,
            "cps",
            "Wake-ups",
            "Times a second that a parked thread was woken. Each costs the writer some microseconds.",
            &[("sum by (pool) (rate(@pool_wakeups_total[$__rate_interval]))", "{{pool}}")],
        )
        .into(),
        panel(
            Lines,
            "short",
            "Timers",
            "Timers that the keeper holds, mostly waits before retries. They cost memory and no thread.",
            &[("sum by (pool) (@pool_timers)", "{{pool}}")],
        )
        .into(),
    ]
}

fn process() -> Vec<Item> {
    vec![
        Item::Row("Process"),
        panel(
            Lines,
            "percentunit",
            "Processor",
            "Processor time of each process; 100 % is one core.",
            &[("rate(@process_cpu_seconds_total[$__rate_interval])", "{{instance}}")],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "bytes",
            "Resident memory",
            "Memory of each process. Unbounded queues that grow are seen here.",
            &[("@process_resident_memory_bytes", "{{instance}}")],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "short",
            "Threads of the process",
            "All threads, those of the pools among them.",
            &[("@process_threads", "{{instance}}")],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "short",
            "Open files",
            "Open file descriptors of each process, connections among them.",
            &[("@process_open_fds", "{{instance}}")],
        )
        .into(),
        panel(
            Lines,
            "s",
            "Uptime",
            "How long each process runs. It falls to 0 when a process starts anew, and what its memory queues held is lost then.",
            &[("time() - @process_start_time_seconds", "{{instance}}")],
        )
        .into(),
    ]
}

fn scrapes() -> Vec<Item> {
    vec![
        Item::Row("Scrapes"),
        panel(
            Presence,
            "none",
            "Scraped",
            "Whether each instance answered. While it is missing, all other panels have a gap.",
            &[("max by (instance) (@up)", "{{instance}}")],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "s",
            "Time that a scrape takes",
            "From the request to the last byte. It grows with the number of components, not of events.",
            &[("@scrape_duration_seconds", "{{instance}}")],
        )
        .wide(8)
        .into(),
        panel(
            Lines,
            "short",
            "Series of a scrape",
            "Series that each instance has. Growing for ever: components are named after something that comes and goes.",
            &[("@scrape_samples_scraped", "{{instance}}")],
        )
        .wide(8)
        .into(),
    ]
}
