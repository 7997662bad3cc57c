//! Runs all pairs of a scene's table. Two actors go through a batch of scenes at the same pace: they meet at each, wait for a random time, and do
//! their operations. A conductor makes the scenes, releases whoever must wait for a third, and settles the scenes.

use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::scene::{Actor, Operation, Scene};
use crate::watchdog::{self, Pulse, doing};

/// How long a scene is played unless told otherwise: `cargo test` has seven of them, on two threads.
const SECONDS: f64 = 5.0;
/// After this, an actor is taken to wait for a third.
const STUCK: Duration = Duration::from_micros(200);

/// Plays all pairs of a table for as long as the environment says, each at least once.
pub(crate) fn play<S: Scene>() {
    let seed = variable("SINKWORKS_STRESS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs_f64(variable("SINKWORKS_STRESS_SECONDS").unwrap_or(SECONDS));
    println!("stress: {}: SINKWORKS_STRESS_SEED={seed}", S::NAME);
    let pulse = Arc::new(Pulse::default());
    let title = format!("stress: {}: SINKWORKS_STRESS_SEED={seed}", S::NAME);
    watchdog::watch(&title, &pulse.clone(), move || conduct::<S>(seed, time, &pulse));
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Every two of them, and each with itself.
fn pairs(operations: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..operations).flat_map(move |a| (a..operations).map(move |b| (a, b)))
}

fn conduct<S: Scene>(seed: u64, time: Duration, pulse: &Arc<Pulse>) {
    watchdog::enrol(&format!("{} conductor", S::NAME));
    let operations = || {
        S::OPERATIONS
            .iter()
            .chain([&const { Operation::new("telemetry::publish", |_: &S, _| sinkworks::telemetry::publish()) }])
    };
    let operations: Vec<&'static Operation<S>> = operations().collect();
    let only = std::env::var("SINKWORKS_STRESS_PAIR").ok();
    let pairs: Vec<_> = pairs(operations.len())
        .map(|(a, b)| (operations[a], operations[b]))
        .filter(|(a, b)| only.as_ref().is_none_or(|only| *only == format!("{} + {}", a.name, b.name)))
        .collect();
    let mut rng = Rng::with_seed(seed);
    let troupe = [0, 1].map(|number| Player::hire(number, Actor::new(number, rng.fork()), pulse));
    let (began, mut passes) = (Instant::now(), 0);
    'all: loop {
        for pair in &pairs {
            if passes > 0 && began.elapsed() >= time {
                break 'all;
            }
            act(*pair, &troupe, &mut rng, pulse);
        }
        passes += 1;
        if pairs.is_empty() {
            break;
        }
    }
    let rounds = passes * S::BATCH;
    println!("stress: {}: {} pairs, at least {rounds} rounds each in {:.1?}", S::NAME, pairs.len(), began.elapsed());
    doing("leaving");
    S::leave();
    doing("dismissing the actors");
    troupe.into_iter().for_each(Player::dismiss);
    doing("nothing more");
}

/// What the two actors and the conductor share of a batch.
struct Act<S: 'static> {
    scenes: Vec<S>,
    pair: (&'static Operation<S>, &'static Operation<S>),
    /// How many scenes each actor has come to, and how many it has left.
    come: [AtomicUsize; 2],
    left: [AtomicUsize; 2],
    failed: Mutex<Option<Box<dyn std::any::Any + Send>>>,
    conductor: Thread,
}

fn act<S: Scene>(
    pair: (&'static Operation<S>, &'static Operation<S>),
    troupe: &[Player<S>; 2],
    rng: &mut Rng,
    pulse: &Pulse,
) {
    doing("setting scenes");
    let scenes = (0..S::BATCH).map(|_| S::set(rng)).collect();
    let act = Arc::new(Act {
        scenes,
        pair,
        come: Default::default(),
        left: Default::default(),
        failed: Mutex::default(),
        conductor: thread::current(),
    });
    // Either actor has either part.
    let swapped = rng.bool();
    for player in troupe {
        let _ = player.play.send(Some((act.clone(), swapped)));
    }
    doing("watching the actors");
    let mut before = usize::MAX;
    loop {
        let [a, b] = [0, 1].map(|number| act.left[number].load(Ordering::Acquire));
        let at = a.min(b);
        if at == S::BATCH {
            break;
        }
        if at == before {
            act.scenes[at].release();
        }
        before = at;
        thread::park_timeout(STUCK);
    }
    pulse.beat();
    let what = |panic: Box<dyn std::any::Any + Send>| -> ! {
        println!("stress: {}: failed in the pair: {} + {}", S::NAME, pair.0.name, pair.1.name);
        resume_unwind(panic)
    };
    if let Some(panic) = act.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        what(panic);
    }
    doing("settling scenes");
    let mut act = act;
    let act = loop {
        // The actors have left it, and give it back any moment.
        match Arc::try_unwrap(act) {
            Ok(act) => break act,
            Err(shared) => act = shared,
        }
        thread::yield_now();
    };
    for scene in act.scenes {
        let settled = catch_unwind(AssertUnwindSafe(|| scene.settle(rng)));
        settled.unwrap_or_else(|panic| what(panic));
        pulse.beat();
    }
}

type Part<S> = (Arc<Act<S>>, bool);

/// An actor's thread.
struct Player<S: 'static> {
    play: Sender<Option<Part<S>>>,
    thread: JoinHandle<()>,
}

impl<S: Scene> Player<S> {
    fn hire(number: usize, mut actor: Actor, pulse: &Arc<Pulse>) -> Self {
        let (play, parts) = mpsc::channel();
        let pulse = pulse.clone();
        let thread = thread::Builder::new().name(format!("actor {number}")).spawn(move || {
            watchdog::enrol(&format!("{} actor {number}", S::NAME));
            perform::<S>(&mut actor, &parts, &pulse);
        });
        Self { play, thread: thread.unwrap() }
    }

    fn dismiss(self) {
        let _ = self.play.send(None);
        self.thread.join().unwrap();
    }
}

fn perform<S: Scene>(actor: &mut Actor, parts: &Receiver<Option<Part<S>>>, pulse: &Pulse) {
    while let Ok(Some((act, swapped))) = parts.recv() {
        let (own, other) = (actor.number, 1 - actor.number);
        let operation = if (own == 0) == swapped { act.pair.1 } else { act.pair.0 };
        doing(operation.name);
        for (at, scene) in act.scenes.iter().enumerate() {
            act.come[own].store(at + 1, Ordering::Release);
            let mut looks = 0_u32;
            while act.come[other].load(Ordering::Acquire) <= at {
                looks += 1;
                if looks < 200 { hint::spin_loop() } else { thread::yield_now() }
            }
            actor.dawdle();
            let ran = catch_unwind(AssertUnwindSafe(|| (operation.run)(scene, actor)));
            if let Err(panic) = ran {
                *act.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            act.left[own].store(at + 1, Ordering::Release);
            pulse.beat();
        }
        doing("waiting for the next act");
        let conductor = act.conductor.clone();
        drop(act);
        conductor.unpark();
    }
    doing("nothing more");
}

#[test]
fn the_pairs_are_all_of_them() {
    let all: Vec<_> = pairs(3).collect();
    assert_eq!(all, [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]);
}
