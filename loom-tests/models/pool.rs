//! The pool's sleep and wake, on the real `Scheduler`. A lost wake-up leaves a worker parked while its task waits, and the model's main thread with it: loom
//! reports that as a deadlock.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::Condvar;
use loom::thread;

use super::{Model, Mutation, mutation};
use crate::pool::WaitStrategy;
use crate::pool::scheduler::{Lane, Next, Scheduler, Worker};
use crate::sync::{Mutex, lock};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "pool_post_against_park",
        preemptions: Some(2),
        run: post_against_park,
        mutations: &[
            mutation("pool_post_fence"),
            mutation("pool_park_fence"),
            mutation("pool_park_recheck"),
            mutation("pool_parked_until_claimed"),
        ],
    },
    Model {
        name: "pool_failed_wake",
        // A writer that meets a worker between its two steps spins, which makes more preemptions endless.
        preemptions: Some(1),
        run: failed_wake,
        mutations: &[
            Mutation { name: "pool_failed_wake_fence", preemptions: Some(1) },
            mutation("pool_failed_wake_recheck"),
        ],
    },
    Model {
        name: "pool_blocked_worker_hands_on",
        // With two it has 1.5 million executions, more than half of those of all models: SINKWORKS_LOOM_PREEMPTIONS=2 ci/loom.sh pool_blocked
        preemptions: Some(1),
        run: blocked_worker_hands_on,
        mutations: &[mutation("pool_hand_on")],
    },
    Model {
        name: "pool_searching_worker_hands_on",
        preemptions: Some(3),
        run: searching_worker_hands_on,
        mutations: &[mutation("pool_hand_on"), mutation("pool_hand_on_fence")],
    },
    Model {
        name: "pool_reposting_worker_hands_on",
        preemptions: Some(3),
        run: reposting_worker_hands_on,
        mutations: &[mutation("pool_repost_hands_on"), mutation("pool_hand_on_fence")],
    },
    Model {
        name: "pool_retire",
        preemptions: Some(2),
        run: retire,
        mutations: &[mutation("pool_retire_unclaimed"), mutation("pool_wake_claims_the_bit")],
    },
    Model {
        name: "pool_slow_lane_leaves_a_thread",
        preemptions: Some(2),
        run: slow_lane,
        mutations: &[mutation("pool_slow_reserve"), mutation("pool_slow_bound")],
    },
    Model {
        name: "pool_slot_for_nothing",
        preemptions: None,
        run: slot_for_nothing,
        mutations: &[mutation("pool_slot_for_nothing")],
    },
    Model {
        name: "pool_one_wake_at_a_time",
        preemptions: None,
        run: one_wake_at_a_time,
        mutations: &[mutation("pool_one_wake_at_a_time"), mutation("pool_wakes_who_is_parked")],
    },
    Model {
        name: "pool_stop",
        preemptions: Some(2),
        run: stop,
        mutations: &[
            mutation("pool_stop_clears_bits"),
            mutation("pool_park_sees_stop"),
            mutation("pool_next_sees_stop"),
        ],
    },
    Model {
        name: "pool_polling_worker_finds",
        preemptions: Some(2),
        run: polling_worker_finds,
        mutations: &[mutation("pool_poll_looks")],
    },
    Model {
        name: "pool_call_slow_against_end",
        preemptions: Some(2),
        run: call_slow,
        mutations: &[
            Mutation { name: "pool_call_slow_counts_first", preemptions: Some(3) },
            mutation("pool_call_slow_by_store"),
            mutation("pool_call_slow_wakes"),
            mutation("pool_call_slow_fence"),
        ],
    },
];

/// A scheduler, and which of its tasks have run, as bits.
struct Rig {
    scheduler: Scheduler<Task>,
    done: Mutex<u32>,
    changed: Condvar,
}

/// Sets the bit `id` when all bits of `after` are set: a task with `after` blocks its worker, as a sink may.
#[derive(Clone, Copy)]
struct Task {
    id: u32,
    after: u32,
}

const fn task(id: u32) -> Task {
    Task { id, after: 0 }
}

impl Rig {
    fn new(workers: usize) -> Arc<Self> {
        Self::waiting(workers, WaitStrategy::Park)
    }

    fn waiting(workers: usize, wait: WaitStrategy) -> Arc<Self> {
        let rig = Self { scheduler: Scheduler::new(workers, wait), done: Mutex::new(0), changed: Condvar::new() };
        (0..workers).for_each(|_| rig.scheduler.add_thread());
        Arc::new(rig)
    }

