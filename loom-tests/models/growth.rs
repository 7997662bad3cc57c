//! The keeper: timers, and the decision to grow. The real `Keeper` and `Pool`, whose threads are then loom's.

use std::sync::Arc;
use std::task::Wake;
use std::time::{Duration, Instant};

use loom::thread;

use super::queue::Bell;
use super::{Model, mutation};
use crate::pool::WaitStrategy;
use crate::pool::keeper::Keeper;
use crate::pool::scheduler::{Lane, Next, Scheduler, Worker};
use crate::pool::{Pool, Task, Turn};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "keeper_arm_against_disarm",
        // Small enough for every interleaving.
        preemptions: None,
        run: arm_against_disarm,
        mutations: &[mutation("keeper_disarm_looks_again")],
    },
    Model {
        name: "keeper_last_awake_arms",
        preemptions: None,
        run: last_awake_arms,
        mutations: &[mutation("keeper_disarm_looks_again"), mutation("keeper_arm_by_load")],
    },
    Model {
        name: "keeper_retire_against_last_slot",
        preemptions: None,
        run: retire_against_last_slot,
        mutations: &[mutation("pool_at_ease_by_load")],
    },
    Model {
        name: "keeper_retire_against_post",
        preemptions: None,
        run: retire_against_post,
        mutations: &[mutation("keeper_retire_arms")],
    },
    Model {
        name: "pool_grows_for_a_blocked_sink",
        // Four threads of the real pool and the keeper's ticks: one preemption is some ten thousand executions.
        preemptions: Some(1),
        run: grows_for_a_blocked_sink,
        mutations: &[
            mutation("pool_watch"),
            mutation("pool_new_worker_watches"),
            mutation("keeper_arm_unparks"),
            mutation("keeper_grows"),
            mutation("keeper_sees_stop"),
            mutation("keeper_stop_unparks"),
        ],
    },
];

/// A worker takes the last slot and arms the keeper while it disarms itself: in the end it is armed.
fn arm_against_disarm() {
    let scheduler = Arc::new(Scheduler::new(2, WaitStrategy::Park));
    (0..2).for_each(|_| scheduler.add_thread());
    scheduler.seem_parked();
    scheduler.post(1, Lane::Slow);
    let keeper = Arc::new(Keeper::default());
    keeper.arm();
    let worker = {
        let (scheduler, keeper) = (scheduler.clone(), keeper.clone());
        thread::spawn(move || {
            let next = scheduler.next(&mut Worker::new(0), None, || false);
            assert!(matches!(next, Next::Run { watch: true, .. }), "it has the last slot");
            keeper.arm();
        })
    };
    let disarmed = keeper.disarm(|| scheduler.is_at_ease());
    worker.join().unwrap();
    assert!(!scheduler.is_at_ease());
    assert!(keeper.is_armed(), "disarmed: {disarmed}");
}

/// The last parked worker wakes up and arms the keeper while it disarms itself: in the end it is armed.
fn last_awake_arms() {
    let scheduler = Arc::new(Scheduler::<u32>::new(1, WaitStrategy::Park));
    scheduler.add_thread();
    scheduler.seem_parked();
    let keeper = Arc::new(Keeper::default());
    keeper.arm();
    let worker = {
        let (scheduler, keeper) = (scheduler.clone(), keeper.clone());
        thread::spawn(move || {
            scheduler.seem_woken();
            keeper.arm();
        })
    };
    let disarmed = keeper.disarm(|| scheduler.is_at_ease());
    worker.join().unwrap();
    assert!(keeper.is_armed(), "disarmed: {disarmed}");
}

/// A worker goes, and a slot with it, while another takes a slot, the last one then: one of the two has the keeper watch.
fn retire_against_last_slot() {
    let scheduler = Arc::new(Scheduler::new(3, WaitStrategy::Park));
    (0..3).for_each(|_| scheduler.add_thread());
    scheduler.seem_parked();
    scheduler.post(1, Lane::Slow);
    let worker = {
        let scheduler = scheduler.clone();
        thread::spawn(move || {
            let next = scheduler.next(&mut Worker::new(0), None, || false);
            matches!(next, Next::Run { watch: true, .. })
        })
    };
    scheduler.remove_thread();
    let retired_arms = !scheduler.is_at_ease();
    assert!(worker.join().unwrap() || retired_arms);
}

/// The last parked worker retires while a task is posted; the other one is in a turn, and may be blocked. The worker takes the task, or has the keeper watch.
fn retire_against_post() {
    let scheduler = Arc::new(Scheduler::new(2, WaitStrategy::Park));
    (0..2).for_each(|_| scheduler.add_thread());
    let keeper = Arc::new(Keeper::default());
    let worker = {
        let (scheduler, keeper) = (scheduler.clone(), keeper.clone());
        thread::spawn(move || {
            let next = scheduler.next(&mut Worker::new(1), Some(Duration::ZERO), || true);
            if matches!(next, Next::Retire) {
                scheduler.remove_thread();
                keeper.arm_after_retirement(|| scheduler.is_at_ease());
            }
        })
    };
    scheduler.post(1, Lane::Fast);
    worker.join().unwrap();
    assert!(!scheduler.fast_waits() || keeper.is_armed());
}

/// Waits for a bell, if it has one, then rings another.
struct Ring {
    after: Option<Arc<Bell>>,
    rings: Arc<Bell>,
}

impl Task for Ring {
    fn turn(&self, _: Instant) -> Turn {
        self.after.iter().for_each(|bell| bell.wait());
        self.rings.wake_by_ref();
        Turn::Done
    }
    fn wake(&self) {}
    fn set_lane(&self, _: Lane) {}
}

/// The only worker is blocked by a task that waits for another one: the pool grows. Its threads end when it is dropped: loom reports one that does not.
fn grows_for_a_blocked_sink() {
    let (freed, done) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    // Kept for a time that never comes.
    let builder = Pool::builder().name("model").threads(1).max_threads(2).keep_alive(Duration::MAX);
    let pool = builder.build().unwrap();
    pool.post(Arc::new(Ring { after: Some(freed.clone()), rings: done.clone() }), Lane::Fast);
    pool.post(Arc::new(Ring { after: None, rings: freed }), Lane::Fast);
    done.wait();
}
