//! The four dashboards, a file each.

mod breakers;
mod overview;
mod pool;
mod queue;

use crate::grafana::Dashboard;

/// All of them, the one to begin with first.
#[must_use]
pub fn all() -> Vec<Dashboard> {
    vec![overview::dashboard(), queue::dashboard(), breakers::dashboard(), pool::dashboard()]
}