    fn wait_for(&self, bits: u32) {
        let mut done = lock(&self.done);
        while *done & bits != bits {
            done = self.changed.wait(done).unwrap();
        }
    }

    fn run(&self, task: Task) {
        self.wait_for(task.after);
        let mut done = lock(&self.done);
        assert_eq!(*done & task.id, 0, "a task ran twice");
        *done |= task.id;
        self.changed.notify_all();
    }

    /// A worker's life. `keep`: it retires the first time that it has waited.
    fn work(&self, place: usize, keep: Option<Duration>) {
        let mut worker = Worker::new(place);
        while let Next::Run { task, lane, .. } = self.scheduler.next(&mut worker, keep, || keep.is_some()) {
            self.scheduler.begin_turn(&worker, lane);
            self.run(task);
            self.scheduler.end_turn(&worker);
        }
    }

    fn spawn(self: &Arc<Self>, place: usize, keep: Option<Duration>) -> thread::JoinHandle<()> {
        let rig = self.clone();
        thread::spawn(move || rig.work(place, keep))
    }

    /// Waits until the tasks have run, then ends the workers.
    fn finish(&self, bits: u32, workers: Vec<thread::JoinHandle<()>>) {
        self.wait_for(bits);
        self.scheduler.stop();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    }
}

/// One worker falls asleep while two writers post.
fn post_against_park() {
    let rig = Rig::new(1);
    let worker = rig.spawn(0, None);
    let writer = {
        let rig = rig.clone();
        thread::spawn(move || rig.scheduler.post(task(1), Lane::Fast))
    };
    rig.scheduler.post(task(2), Lane::Fast);
    rig.finish(3, vec![worker, writer]);
}

/// A waker finds the only worker counted as idle, and its bit cleared: the worker has woken by itself. Meanwhile it parks again, and a writer leaves its task to
/// the waker.
fn failed_wake() {
    let scheduler = Arc::new(Scheduler::new(1, WaitStrategy::Park));
    scheduler.add_thread();
    scheduler.seem_waking();
    let worker = {
        let scheduler = scheduler.clone();
        thread::spawn(move || {
            scheduler.seem_woken();
            takes_one(&scheduler.next(&mut Worker::new(0), None, || false));
        })
    };
    let writer = {
        let scheduler = scheduler.clone();
        thread::spawn(move || scheduler.post((), Lane::Fast))
    };
    scheduler.wake_in_vain();
    writer.join().unwrap();
    worker.join().unwrap();
}

fn takes_one<T>(next: &Next<T>) {
    assert!(matches!(next, Next::Run { .. }));
}

/// A worker that was woken finds a task while another is posted, which it will not run itself: somebody wakes the parked one.
fn searching_worker_hands_on() {
    let scheduler = Arc::new(Scheduler::new(2, WaitStrategy::Park));
    (0..2).for_each(|_| scheduler.add_thread());
    let mut woken = Worker::new(0);
    scheduler.seem_asleep(1);
    scheduler.seem_searching(&mut woken);
    scheduler.post((), Lane::Fast);
    let asleep = {
        let scheduler = scheduler.clone();
        thread::spawn(move || takes_one(&scheduler.next_asleep(&mut Worker::new(1))))
    };
    let writer = {
        let scheduler = scheduler.clone();
        thread::spawn(move || scheduler.post((), Lane::Fast))
    };
    takes_one(&scheduler.next(&mut woken, None, || false));
    writer.join().unwrap();
    asleep.join().unwrap();
}

/// Two tasks are posted while one wake is on its way; the first blocks its worker until the second has run.
fn blocked_worker_hands_on() {
    let rig = Rig::new(2);
    let workers = vec![rig.spawn(0, None), rig.spawn(1, None)];
    rig.scheduler.post(Task { id: 1, after: 2 }, Lane::Fast);
    rig.scheduler.post(task(2), Lane::Fast);
    rig.finish(3, workers);
}

/// A worker puts its own task back, and then takes a slow one, which blocks it until that task has run: the other worker, which parks meanwhile, is woken for it. The
/// slow one woke nobody, since there was no slot for it yet.
fn reposting_worker_hands_on() {
    let rig = Rig::new(2);
    let mut worker = Worker::new(0);
    rig.scheduler.post(task(1), Lane::Slow);
    let Next::Run { task: first, lane, .. } = rig.scheduler.next(&mut worker, None, || false) else { unreachable!() };
    rig.scheduler.begin_turn(&worker, lane);
    rig.scheduler.post(Task { id: 2, after: 4 }, Lane::Slow);
    let other = rig.spawn(1, None);
    rig.run(first);
    rig.scheduler.end_turn(&worker);
    rig.scheduler.repost(&mut worker, task(4), Lane::Fast);
    worker.seem_slow_first();
    // It goes if the other has taken both.
    if let Next::Run { task, lane, .. } = rig.scheduler.next(&mut worker, Some(Duration::ZERO), || true) {
        rig.scheduler.begin_turn(&worker, lane);
        rig.run(task);
        rig.scheduler.end_turn(&worker);
    }
    rig.finish(7, vec![other]);
}

