//! S7, what is idle or in backoff costs; S8, what a backlog costs. A program of its own, since its allocator counts. The bytes are those that were asked
//! for: the allocator's own overhead is not in them, for nobody.
//!
//! These are no times, so each is measured once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use compare::every_way;
use compare::figure::{OURS, print_one};
use compare::go::Go;
use compare::tally::Tally;
use compare::way::{self, Way};
use peak_alloc::PeakAlloc;
use sinkworks::{ExponentialBackoff, Failure, Queue, RetryingSink, Sink, WriteError, sink_fn};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Prints one line per figure: scenario, contender, figure, unit, ratio (ours / theirs, below 1 is better for us).
#[derive(Parser)]
struct Args {
    /// Shorter waits
    #[arg(long)]
    quick: bool,
    /// The program built from benches/go-events. Without it, there is no Go in the comparison
    #[arg(long, value_name = "PROGRAM")]
    go: Option<PathBuf>,
    /// Only these
    #[arg(long, value_delimiter = ',', value_name = "SCENARIOS", default_value = "s8,s7")]
    only: Vec<String>,
}

const IDLE: u32 = 100_000;
const REFUSING: u32 = 10_000;
const BACKLOG: u32 = 10_000_000;

fn main() {
    let args = Args::parse();
    let is_chosen = |scenario: &str| args.only.iter().any(|only| only == scenario);
    if is_chosen("s8") {
        backlog(&args);
    }
    if is_chosen("s7") {
        idle(&args);
        refusing(&args);
    }
}

/// One round of a Go process of its own.
fn ask(args: &Args, question: &str) -> Option<Vec<f64>> {
    let go = Go::start(args.go.as_ref()?).expect("the Go program starts");
    Some(go.ask(question).expect("the Go program runs"))
}

fn heap() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = HEAP.current_usage() as f64;
    bytes
}

/// Gives what ends in the background the time to.
fn settle() {
    std::thread::sleep(Duration::from_millis(100));
}

/// S8: bytes for each pending event, and MiB still in use when all are delivered.
fn backlog(args: &Args) {
    let mut all = Vec::new();
    macro_rules! add {
        ($way:ty) => {
            all.push((<$way as Way<u64>>::NAME, hold_up::<$way>()))
        };
    }
    every_way!(add);
    if let Some(values) = ask(args, &format!("backlog {BACKLOG}")) {
        all.push(("go-events", (values[0], values[1])));
    }
    let ours = all[0].1;
    for (name, (bytes, _)) in &all {
        print_one("s8-backlog", name, *bytes, "B/event", ours.0);
    }
    for (name, (_, left)) in &all {
        print_one("s8-left", name, *left, "MiB", ours.1);
    }
}

fn hold_up<W: Way<u64>>() -> (f64, f64) {
    let (tally, counters) = Tally::new(1);
    let gate = Arc::new(Gate::default());
    let door = gate.clone();
    let way = W::open(move |_: &u64| {
        door.pass();
        counters[0].count();
    });
    // The first event meets the gate, and whoever receives has what it needs.
    tally.expect(u64::from(BACKLOG) + 1);
    way.send(0);
    settle();
    let before = heap();
    for event in 0..BACKLOG {
        way.send(event.into());
    }
    let full = heap();
    gate.open();
    tally.wait();
    settle();
    ((full - before) / f64::from(BACKLOG), (heap() - before).max(0.0) / f64::from(1 << 20))
}

#[derive(Default)]
struct Gate {
    open: AtomicBool,
    lock: Mutex<()>,
    bell: Condvar,
}

impl Gate {
    fn pass(&self) {
        if !self.open.load(Ordering::Relaxed) {
            let lock = self.lock.lock().expect("no panic");
            drop(self.bell.wait_while(lock, |()| !self.open.load(Ordering::Relaxed)));
        }
    }

    fn open(&self) {
        let _lock = self.lock.lock();
        self.open.store(true, Ordering::Relaxed);
        self.bell.notify_all();
    }
}

