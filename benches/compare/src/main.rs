//! sinkworks beside its peers, in one run: alternating rounds, medians, ratios. `ci/compare.sh` runs it with everything; alone,
//! `cargo run --release -p compare -- --help`.

mod idle;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use compare::scenario::{Plan, s1_throughput, s2_latency, s3_idle, s4_fan_out, s5_broadcaster};

/// Prints one line per figure: scenario, contender, figure, unit, ratio (ours / theirs, below 1 is better for us).
#[derive(Parser)]
struct Args {
    /// Fewer rounds and fewer events
    #[arg(long)]
    quick: bool,
    /// Only broadcasts to idle queues beside tokio, and fail if a ratio is above what the project promises
    #[arg(long)]
    check: bool,
    /// The same once, without a verdict
    #[arg(long)]
    idle: bool,
    /// The program built from benches/go-events. Without it, there is no Go in the comparison
    #[arg(long, value_name = "PROGRAM")]
    go: Option<PathBuf>,
    /// Only these
    #[arg(long, value_delimiter = ',', value_name = "SCENARIOS", default_value = "s1,s3,s4,s5,s2")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.idle {
        compare_idle();
        return ExitCode::SUCCESS;
    }
    if args.check {
        println!("# {}", machine());
        println!("scenario contender figure unit ratio");
        return check();
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
            _ => {
                eprintln!("compare: there is no scenario {name} here");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Where threads and memory happen to lie changes the ratio more than rounds do, so it is the median over processes that begin anew.
const PROCESSES: usize = 5;

/// Queues, and the ratio that is promised for them.
const IDLE: [(u64, Option<f64>); 3] = [(10, None), (100, None), (1_000, Some(1.5))];

/// What `ci/test.sh` checks.
fn check() -> ExitCode {
    let mut processes = [(); PROCESSES].map(|()| in_a_process());
    let mut kept = true;
    for (at, (queues, promised)) in IDLE.into_iter().enumerate() {
        processes.sort_unstable_by(|a, b| a[at].total_cmp(&b[at]));
        let (ratio, least, most) = (processes[PROCESSES / 2][at], processes[0][at], processes[PROCESSES - 1][at]);
        println!(
            "# idle-{queues}: the median ratio of {PROCESSES} processes is {ratio:.2}, from {least:.2} to {most:.2}"
        );
        if promised.is_some_and(|promised| ratio > promised) {
            eprintln!("idle-{queues}: the ratio {ratio:.2} is above the promised {promised:?}");
            kept = false;
        }
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The ratios of this program started anew with `--idle`.
fn in_a_process() -> Vec<f64> {
    let own = std::env::current_exe().expect("this program has a path");
    let output = Command::new(own).arg("--idle").output().expect("it starts again");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    let theirs = said.lines().filter(|line| line.contains(" tokio-tasks "));
    let ratios: Vec<f64> = theirs.filter_map(|line| line.split(' ').next_back()?.parse().ok()).collect();
    assert_eq!(ratios.len(), IDLE.len(), "a ratio for each line");
    ratios
}

fn compare_idle() {
    for (queues, _) in IDLE {
        let figures = idle::compare(queues, 201);
        let ratio = figures.ours / figures.tokio;
        println!("idle-{queues} sinkworks {:.1} µs 1.00", figures.ours);
        println!("idle-{queues} tokio-tasks {:.1} µs {ratio:.2}", figures.tokio);
        println!("# idle-{queues}: round by round the median ratio is {:.2}", figures.round_by_round);
    }
}

/// The processor, for whoever reads the figures later.
fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {}", model.map_or("unknown processor", |(_, model)| model))
}
