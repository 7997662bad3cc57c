//! What processor time the others take.

use std::fs::read_to_string;
use std::time::Duration;

/// The time that this process has run, with the threads that have ended.
pub fn of_all() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The time that all threads of this process but the calling one have run. As the scheduler of Linux counts it; `None` elsewhere.
pub fn of_others() -> Option<Duration> {
    let own = std::fs::read_link("/proc/thread-self").ok()?;
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        if own.ends_with(task.file_name()) {
            continue;
        }
        // A thread that has ended meanwhile has none.
        let Ok(stat) = read_to_string(task.path().join("schedstat")) else { continue };
        nanos += stat.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}
