//! sinkworks beside its peers, in one run: alternating rounds, medians, ratios. `ci/compare.sh` runs it with everything; alone,
//! `cargo run --release -p compare -- --help`.

mod idle;
mod promised;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use compare::receiver;
use compare::scenario::{Plan, s1_throughput, s2_latency, s3_idle, s4_fan_out, s5_broadcaster, s9_webhooks};

/// Prints one line per figure: scenario, contender, figure, unit, ratio (ours / theirs, below 1 is better for us).
#[derive(Parser)]
struct Args {
    /// Fewer rounds and fewer events
    #[arg(long)]
    quick: bool,
    /// Only broadcasts to idle queues beside tokio and, with --go, webhooks beside Go; and fail if a ratio is above what the project promises
    #[arg(long)]
    check: bool,
    /// The same once, without a verdict
    #[arg(long)]
    idle: bool,
    /// Be the receiver of S9
    #[arg(long, hide = true)]
    receive: bool,
    /// The program built from benches/go-events. Without it, there is no Go in the comparison
    #[arg(long, value_name = "PROGRAM")]
    go: Option<PathBuf>,
    /// Only these
    #[arg(long, value_delimiter = ',', value_name = "SCENARIOS", default_value = "s1,s3,s4,s5,s9,s2")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.receive {
        return match receiver::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the receiver of webhooks: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if args.idle {
        promised::compare_idle();
        return ExitCode::SUCCESS;
    }
    if args.check {
        println!("# {}", machine());
        println!("scenario contender figure unit ratio");
        let kept = promised::idle() & args.go.as_deref().is_none_or(promised::webhooks);
        return if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if args.go.is_none() {
        println!("# go-events: not measured, no program was given");
    }
    if cfg!(not(feature = "qubit")) {
        println!("# qubit-event-bus: not measured, it was not built (it needs Rust 1.94 and the feature `qubit`)");
    }
    let plan = Plan { go: args.go, quick: args.quick };
    for name in &args.only {
        match name.as_str() {
            "s1" => s1_throughput::run(&plan),
            "s2" => s2_latency::run(&plan),
            "s3" => s3_idle::run(&plan),
            "s4" => s4_fan_out::run(&plan),
            "s5" => s5_broadcaster::run(&plan),
            "s9" => s9_webhooks::run(&plan),
            _ => {
                eprintln!("compare: there is no scenario {name} here");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// The processor, for whoever reads the figures later.
fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {}", model.map_or("unknown processor", |(_, model)| model))
}
