//! Webhooks behind a proxy that delays, resets, swallows, dribbles, answers with errors and goes away: at the end the receiver's log and the
//! ledgers agree exactly. Delivery is at least once, so an event may come twice, but only if an answer was lost.
//!
//! `SINKWORKS_FAULTS_SEED` sets the seed, which every run prints.

#![cfg(feature = "webhook")]

mod audit;
mod crew;
mod pipeline;
mod proxy;
mod receiver;
mod weather;
mod wire;

use std::thread;
use std::time::{Duration, Instant};

use sinkworks::{DropReason, Shutdown};

use audit::Audit;
use pipeline::{Outcome, Pipeline};
use proxy::Proxy;
use receiver::Receiver;
use weather::{Fault, Phase, play};

/// The webhooks'.
const TIMEOUT: Duration = Duration::from_millis(250);

struct Run {
    name: &'static str,
    queues: usize,
    /// Events a second, in all.
    rate: u32,
    during: Duration,
    /// How often every phase comes.
    cycles: u32,
}

#[test]
fn the_receiver_and_the_ledgers_agree_after_a_short_storm() {
    storm(&Run { name: "short", queues: 8, rate: 500, during: Duration::from_secs(4), cycles: 1 });
}

#[test]
#[ignore = "takes more than a minute and measures the writer's pace: run in release"]
fn the_receiver_and_the_ledgers_agree_after_a_minute_of_storm() {
    let run = Run { name: "long", queues: 16, rate: 2_000, during: Duration::from_secs(60), cycles: 8 };
    let pace = storm(&run);
    assert!(pace.written >= 120_000 * 95 / 100, "the writer fell behind: {} events", pace.written);
    assert!(pace.took < Duration::from_secs(61), "{:?}", pace.took);
}

fn storm(run: &Run) -> pipeline::Pace {
    let seed = seed(run.name);
    let receiver = Receiver::start();
    let mut proxy = Proxy::start(receiver.address(), TIMEOUT, seed);
    let pipeline = Pipeline::new(proxy.address(), run.queues, TIMEOUT);
    let pace = thread::scope(|scope| {
        let writer = scope.spawn(|| pipeline.write(run.rate, run.during));
        play(seed, run.during, run.cycles, |phase| proxy.turn_to(phase));
        proxy.turn_to(Phase::Calm);
        writer.join().unwrap()
    });
    let pending: u64 = pipeline.lanes.iter().map(|lane| lane.queue.ledger().pending).sum();
    let closing = Instant::now();
    let report = pipeline.close(Shutdown::within(Duration::from_secs(60)));
    let closing = closing.elapsed();
    pipeline.pool.wait_idle();
    let proxied = proxy.stop();
    let audit = Audit::new(&pipeline, &report, &proxied, &receiver.stop());

    println!("faults: {}: what happened to requests at the proxy:\n{}", run.name, proxied.weather);
    println!("faults: {}: how attempts ended: {:?}", run.name, audit.outcomes);
    println!(
        "faults: {}: {} queues, {} events in {:.2?}, a write took {:?} at the median, {:?} at the 99th percentile; \
         {pending} were pending when the storm ended, all delivered {closing:.2?} later",
        run.name,
        run.queues,
        pace.written,
        pace.took,
        pace.percentile(50),
        pace.percentile(99),
    );
    println!(
        "faults: {}: accepted={} delivered={} dropped={} distinct at the receiver={} duplicates={} retries={}",
        run.name,
        audit.sum(|account| account.ledger.accepted),
        audit.sum(|account| account.ledger.delivered),
        audit.sum(|account| account.ledger.dropped.total()),
        audit.sum(audit::Account::distinct),
        audit.sum(audit::Account::duplicates),
        audit.sum(|account| account.stats.retries),
    );

    audit.check();
    for (number, account) in audit.accounts.iter().enumerate() {
        let ledger = account.ledger;
        assert_eq!(account.reported, ledger, "queue {number}");
        assert_eq!((ledger.delivered, ledger.dropped.total()), (ledger.accepted, 0), "queue {number}: {account:?}");
        assert_eq!(account.distinct(), ledger.delivered, "queue {number}: {account:?}");
        assert_eq!(account.stats.transient, account.stats.retries, "queue {number}: {account:?}");
    }
    assert_eq!(audit.sum(|account| account.ledger.accepted), pace.written);
    for fault in Fault::ALL {
        assert!(proxied.weather.happened(fault) > 0, "{fault:?} has not happened");
    }
    assert_eq!(proxied.weather.outages(), u64::from(run.cycles));
    for outcome in [Outcome::Timeout, Outcome::Refused, Outcome::Broken, Outcome::Status(500), Outcome::Status(503)] {
        assert!(audit.outcomes.contains_key(&outcome), "no attempt ended as {outcome:?}");
    }
    assert_eq!(audit.outcomes.get(&Outcome::Other), None);
    pace
}

