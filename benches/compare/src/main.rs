//! sinkworks beside its peers, in one run: alternating rounds, medians, ratios.
//!
//! `cargo run --release -p compare` measures and prints one line per figure: scenario, contender, figure, unit, ratio (ours / theirs, below 1 is
//! better for us). With `--check` it fails if a ratio is above what the project promises.

mod idle;

use std::process::ExitCode;

fn main() -> ExitCode {
    let check = std::env::args().any(|arg| arg == "--check");
    println!("# {}", machine());
    println!("scenario contender figure unit ratio");
    let mut kept = true;
    for (queues, promised) in [(10, None), (100, None), (1_000, Some(1.5))] {
        let figures = idle::compare(queues, 201);
        let ratio = figures.ours / figures.tokio;
        println!("idle-{queues} sinkworks {:.1} µs 1.00", figures.ours);
        println!("idle-{queues} tokio-tasks {:.1} µs {ratio:.2}", figures.tokio);
        println!("# idle-{queues}: round by round the median ratio is {:.2}", figures.round_by_round);
        if promised.is_some_and(|promised| ratio > promised) {
            eprintln!("idle-{queues}: the ratio {ratio:.2} is above the promised {promised:?}");
            kept = false;
        }
    }
    if kept || !check { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The processor, for whoever reads the figures later.
fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {}", model.map_or("unknown processor", |(_, model)| model))
}
