//! The models: each runs real code of the crate over the stand-ins of `sync::model`, in every interleaving up to a bound on preemptions.

mod aborts;
mod batches;
mod breaker;
mod broadcaster;
mod budget;
mod bytes;
mod channel;
mod closing_lock;
mod cycles;
mod growth;
mod letters;
mod pool;
mod queue;
mod receipts;
mod room;
mod stand_ins;
mod turns;
mod words;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
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

fn models() -> Vec<&'static Model> {
    let all: [&'static [Model]; 18] = [
        stand_ins::MODELS,
        pool::MODELS,
        growth::MODELS,
        words::MODELS,
        queue::MODELS,
        aborts::MODELS,
        batches::MODELS,
        turns::MODELS,
        room::MODELS,
        bytes::MODELS,
        receipts::MODELS,
        letters::MODELS,
        cycles::MODELS,
        budget::MODELS,
        broadcaster::MODELS,
        breaker::MODELS,
        channel::MODELS,
        closing_lock::MODELS,
    ];
    all.into_iter().flatten().collect()
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

/// One process: a model as it is, or with a mutation.
#[derive(Clone, Copy)]
struct Job {
    model: &'static Model,
    mutation: Option<&'static str>,
}

impl Job {
    /// Runs it, and says what there is to say of it.
    fn run(self) -> Outcome {
        let mut command = match std::env::current_exe() {
            Ok(program) => Command::new(program),
            Err(error) => return Outcome::failed(format!("no runner: {error}")),
        };
        match self.mutation {
            None => command.args(["--model", self.model.name]),
            Some(mutation) => command.args(["--mutated", self.model.name, mutation]),
        };
        let began = Instant::now();
        let output = match command.stdin(Stdio::null()).output() {
            Ok(output) => output,
            Err(error) => return Outcome::failed(format!("{} could not be run: {error}", self.model.name)),
        };
        let seconds = began.elapsed().as_secs_f64();
        match self.mutation {
            None => self.held(&output, seconds),
            Some(mutation) => Self::was_caught(mutation, &output),
        }
    }

    fn held(self, output: &Output, seconds: f64) -> Outcome {
        let name = self.model.name;
        let count = output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().parse().ok());
        let Some(Some(executions)) = count else {
            return Outcome::failed(format!("model {name} FAILED\n{}", String::from_utf8_lossy(&output.stderr)));
        };
        let bound = bound(self.model).map_or("no bound".to_owned(), |bound| format!("at most {bound} preemptions"));
        let line = format!("model {name}: {executions} executions, {bound}, {seconds:.1} s");
        Outcome { line, executions, caught: 0, failed: false }
    }

    fn was_caught(mutation: &str, output: &Output) -> Outcome {
        // A model that deadlocks panics, and then once more where it drops what the crate's own destructors take locks for, which ends the process.
        let panicked_twice =
            || String::from_utf8_lossy(&output.stderr).contains("panic in a destructor during cleanup");
        match output.status.code() {
            Some(0) => Outcome::failed(format!("  mutation {mutation} SURVIVED")),
            Some(CAUGHT) => Outcome::caught(mutation),
            None if panicked_twice() => Outcome::caught(mutation),
            code => Outcome::failed(format!("  mutation {mutation}: the mutated model ended with {code:?}")),
        }
    }
}

/// What a job's process came to.
struct Outcome {
    line: String,
    executions: u64,
    caught: u64,
    failed: bool,
}

impl Outcome {
    fn failed(line: String) -> Self {
        Self { line, executions: 0, caught: 0, failed: true }
    }

    fn caught(mutation: &str) -> Self {
        Self { line: format!("  mutation {mutation} caught"), executions: 0, caught: 1, failed: false }
    }
}

/// The exit status of a mutated model that failed, apart from that of a runner that did.
const CAUGHT: i32 = 42;

/// How many processes run at a time. `SINKWORKS_LOOM_JOBS` sets it.
fn jobs_at_once() -> usize {
    let told = std::env::var("SINKWORKS_LOOM_JOBS").ok().and_then(|jobs| jobs.parse().ok());
    told.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

fn bound(model: &Model) -> Option<usize> {
    override_bound().or(model.preemptions)
}

/// The runner.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["--model", name] => run_model(name),
        ["--mutated", name, mutation] => run_mutated(name, mutation),
        _ => run_all(args.first().copied().unwrap_or_default()),
    }
}

fn run_all(filter: &str) -> ExitCode {
    let chosen: Vec<&'static Model> = models().into_iter().filter(|model| model.name.contains(filter)).collect();
    if chosen.is_empty() {
        println!("no model's name contains {filter:?}");
        return ExitCode::from(2);
    }
    let jobs: Vec<Job> = chosen
        .iter()
        .flat_map(|model| {
            let mutations = model.mutations.iter().map(|mutation| Some(mutation.name));
            std::iter::once(None).chain(mutations).map(|mutation| Job { model, mutation })
        })
        .collect();
    let (next, (told, outcomes)) = (AtomicU64::new(0), mpsc::channel());
    let (mut executions, mut caught, mut failed) = (0, 0, false);
    std::thread::scope(|scope| {
        for _ in 0..jobs_at_once() {
            let (next, jobs, told) = (&next, &jobs, told.clone());
            scope.spawn(move || {
                while let Some((index, job)) = take(next, jobs) {
                    let _ = told.send((index, job.run()));
                }
            });
        }
        drop(told);
        // Printed in the order of the list, whatever order they end in.
        let mut early = BTreeMap::new();
        let mut printed = 0;
        for (index, outcome) in outcomes {
            early.insert(index, outcome);
            while let Some(outcome) = early.remove(&printed) {
                println!("{}", outcome.line);
                executions += outcome.executions;
                caught += outcome.caught;
                failed |= outcome.failed;
                printed += 1;
            }
        }
    });
    println!("{} models, {executions} executions, {caught} mutations caught", chosen.len());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn take(next: &AtomicU64, jobs: &[Job]) -> Option<(usize, Job)> {
    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?;
    jobs.get(index).map(|job| (index, *job))
}

fn run_model(name: &str) -> ExitCode {
    let Some(model) = models().into_iter().find(|model| model.name == name) else { return ExitCode::from(2) };
    // A failure is a panic, which says what has failed and where.
    println!("{}", explore(model, bound(model)));
    ExitCode::SUCCESS
}

fn run_mutated(name: &str, mutation: &str) -> ExitCode {
    let found = models().into_iter().find(|model| model.name == name);
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