/// S7: bytes for each idle queue that is new, and for each that has had an event; and the threads that they take.
fn idle(args: &Args) {
    let ours = idle_queues();
    let mut all = vec![(OURS, ours), ("tokio-tasks", idle_tasks())];
    if let Some(values) = ask(args, &format!("queues {IDLE}")) {
        all.push(("go-events", [values[0], values[1]]));
    }
    for (at, scenario) in ["s7-idle-new", "s7-idle-used"].into_iter().enumerate() {
        for (name, values) in &all {
            print_one(scenario, name, values[at], "B/queue", ours[at]);
        }
    }
}

fn idle_queues() -> [f64; 2] {
    // What the pool needs, and its threads, are there before.
    let first = Queue::new(sink_fn(|_: &u64| Ok(())));
    first.send(1).expect("it is open");
    settle();
    let (before, threads) = (heap(), threads());
    let mut queues = Vec::with_capacity(IDLE as usize);
    let own = heap() - before;
    queues.extend((0..IDLE).map(|_| Queue::<u64>::new(sink_fn(|_: &u64| Ok(())))));
    let new = heap() - before - own;
    for queue in &queues {
        queue.send(1).expect("it is open");
    }
    while queues.iter().any(|queue| queue.ledger().pending > 0) {
        settle();
    }
    // Longer than a worker too many stays: so many first turns at once make the pool grow.
    std::thread::sleep(Duration::from_secs(3));
    let used = heap() - before - own;
    print_one("s7-idle-threads", OURS, self::threads() - threads, "threads", 1.0);
    drop(queues);
    // They end in the background, and what they free must not count for who is measured next.
    let mut last = f64::INFINITY;
    while heap() < last {
        last = heap();
        settle();
    }
    [new / f64::from(IDLE), used / f64::from(IDLE)]
}

fn idle_tasks() -> [f64; 2] {
    let runtime = way::runtime();
    let received = Arc::new(AtomicU64::new(0));
    let mut senders = Vec::with_capacity(IDLE as usize);
    settle();
    let before = heap();
    senders.extend((0..IDLE).map(|_| {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<u64>();
        let received = received.clone();
        runtime.spawn(async move {
            while receiver.recv().await.is_some() {
                received.fetch_add(1, Ordering::Relaxed);
            }
        });
        sender
    }));
    settle();
    let new = heap() - before;
    for sender in &senders {
        sender.send(1).expect("the task lives");
    }
    while received.load(Ordering::Relaxed) < IDLE.into() {
        settle();
    }
    settle();
    let used = heap() - before;
    [new / f64::from(IDLE), used / f64::from(IDLE)]
}

/// S7: the threads of the process, and percent of one core, while 10,000 endpoints refuse and their events are in backoff.
fn refusing(args: &Args) {
    let backoff = || ExponentialBackoff::new(Duration::from_secs(1), Duration::from_secs(1), Duration::from_secs(20));
    let queues: Vec<Queue<u64>> = (0..REFUSING)
        .map(|_| {
            let down = sink_fn(|_: &u64| Err(WriteError::Failed(Failure::transient("down"))));
            let queue = Queue::new(RetryingSink::new(down, backoff()));
            queue.write(&1).expect("it is open");
            queue
        })
        .collect();
    // A pool that has grown for so many first turns has the time to shrink.
    std::thread::sleep(Duration::from_secs(5));
    let time = Duration::from_secs(if args.quick { 3 } else { 10 });
    let (began, cpu) = (Instant::now(), cpu_time());
    std::thread::sleep(time);
    let share = (cpu_time() - cpu).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let ours = [threads(), share];
    assert!(queues.iter().all(|queue| queue.ledger().pending == 1), "all are refused");
    let go = ask(args, &format!("refusing {REFUSING} {}", time.as_millis()));
    for (at, (scenario, unit)) in [("s7-refusing-threads", "threads"), ("s7-refusing-cpu", "%")].into_iter().enumerate()
    {
        print_one(scenario, OURS, ours[at], unit, ours[at]);
        if let Some(go) = &go {
            print_one(scenario, "go-events", go[at], unit, ours[at]);
        }
    }
}

/// The threads of this process, the main one included.
fn threads() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    f64::from(u32::try_from(threads).expect("not so many"))
}

/// The processor time of this process, in the kernel's steps of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    // The fields after the command, which is in parentheses and may have spaces: user and system time are the 12th and 13th.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
