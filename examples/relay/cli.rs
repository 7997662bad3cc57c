//! The tool's arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand};

/// Relays NDJSON, a line an event, to webhooks and to a file. Without any argument it runs a demonstration.
///
/// Each destination has a queue of its own and gets every event, in order. A destination that fails is tried again and
/// holds the reading back when its queue is full; nothing is dropped but what a destination refuses for good, and what is
/// still pending when the grace is over.
///
/// After the end of the input it goes on for as long as something gets through. Ctrl-C stops the reading and closes within
/// the grace; pressed again while it closes, it gives up what is pending at once. At the end a line for each queue says
/// what became of its events.
///
/// With --listen it is a service instead: events are posted to it, and a file describes where they go. 202 says that every required endpoint's queue has taken
/// all events of the request; any other status but 503, that none was taken. A signal to end (Ctrl-C, SIGTERM) closes it within the grace, and is no failure: its
/// exit status is then 0, or 1 if something was lost. SIGHUP ends everything else, but such a service opens its file of dead letters anew, which something like
/// logrotate has renamed before. The endpoints' file and its check: see the README, and `relay check --help`.
///
/// Exit status: 0 if every event was delivered everywhere; 1 if some were lost, or the input failed, or --strict stopped; 2 if
/// the arguments cannot be used, and then nothing was sent; 130 after Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "relay", verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Where the events come from; - is the standard input
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    pub(crate) input: PathBuf,
    /// Post each event to this URL; may be given several times
    #[arg(long, value_name = "URL")]
    pub(crate) to: Vec<String>,
    /// Append each event to this file, a line an event
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Take events that are posted to /events at this address, and deliver them to the endpoints of --config
    #[arg(long, value_name = "ADDR", requires = "config", conflicts_with_all = ["input", "to", "out", "rate", "strict", "threshold", "backoff_ms"])]
    pub(crate) listen: Option<String>,
    /// The file of endpoints, in TOML
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) config: Option<PathBuf>,
    /// With --listen: how many connections there may be at a time, of which each takes a thread and a file descriptor; others are answered with 503
    #[arg(long, value_name = "N", default_value = "128", requires = "listen", value_parser = RangedU64ValueParser::<u32>::new().range(1..=10_000))]
    pub(crate) connections: u32,
    /// With --listen: the largest body of a request
    #[arg(long, value_name = "BYTES", default_value = "1048576", requires = "listen", value_parser = RangedU64ValueParser::<u32>::new().range(1..=8 << 20))]
    pub(crate) max_body: u32,
    /// With --listen: how long a request may take until it has arrived, and a connection be silent
    #[arg(long, value_name = "SECONDS", default_value = "30", requires = "listen", value_parser = some_seconds)]
    pub(crate) request_time: Duration,
    /// Run the demonstration, as without any argument
    #[arg(long, conflicts_with_all = ["input", "to", "out", "rate", "strict", "grace", "threshold", "backoff_ms", "listen"])]
    pub(crate) demo: bool,
    /// Let the demonstration end so much later, for a look at its metrics
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds, requires = "demo")]
    pub(crate) stay: Duration,
    /// Serve Prometheus metrics at this address, as in 127.0.0.1:9100
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<String>,
    /// Read at most this many events per second
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    pub(crate) rate: Option<u32>,
    /// Stop at a line that is not JSON, instead of reporting and skipping it
    #[arg(long)]
    pub(crate) strict: bool,
    /// How long closing may take after Ctrl-C; after the end of the input, how long nothing may get through before what is
    /// pending is given up
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) grace: Duration,
    /// How many posts in a row must fail before a URL is left alone for a while
    #[arg(long, value_name = "N", default_value = "5", value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    pub(crate) threshold: u32,
    /// For how many milliseconds it is left alone before one post tries it again
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = RangedU64ValueParser::<u64>::new().range(1..=86_400_000))]
    pub(crate) backoff_ms: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a file of endpoints: says each line that is wrong and why, and sends nothing. Exit status: 0, or 2 if something is wrong
    Check {
        /// The file, in TOML
        file: PathBuf,
    },
    /// Deliver the events of dead letters once more, each to the endpoint whose queue dropped it. What fails again is a dead letter again. Exit status: 0 if all
    /// were delivered; 1 if some were not; 2 if a file cannot be used, and then nothing was sent; 130 after Ctrl-C
    Replay {
        /// The letters, as the relay has written them
        file: PathBuf,
        /// The file of endpoints, in TOML
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// How long closing may take after Ctrl-C; after the last letter, how long nothing may get through before what is pending is given up
        #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
        grace: Duration,
    },
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    if time.is_zero() || time > Duration::from_secs(86_400) { Err("not within a day".to_owned()) } else { Ok(time) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
