//! The tool: NDJSON in, webhooks and a file out.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::value::RawValue;
use sinkworks::ndjson::NdjsonFile;
use sinkworks::telemetry::{self, MetricsServer};
use sinkworks::webhook::{AddressPolicy, Webhook};
use sinkworks::{Breaker, Broadcaster, CloseReport, Sink};

use crate::cli::Args;
use crate::input::{Bad, Lines};
use crate::pace::Pace;
use crate::pipeline::{self, Branch};
use crate::progress::Screen;
use crate::run::{HangUp, Outcome, Plan, run};
use crate::{FAILED, INTERRUPTED, UNUSABLE};

/// How many events each queue holds before the reading waits: enough to keep every destination busy, and little memory
/// however long the input is.
const BOUND: u64 = 1024;

/// One event, as it was written. Shared: every branch holds it.
type Event = Arc<RawValue>;

/// Everything that the arguments name, opened and checked.
struct Setup {
    input: Lines,
    broadcaster: Broadcaster<Event>,
    branches: Vec<Branch>,
    /// Serves until it is dropped.
    metrics: Option<MetricsServer>,
}

#[derive(Default)]
struct Counts {
    lines: AtomicU64,
    events: AtomicU64,
    malformed: AtomicU64,
}

/// Why the reading ended.
enum End {
    Finished,
    /// The pipeline was closed, by Ctrl-C.
    Closed,
    /// A malformed line, with `--strict`.
    Stopped,
    Unreadable(std::io::Error),
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let screen = Arc::new(Screen::new());
    let Setup { input, broadcaster, branches, metrics } = match Setup::new(args) {
        Ok(setup) => setup,
        Err(why) => {
            screen.message(&format!("relay: {why}"));
            return ExitCode::from(UNUSABLE);
        }
    };
    if let Some(metrics) = &metrics {
        screen.message(&format!("metrics: http://{}/metrics", metrics.local_addr()));
    }
    let counts = Arc::new(Counts::default());
    let broadcaster = Arc::new(broadcaster);
    let source = feed(input, args, counts.clone(), screen.clone());
    let plan = Plan { grace: args.grace, patient: true, plain_progress: None, hang_up: HangUp::Ends };
    match run(&broadcaster, &branches, &screen, &plan, source) {
        Ok(outcome) => {
            let lost = summary(&screen, &broadcaster, &branches, &counts, &outcome);
            exit_code(&screen, &outcome, lost)
        }
        Err(error) => {
            screen.message(&format!("relay: cannot listen to signals: {error}"));
            ExitCode::from(UNUSABLE)
        }
    }
}

impl Setup {
    fn new(args: &Args) -> Result<Self, String> {
        if args.to.is_empty() && args.out.is_none() {
            return Err("no destination: name one with --to URL or --out FILE".to_owned());
        }
        let (broadcaster, mut branches) = (Broadcaster::new(), Vec::new());
        for (number, url) in (1..).zip(&args.to) {
            // Without the URL, which may have a password or a token in it.
            let unusable = |error: &dyn std::fmt::Display| format!("--to number {number} cannot be used: {error}");
            let name = format!("to-{number}");
            let webhook =
                Webhook::builder(url).addresses(AddressPolicy::any()).build().map_err(|error| unusable(&error))?;
            let breaker = Breaker::builder()
                .name(&name)
                .threshold(args.threshold)
                .backoff(Duration::from_millis(args.backoff_ms))
                .build()
                .map_err(|error| unusable(&error))?;
            let (queue, branch) =
                pipeline::webhook(&name, webhook, &breaker, Some(BOUND)).map_err(|error| unusable(&error))?;
            broadcaster.add(queue).map_err(|error| unusable(&error))?;
            branches.push(branch);
        }
        let input = Lines::open(&args.input)
            .map_err(|error| format!("--input {} cannot be read: {error}", args.input.display()))?;
        let metrics = args.metrics.as_deref().map(telemetry::serve).transpose();
        let metrics = metrics.map_err(|error| format!("--metrics cannot be served: {error}"))?;
        if let Some(path) = &args.out {
            let unusable = |error: &dyn std::fmt::Display| format!("--out {} cannot be used: {error}", path.display());
            if is_same_file(&args.input, path) {
                return Err(unusable(&"it is the input, which would never end"));
            }
            let file = NdjsonFile::append(path).map_err(|error| unusable(&error))?;
            let (queue, branch) = pipeline::file("out", file, Some(BOUND)).map_err(|error| unusable(&error))?;
            broadcaster.add(queue).map_err(|error| unusable(&error))?;
            branches.push(branch);
        }
        Ok(Self { input, broadcaster, branches, metrics })
    }
}

pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    let resolve = |path: &Path| fs::canonicalize(path).ok().filter(|path| path.is_file());
    resolve(a).is_some_and(|a| resolve(b) == Some(a))
}

/// Reads, and writes into the broadcaster, which waits for the slowest queue that is full.
fn feed(
    mut input: Lines,
    args: &Args,
    counts: Arc<Counts>,
    screen: Arc<Screen>,
) -> impl FnOnce(&Broadcaster<Event>) -> End + Send + 'static {
    let strict = args.strict;
    let mut pace = args.rate.map(Pace::per_second);
    move |broadcaster| {
        while let Some(line) = input.next_event() {
            counts.lines.store(input.number(), Ordering::Relaxed);
            match line {
                Ok(event) => {
                    if let Some(pace) = &mut pace {
                        pace.wait();
                    }
                    // Another answer than this is none that a broadcaster gives outside a pool.
                    if broadcaster.write(&Event::from(event)).is_err() {
                        return End::Closed;
                    }
                    counts.events.fetch_add(1, Ordering::Relaxed);
                }
                Err(Bad::Malformed(why)) => {
                    counts.malformed.fetch_add(1, Ordering::Relaxed);
                    let what = if strict { "stopping there" } else { "skipped" };
                    screen.message(&format!("relay: line {} is malformed, {what}: {why}", input.number()));
                    if strict {
                        return End::Stopped;
                    }
                }
                Err(Bad::Unreadable(error)) => return End::Unreadable(error),
            }
        }
        counts.lines.store(input.number(), Ordering::Relaxed);
        End::Finished
    }
}

/// Says what became of the events. Whether some were lost.
fn summary(
    screen: &Screen,
    broadcaster: &Broadcaster<Event>,
    branches: &[Branch],
    counts: &Counts,
    outcome: &Outcome<End>,
) -> bool {
    let lost = account(screen, broadcaster, branches, outcome);
    let [lines, events, malformed] =
        [&counts.lines, &counts.events, &counts.malformed].map(|count| count.load(Ordering::Relaxed));
    screen.result(&format!("input lines={lines} events={events} malformed={malformed}"));
    lost
}

/// Says what became of the events in each queue, and of the close. Whether some were lost.
pub(crate) fn account<E, T>(
    screen: &Screen,
    broadcaster: &Broadcaster<E>,
    branches: &[Branch],
    outcome: &Outcome<T>,
) -> bool {
    let mut lost = false;
    for branch in branches {
        let ledger = branch.final_ledger(outcome.report.as_ref().ok());
        screen.result(&format!("queue={} {ledger}", branch.name));
        if let Some(losses) = branch.losses(&ledger) {
            screen.message(&format!("relay: {losses}"));
            lost = true;
        }
    }
    // The event that was waiting for room when Ctrl-C came: some queues have it, the full ones have not accepted it.
    let refused = broadcaster.lost().total();
    if refused > 0 {
        screen.message(&format!("relay: {refused} events found a queue full or closed when they were written"));
        lost = true;
    }
    match &outcome.report {
        Ok(report) => {
            if outcome.interrupted {
                screen.result(&left(report));
            }
            for (_, error) in report.errors() {
                screen.message(&format!("relay: closing: {error}"));
                lost = true;
            }
        }
        Err(error) => {
            screen.message(&format!("relay: closing: {error}"));
            lost = true;
        }
    }
    lost
}

fn left(report: &CloseReport) -> String {
    format!("left abandoned={} in_flight={}", report.abandoned(), report.in_flight())
}

fn exit_code(screen: &Screen, outcome: &Outcome<End>, lost: bool) -> ExitCode {
    if outcome.interrupted {
        return ExitCode::from(INTERRUPTED);
    }
    match &outcome.source {
        Some(End::Finished | End::Closed) if !lost => ExitCode::SUCCESS,
        Some(End::Unreadable(error)) => {
            screen.message(&format!("relay: the input cannot be read any further: {error}"));
            ExitCode::from(FAILED)
        }
        _ => ExitCode::from(FAILED),
    }
}
