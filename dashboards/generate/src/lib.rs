//! Makes the dashboards and alerts of sinkworks from the crate's own table of names, and checks them against a real Prometheus.
//!
//! The modules in the order in which to read them: [`table`] knows the names; [`boards`] says what is on each dashboard, and [`grafana`] makes
//! JSON of it; [`rules`] are the recording rules and alerts; [`files`] writes them all. [`lint`] reads what was written as
//! a stranger would, and [`live`] runs every expression against a real Prometheus.

pub mod boards;
pub mod expr;
pub mod files;
pub mod grafana;
pub mod lint;
pub mod live;
pub mod rules;
pub mod table;
