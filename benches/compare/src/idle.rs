//! What it costs a writer to reach N receivers that are all asleep: a broadcast to N idle queues, beside a send to each of N tokio tasks.
//!
//! This is what `--check` holds against the promise of the README, as it was when that was made. S3 measures the same beside all peers, with a pause before
//! each turn and a counter for each sink; its ratios are not those of this one.
//!
//! Between two measurements all deliveries are awaited and the writer pauses for longer than any worker spins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sinkworks::{Broadcaster, Queue, Sink, sink_fn};
use tokio::sync::mpsc;

/// Medians over all rounds.
pub struct Figures {
    /// The writer's time, in µs.
    pub ours: f64,
    /// The same for tokio's tasks.
    pub tokio: f64,
    /// The median of ours by tokio's, round by round. The times of a round scatter widely to one side, so this is not the
    /// ratio of the medians.
    pub round_by_round: f64,
}

pub fn compare(queues: u64, rounds: usize) -> Figures {
    let (ours, tokio) = (Sinkworks::new(queues), Tokio::new(queues));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..rounds + 3 {
        let measured = (ours.reached.after(queues, || ours.write()), tokio.reached.after(queues, || tokio.write()));
        // The first rounds warm up: blocks are allocated, queues prove that they are fast.
        if round >= 3 {
            a.push(measured.0);
            b.push(measured.1);
        }
    }
    let ratios = a.iter().zip(&b).map(|(ours, tokio)| ours / tokio).collect();
    Figures { ours: median(a), tokio: median(b), round_by_round: median(ratios) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

#[derive(Clone, Default)]
struct Reached(Arc<AtomicU64>);

impl Reached {
    fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How long `write` takes in µs, which reaches `n` receivers; then waits until it has, and until everyone sleeps.
    fn after(&self, n: u64, write: impl FnOnce()) -> f64 {
        let target = self.0.load(Ordering::Relaxed) + n;
        let began = Instant::now();
        write();
        let took = began.elapsed();
        while self.0.load(Ordering::Relaxed) < target {
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(Duration::from_millis(5));
        took.as_secs_f64() * 1e6
    }
}

struct Sinkworks {
    broadcaster: Broadcaster<u64>,
    reached: Reached,
}

impl Sinkworks {
    fn new(queues: u64) -> Self {
        let (broadcaster, reached) = (Broadcaster::new(), Reached::default());
        for _ in 0..queues {
            let reached = reached.clone();
            let sink = sink_fn(move |_: &u64| {
                reached.one();
                Ok(())
            });
            broadcaster.add(Queue::new(sink)).expect("it is open");
        }
        Self { broadcaster, reached }
    }

    fn write(&self) {
        self.broadcaster.write(&1).expect("it is open");
    }
}

struct Tokio {
    _runtime: tokio::runtime::Runtime,
    senders: Vec<mpsc::UnboundedSender<u64>>,
    reached: Reached,
}

impl Tokio {
    fn new(tasks: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("tokio starts");
        let reached = Reached::default();
        let senders = (0..tasks)
            .map(|_| {
                let (sender, mut receiver) = mpsc::unbounded_channel();
                let reached = reached.clone();
                runtime.spawn(async move {
                    while receiver.recv().await.is_some() {
                        reached.one();
                    }
                });
                sender
            })
            .collect();
        Self { _runtime: runtime, senders, reached }
    }

    fn write(&self) {
        for sender in &self.senders {
            sender.send(1).expect("the task lives");
        }
    }
}
