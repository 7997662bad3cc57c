//! The models: each runs real code of the crate over the stand-ins of `sync::model`, in every interleaving up to a bound on preemptions.

mod pool;
mod queue;
mod room;
mod stand_ins;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::sync::set_mutations;

/// A model and what it must catch.
struct Model {
    name: &'static str,
    /// How often a thread may be interrupted in one execution; `None` is without a bound. Chosen as the largest that ends within
    /// about a minute; two find every mutation here, as most concurrency bugs need no more (Musuvathi and Qadeer, *CHESS*, PLDI 2007).
    preemptions: Option<usize>,
    run: fn(),
    mutations: &'static [Mutation],
}

/// A step that the model leaves out, and the bound on preemptions under which the model must then fail: one more than its own where the
/// failure needs a longer story.
#[derive(Clone, Copy)]
struct Mutation {
    name: &'static str,
    preemptions: Option<usize>,
}

const fn mutation(name: &'static str) -> Mutation {
    Mutation { name, preemptions: Some(2) }
}

fn models() -> Vec<Model> {
    [stand_ins::MODELS, pool::MODELS, queue::MODELS, room::MODELS]
        .into_iter()
        .flatten()
        .map(|model| Model { ..*model })
        .collect()
}

/// `SINKWORKS_LOOM_PREEMPTIONS` sets the bound of every model, for a longer run.
fn override_bound() -> Option<usize> {
    std::env::var("SINKWORKS_LOOM_PREEMPTIONS").ok()?.parse().ok()
}

/// Runs one model and counts its executions.
fn explore(model: &Model, preemptions: Option<usize>) -> u64 {
    static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
    EXECUTIONS.store(0, Ordering::Relaxed);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    let run = model.run;
    builder.check(move || {
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        run();
    });
    EXECUTIONS.load(Ordering::Relaxed)
}

/// Runs a model with a mutation in a process of its own, and says whether it failed.
fn is_caught(model: &Model, mutation: &str) -> std::io::Result<bool> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--mutated", model.name, mutation])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    // A model that deadlocks panics, and then once more where it drops what the crate's own destructors take locks for, which ends the process.
    let panicked_twice = || String::from_utf8_lossy(&output.stderr).contains("panic in a destructor during cleanup");
    match output.status.code() {
        Some(0) => Ok(false),
        Some(CAUGHT) => Ok(true),
        None if panicked_twice() => Ok(true),
        code => Err(std::io::Error::other(format!("the mutated model ended with {code:?}"))),
    }
}

/// The exit status of a mutated model that failed, apart from that of a runner that did.
const CAUGHT: i32 = 42;

/// The runner.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, mutation] = args.as_slice() {
        if flag == "--mutated" {
            return run_mutated(name, mutation);
        }
    }
    let filter = args.first().map_or("", String::as_str);
    let (mut ran, mut executions, mut caught, mut failed) = (0, 0, 0, 0);
    for model in models().iter().filter(|model| model.name.contains(filter)) {
        let began = Instant::now();
        let preemptions = override_bound().or(model.preemptions);
        let bound = preemptions.map_or("no bound".to_owned(), |bound| format!("at most {bound} preemptions"));
        match catch_unwind(AssertUnwindSafe(|| explore(model, preemptions))) {
            Ok(count) => {
                println!("model {}: {count} executions, {bound}, {:.1} s", model.name, began.elapsed().as_secs_f64());
                executions += count;
            }
            Err(_) => {
                println!("model {} FAILED", model.name);
                failed += 1;
            }
        }
        ran += 1;
        for Mutation { name: mutation, .. } in model.mutations {
            match is_caught(model, mutation) {
                Ok(true) => {
                    println!("  mutation {mutation} caught");
                    caught += 1;
                }
                Ok(false) => {
                    println!("  mutation {mutation} SURVIVED");
                    failed += 1;
                }
                Err(error) => {
                    println!("  mutation {mutation}: {error}");
                    failed += 1;
                }
            }
        }
    }
    if ran == 0 {
        println!("no model's name contains {filter:?}");
        return ExitCode::from(2);
    }
    println!("{ran} models, {executions} executions, {caught} mutations caught");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_mutated(name: &str, mutation: &str) -> ExitCode {
    let models = models();
    let found = models.iter().find(|model| model.name == name);
    let known = found.and_then(|model| {
        model.mutations.iter().find(|known| known.name == mutation).map(|mutation| (model, *mutation))
    });
    let Some((model, mutation)) = known else { return ExitCode::from(2) };
    set_mutations(&[mutation.name]);
    match catch_unwind(AssertUnwindSafe(|| explore(model, mutation.preemptions))) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(u8::try_from(CAUGHT).unwrap_or(1)),
    }
}
