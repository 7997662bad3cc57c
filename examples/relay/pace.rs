//! An even pace of so many a second.

use std::thread;
use std::time::{Duration, Instant};

/// How far behind its pace it may hurry after. Beyond, as after a destination held the reading back, it does not
/// make up for the time lost with a burst.
const SLACK: Duration = Duration::from_millis(50);

pub(crate) struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    pub(crate) fn per_second(events: u32) -> Self {
        Self { interval: Duration::from_secs(1) / events.max(1), next: Instant::now() }
    }

    /// Sleeps until it is time for the next.
    pub(crate) fn wait(&mut self) {
        let now = Instant::now();
        if now < self.next {
            thread::sleep(self.next - now);
        } else if let Some(earliest) = now.checked_sub(SLACK) {
            self.next = self.next.max(earliest);
        }
        self.next += self.interval;
    }
}
