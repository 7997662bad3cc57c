//! The scenarios of `benches/README.md`, in the order of their numbers. S6 is `ci/telemetry-cost.sh`; S7 and S8 are in the program `memory`.

pub mod s1_throughput;
pub mod s2_latency;
pub mod s3_idle;
pub mod s4_fan_out;
pub mod s5_broadcaster;
pub mod s9_webhooks;

use std::path::PathBuf;

use crate::go::Go;

/// How much is measured, and beside what.
pub struct Plan {
    /// The program built from `benches/go-events`. `None`: without Go.
    pub go: Option<PathBuf>,
    /// Fewer rounds and fewer events.
    pub quick: bool,
}

impl Plan {
    /// The one if it is to be quick, else the other.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A new process for each measurement, so that none has the leftovers of another.
    pub fn start_go(&self) -> Option<Go> {
        self.go.as_ref().map(|program| Go::start(program).expect("the Go program starts"))
    }
}
