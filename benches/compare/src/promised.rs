//! The ratios that the project promises, measured so that they can be checked on a machine that does other things too.
//!
//! Where threads and memory happen to lie changes a ratio more than rounds do, so each is the median over processes that begin anew.

use std::path::Path;
use std::process::Command;

use compare::figure::Figure;
use compare::marks::judge;

use crate::idle;

/// The ratios of S9 scatter more than those of the idle queues.
const IDLE_PROCESSES: usize = 5;
const WEBHOOK_PROCESSES: usize = 7;

/// Queues. No ratio may be above [`PROMISED`].
const IDLE: [u64; 3] = [10, 100, 1_000];
const PROMISED: f64 = 1.5;

/// Broadcasts to idle queues beside tokio's tasks. Whether the promise is kept.
pub fn idle() -> bool {
    let processes = [(); IDLE_PROCESSES].map(|()| {
        let theirs = anew(&["--idle"]).into_iter().filter(|figure| figure.contender == "tokio-tasks");
        theirs.map(|figure| figure.ratio).collect()
    });
    let medians = medians(&processes, IDLE.len());
    let lines = IDLE.into_iter().zip(medians);
    // Each of them is to be printed.
    lines.fold(true, |kept, (queues, ratios)| keeps(&format!("idle-{queues}"), ratios, PROMISED) & kept)
}

/// S9 beside Go. Whether every mark is met.
pub fn webhooks(go: &Path) -> bool {
    let go = go.to_string_lossy();
    let processes = [(); WEBHOOK_PROCESSES].map(|()| anew(&["--quick", "--only", "s9", "--go", &go]));
    let marks = judge(&processes[0]);
    let ratios = processes.each_ref().map(|figures| judge(figures).iter().map(|judged| judged.value).collect());
    let lines = marks.iter().zip(medians(&ratios, marks.len()));
    lines.fold(!marks.is_empty(), |kept, (mark, ratios)| {
        keeps(&format!("{} beside {}", mark.scenario, mark.contender), ratios, mark.at_most) & kept
    })
}

/// The figures of this program started anew.
fn anew(options: &[&str]) -> Vec<Figure> {
    let own = std::env::current_exe().expect("this program has a path");
    let output = Command::new(own).args(options).output().expect("it starts again");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    assert!(output.status.success(), "it has failed: {}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter_map(Figure::parse).collect()
}

/// The least, the median and the most of each ratio.
fn medians(processes: &[Vec<f64>], ratios: usize) -> Vec<[f64; 3]> {
    let of = |at: usize| {
        let mut all: Vec<f64> = processes.iter().map(|process| process[at]).collect();
        all.sort_unstable_by(f64::total_cmp);
        [all[0], all[all.len() / 2], all[all.len() - 1]]
    };
    assert!(processes.iter().all(|process| process.len() == ratios), "each process has measured everything");
    (0..ratios).map(of).collect()
}

fn keeps(what: &str, [least, median, most]: [f64; 3], promised: f64) -> bool {
    println!("# {what}: the median ratio is {median:.2}, from {least:.2} to {most:.2}");
    let kept = median <= promised;
    if !kept {
        eprintln!("{what}: the ratio {median:.2} is above the promised {promised:.2}");
    }
    kept
}

pub fn compare_idle() {
    for queues in IDLE {
        let figures = idle::compare(queues, 201);
        let ratio = figures.ours / figures.tokio;
        println!("idle-{queues} sinkworks {:.1} µs 1.00", figures.ours);
        println!("idle-{queues} tokio-tasks {:.1} µs {ratio:.2}", figures.tokio);
        println!("# idle-{queues}: round by round the median ratio is {:.2}", figures.round_by_round);
    }
}
