//! The demonstration: a receiver that fails, goes down and comes back, and a pipeline that delivers all the same.
//!
//! ```text
//! 20,000 events ─> Broadcaster ─┬─> Queue "webhook" ─> RetryingSink (Breaker) ─> Webhook ─> loopback receiver
//!                               ├─> Filter ─> Queue "file" ─> RetryingSink (backoff) ─> NDJSON file
//!                               └─> Channel "console" ─> a thread that prints a sample
//! ```

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sinkworks::ndjson::NdjsonFile;
use sinkworks::webhook::Webhook;
use sinkworks::{Breaker, Broadcaster, Channel, Filter, Sink};

use crate::account::{Arrivals, Audit};
use crate::cli::Args;
use crate::event::Event;
use crate::pace::Pace;
use crate::progress::Screen;
use crate::receiver::Receiver;
use crate::run::{HangUp, Plan, run};
use crate::{FAILED, INTERRUPTED, pipeline};

const EVENTS: u64 = 20_000;
const PER_SECOND: u32 = 2_500;
/// The receiver goes down when so many events have been sent.
const DOWN_AT: u64 = 7_500;
const DOWN_FOR: Duration = Duration::from_secs(3);
/// One of so many events is printed.
const SAMPLE: u64 = 2_000;
/// With the time that the sending takes, well within 30 s.
const GRACE: Duration = Duration::from_secs(15);

/// Shared: three branches hold each event, and nobody copies it.
type Shared = Arc<Event>;

pub(crate) fn main(args: &Args) -> ExitCode {
    match demonstrate(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("relay: the demonstration cannot run: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn demonstrate(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    let began = Instant::now();
    let screen = Arc::new(Screen::new());
    let receiver = Arc::new(Receiver::start()?);
    let metrics = sinkworks::telemetry::serve(args.metrics.as_deref().unwrap_or("127.0.0.1:0"))?;
    let path = NdjsonPath::new();
    screen.message(&format!(
        "{EVENTS} events at {PER_SECOND} a second; help: cargo run --release --example relay -- --help"
    ));
    screen.message(&format!("receiver: {}, answers one request of ten with 503", receiver.url()));
    screen.message(&format!("metrics:  http://{}/metrics", metrics.local_addr()));

    let breaker = Breaker::builder().name("webhook").threshold(5).backoff(Duration::from_millis(250)).build()?;
    let webhook = Webhook::builder(&receiver.url()).allow_loopback().timeout(Duration::from_secs(5)).build()?;
    let (webhook_queue, webhook) = pipeline::webhook::<Shared>("webhook", webhook, &breaker, None)?;
    let (file_queue, file) = pipeline::file::<Shared>("file", NdjsonFile::builder(&path.0).create_new().open()?, None)?;
    let (console_channel, samples) = Channel::builder().name("console").build()?;
    let console = pipeline::channel(&console_channel);

    let broadcaster = Arc::new(Broadcaster::named("relay")?);
    broadcaster.add(webhook_queue)?;
    broadcaster.add(Filter::new(file_queue, |event: &Shared| event.is_payment()))?;
    broadcaster.add(console_channel)?;

    let printer = thread::spawn({
        let screen = screen.clone();
        move || {
            for event in samples.iter().filter(|event| event.seq % SAMPLE == 0) {
                screen.result(&format!("event {:>5}: {:?}, {}", event.seq, event.kind, event.payload));
            }
        }
    });
    let branches = [webhook, file, console];
    let plan =
        Plan { grace: GRACE, patient: false, plain_progress: Some(Duration::from_secs(1)), hang_up: HangUp::Ends };
    let source = send(receiver.clone(), screen.clone());
    let outcome = run(&broadcaster, &branches, &screen, &plan, source)?;
    // The channel is closed, so its reader ends when it has read what was buffered.
    let console_end = printer.join();

    let mut audit = Audit::default();
    let expected = [EVENTS, (0..EVENTS).filter(|seq| Event::number(*seq).is_payment()).count() as u64, EVENTS];
    let ledgers = branches.each_ref().map(|branch| branch.final_ledger(outcome.report.as_ref().ok()));
    for ((branch, ledger), expected) in branches.iter().zip(&ledgers).zip(expected) {
        screen.result(&format!("queue={} {ledger}", branch.name));
        audit.ledger(&branch.name, ledger, expected);
        audit.findings.extend(branch.losses(ledger));
    }
    let book = receiver.book();
    let arrivals = Arrivals::of(&book);
    audit.receiver(&arrivals, book.garbled, ledgers[0].delivered, EVENTS);
    let lines = audit.file(&path.0, EVENTS)?;
    screen.result(&format!(
        "receiver distinct={} duplicates={} answered_503={} cut_off={}",
        arrivals.count(),
        arrivals.duplicates,
        book.refused,
        book.cut_off
    ));
    screen.result(&format!("file lines={lines}"));

    match &outcome.report {
        Ok(report) => audit.findings.extend(report.errors().iter().map(|(_, error)| format!("closing: {error}"))),
        Err(error) => audit.findings.push(format!("closing: {error}")),
    }
    if console_end.is_err() || outcome.source.is_none() {
        audit.findings.push("a thread of the demonstration did not end well".to_owned());
    }
    if !args.stay.is_zero() {
        screen.message(&format!("metrics:  until in {} s, or Ctrl-C", args.stay.as_secs_f64()));
        thread::sleep(args.stay);
    }
    if outcome.interrupted {
        screen.message("interrupted: there is nothing to compare with");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    for finding in &audit.findings {
        screen.message(&format!("relay: {finding}"));
    }
    if !audit.findings.is_empty() {
        return Ok(ExitCode::from(FAILED));
    }
    let took = began.elapsed().as_secs_f64();
    screen.message(&format!("every event arrived once, in order, as accounted ({took:.1} s)"));
    Ok(ExitCode::SUCCESS)
}

/// What sends the events, and takes the receiver down in the middle.
fn send(receiver: Arc<Receiver>, screen: Arc<Screen>) -> impl FnOnce(&Broadcaster<Shared>) {
    move |broadcaster| {
        let mut pace = Pace::per_second(PER_SECOND);
        for seq in 0..EVENTS {
            if seq == DOWN_AT {
                let (receiver, screen) = (receiver.clone(), screen.clone());
                thread::spawn(move || {
                    receiver.go_down();
                    screen.message(&format!("receiver: down for {} s", DOWN_FOR.as_secs()));
                    thread::sleep(DOWN_FOR);
                    receiver.come_up();
                    screen.message("receiver: up");
                });
            }
            pace.wait();
            // The only error of a broadcaster without a bound below it: it is closed, by Ctrl-C.
            if broadcaster.write(&Arc::new(Event::number(seq))).is_err() {
                return;
            }
        }
    }
}

/// A file that goes with the demonstration.
struct NdjsonPath(PathBuf);

impl NdjsonPath {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("sinkworks-relay-{}.ndjson", std::process::id())))
    }
}

impl Drop for NdjsonPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
