//! The relay's demonstration, which goes through an outage of its own, beside the program that has something of everything.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::run::{Life, Process, Times, now};

/// What Prometheus calls it.
pub(super) const JOB: &str = "relay";
/// Often enough for ten scrapes in the three seconds for which the receiver is down.
pub(super) const SCRAPE_INTERVAL: Duration = Duration::from_millis(200);
/// In seconds, how long it is there when it has said everything: several scrapes.
const STAY: &str = "2";

pub(super) struct Relay {
    process: Process,
    lines: Receiver<Line>,
}

/// What it said, and when.
type Line = (f64, String);

impl Relay {
    pub(super) fn start(address: &str) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let path = own.with_file_name("examples").join("relay");
        let mut command = Command::new(&path);
        command.args(["--demo", "--metrics", address, "--stay", STAY]).stdin(Stdio::null());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}; build it first: cargo build --example relay", path.display()))?;
        let (said, lines) = mpsc::channel();
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            listen(stdout, said.clone());
            listen(stderr, said);
        }
        Ok(Self { process: Process(child), lines })
    }

    /// Waits for its end, and answers what it has lived through.
    pub(super) fn end(mut self, began: f64) -> Result<Life, String> {
        let mut times = Times { began, ..Times::default() };
        let mut accounts = Vec::new();
        // Until both streams have ended.
        for (at, line) in &self.lines {
            match line.as_str() {
                "receiver: up" => times.up = at,
                down if down.starts_with("receiver: down") => times.down = at,
                stays if stays.starts_with("metrics:  until") => times.settled = at,
                // The console is a channel.
                account if account.starts_with("queue=") && !account.starts_with("queue=console") => {
                    accounts.push(line)
                }
                other => {
                    let distinct = other.strip_prefix("receiver distinct=").and_then(|rest| rest.split(' ').next());
                    accounts.extend(distinct.map(|distinct| format!("arrived={distinct}")));
                }
            }
        }
        let status = self.process.0.wait().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("relay: {status}"));
        }
        // Two scrapes that find everything as it was said to be.
        times.end = times.settled + 3.0 * SCRAPE_INTERVAL.as_secs_f64();
        if now() < times.end {
            return Err("relay: it has not stayed".to_owned());
        }
        Ok(Life { job: JOB, retries_each_scrape: false, times, accounts })
    }
}

/// Ends with the stream.
fn listen(stream: impl Read + Send + 'static, said: Sender<Line>) {
    thread::spawn(move || {
        BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| said.send((now(), line)))
    });
}