/// A worker retires while a writer posts and wakes it; another worker stays.
fn retire() {
    let rig = Rig::new(2);
    let workers = vec![rig.spawn(0, Some(Duration::ZERO)), rig.spawn(1, None)];
    rig.scheduler.post(task(1), Lane::Fast);
    rig.finish(1, workers);
}

/// Two slow tasks and two workers: only one of them runs at a time, so the fast task, which both wait for, finds a worker. The second
/// slow one runs when the first is done, though the worker that could take it had been turned away.
fn slow_lane() {
    let rig = Rig::new(2);
    // Before there are workers, to keep the model small.
    rig.scheduler.post(Task { id: 1, after: 4 }, Lane::Slow);
    rig.scheduler.post(Task { id: 2, after: 4 }, Lane::Slow);
    let workers = vec![rig.spawn(0, None), rig.spawn(1, None)];
    rig.scheduler.post(task(4), Lane::Fast);
    rig.finish(7, workers);
}

/// Two workers see one slow task, and there is a slot for each: who finds it gone gives its slot back.
fn slot_for_nothing() {
    let scheduler = Arc::new(Scheduler::new(3, WaitStrategy::Park));
    (0..3).for_each(|_| scheduler.add_thread());
    scheduler.post((), Lane::Slow);
    let look = |place| {
        let scheduler = scheduler.clone();
        move || {
            let mut worker = Worker::new(place);
            // Retires if there is nothing.
            let next = scheduler.next(&mut worker, Some(Duration::ZERO), || true);
            let Next::Run { lane, .. } = next else { return 0 };
            scheduler.begin_turn(&worker, lane);
            scheduler.end_turn(&worker);
            1
        }
    };
    let other = thread::spawn(look(0));
    let mine = look(1)();
    assert_eq!(mine + other.join().unwrap(), 1);
    assert_eq!(scheduler.slow_running(), 0);
}

/// Two threads post while two workers are parked: one wake is on its way. And where nobody is parked, who posts goes on at once.
fn one_wake_at_a_time() {
    let scheduler = Arc::new(Scheduler::new(2, WaitStrategy::Park));
    (0..2).for_each(|_| scheduler.add_thread());
    scheduler.post((), Lane::Fast);
    (0..2).for_each(|place| scheduler.seem_asleep(place));
    let other = {
        let scheduler = scheduler.clone();
        thread::spawn(move || scheduler.post((), Lane::Fast))
    };
    scheduler.post((), Lane::Fast);
    other.join().unwrap();
    assert_eq!(scheduler.wakeups(), 1);
}

/// Stopping ends a worker whether it is about to park or parked.
fn stop() {
    let rig = Rig::new(2);
    let workers = vec![rig.spawn(0, None), rig.spawn(1, None)];
    rig.finish(0, workers);
}

/// Nobody wakes a worker that polls. It finds what two writers post by itself.
fn polling_worker_finds() {
    let rig = Rig::waiting(1, WaitStrategy::Poll { interval: Duration::from_micros(1) });
    let worker = rig.spawn(0, None);
    let writer = {
        let rig = rig.clone();
        thread::spawn(move || rig.scheduler.post(task(1), Lane::Fast))
    };
    rig.scheduler.post(task(2), Lane::Fast);
    rig.finish(3, vec![worker, writer]);
}

/// The keeper calls a turn slow that is about to end, while a slow task is posted: it finds no slot, or one that was taken for nothing. It runs in
/// any case, and every slot is given back.
fn call_slow() {
    let rig = Rig::new(1);
    rig.scheduler.post(task(1), Lane::Fast);
    let worker = rig.spawn(0, None);
    let poster = {
        let rig = rig.clone();
        thread::spawn(move || rig.scheduler.post(task(2), Lane::Slow))
    };
    rig.scheduler.call_slow(0);
    rig.finish(3, vec![worker, poster]);
    assert_eq!(rig.scheduler.slow_running(), 0);
}
