//! What Prometheus works out for itself: recording rules, alerts, and the unit tests of the alerts.

mod alerts;
mod recording;
mod yaml;

pub use alerts::{Alert, Case, alerts};
pub use recording::{Recording, recordings};
pub use yaml::{alerts_file, recordings_file, tests_file};