#[test]
fn an_abort_during_an_outage_keeps_exact_accounts() {
    shutdown("abort in an outage", Phase::Outage, Shutdown::Abort);
}

#[test]
fn a_deadline_during_an_outage_keeps_exact_accounts() {
    shutdown("deadline in an outage", Phase::Outage, Shutdown::within(Duration::from_millis(1_500)));
}

#[test]
fn an_abort_while_answers_fail_to_come_keeps_exact_accounts() {
    shutdown("abort in silence", Phase::Silence, Shutdown::Abort);
}

/// Closes in the middle of a phase that followed a second of all faults.
fn shutdown(name: &str, phase: Phase, how: Shutdown) {
    let seed = seed(name);
    let receiver = Receiver::start();
    let mut proxy = Proxy::start(receiver.address(), TIMEOUT, seed);
    let pipeline = Pipeline::new(proxy.address(), 8, TIMEOUT);
    let report = thread::scope(|scope| {
        let writer = scope.spawn(|| pipeline.write(500, Duration::from_secs(1)));
        proxy.turn_to(Phase::Mixed);
        thread::sleep(Duration::from_millis(700));
        proxy.turn_to(phase);
        writer.join().unwrap();
        pipeline.close(how)
    });
    // A write that was under way ends by itself, at its timeout at the latest.
    pipeline.pool.wait_idle();
    let proxied = proxy.stop();
    let audit = Audit::new(&pipeline, &report, &proxied, &receiver.stop());
    let lost = audit.sum(|account| account.distinct().saturating_sub(account.ledger.delivered));
    println!(
        "faults: {name}: accepted={} delivered={} abandoned={} in flight={}, of these arrived={}; not delivered, but in the log={lost}",
        audit.sum(|account| account.reported.accepted),
        audit.sum(|account| account.reported.delivered),
        report.abandoned(),
        report.in_flight(),
        audit.sum(|account| account.ledger.delivered - account.reported.delivered),
    );

    audit.check();
    assert!(report.abandoned() > 0, "nothing was pending: the test shows nothing");
    for (number, account) in audit.accounts.iter().enumerate() {
        let (reported, ledger) = (account.reported, account.ledger);
        assert_eq!(reported.accepted, ledger.accepted, "queue {number}: {account:?}");
        assert!(reported.pending <= 1, "queue {number}: {account:?}");
        // What was in flight has been decided meanwhile: it arrived, or its retry found a sink that was closed. Nothing else has changed.
        let decided = ledger.delivered - reported.delivered + ledger.dropped[DropReason::DestinationClosed];
        assert_eq!(decided, reported.pending, "queue {number}: {account:?}");
        let abandoned = reported.dropped[DropReason::Abandoned];
        assert_eq!(reported.delivered + abandoned + reported.pending, reported.accepted, "queue {number}: {account:?}");
        assert_eq!(ledger.dropped[DropReason::Abandoned], abandoned, "queue {number}: {account:?}");
        assert_eq!(ledger.accepted, ledger.delivered + ledger.dropped.total(), "queue {number}: {account:?}");
    }
}

fn seed(name: &str) -> u64 {
    let seed = std::env::var("SINKWORKS_FAULTS_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("SINKWORKS_FAULTS_SEED must be a number"));
    println!("faults: {name}: SINKWORKS_FAULTS_SEED={seed}");
    seed
}
