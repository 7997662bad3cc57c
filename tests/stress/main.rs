//! Every two public operations of every component at the same moment, on real threads and under random delays: thousands of rounds for each pair,
//! and after each round the books are exact, nothing has come twice, and nobody hangs.
//!
//! | file | what it has |
//! |---|---|
//! | `scene` | what a component's file says: a table of operations, how a round begins, and what must hold when it is over |
//! | `stage` | runs all pairs of a table, many rounds each |
//! | `watchdog` | who does what, and what is said of a hang |
//! | `coverage` | that no public method is missing from the tables |
//! | `leaf` | the destination that tells what it was given |
//! | `accounts` | what the actors were answered |
//! | the others | one component each |
//!
//! `SINKWORKS_STRESS_SECONDS` sets how long each component is played, `SINKWORKS_STRESS_SEED` the seed, which every run prints, and
//! `SINKWORKS_STRESS_PAIR` plays one pair only, as in `send + close(abort)`.

#![cfg(feature = "test-util")]

mod accounts;
mod alternatives;
mod breaker;
mod broadcaster;
mod channel;
mod coverage;
mod leaf;
mod ndjson;
mod pool;
mod queue;
mod receipt;
mod scene;
mod stage;
mod stages;
mod watchdog;

#[test]
fn queue() {
    stage::play::<queue::QueueScene>();
}

#[test]
fn broadcaster() {
    stage::play::<broadcaster::BroadcasterScene>();
}

#[test]
fn channel() {
    stage::play::<channel::ChannelScene>();
}

#[test]
fn breaker() {
    stage::play::<breaker::BreakerScene>();
}

#[test]
fn retry_and_filter() {
    stage::play::<stages::StagesScene>();
}

#[test]
fn fallback_and_time_limit() {
    stage::play::<alternatives::AlternativesScene>();
}

#[test]
fn ndjson_file() {
    stage::play::<ndjson::NdjsonScene>();
}

#[test]
fn pool() {
    stage::play::<pool::PoolScene>();
}

#[test]
fn receipt() {
    stage::play::<receipt::ReceiptScene>();
}
