//! The keeper: one thread per pool that waits for time, so that no worker does. It fires timers and lets the pool grow. It never runs a sink.
//!
//! **Timers.** A mailbox has at most one entry, under (time, key); arming it again replaces it. The map is behind a mutex that workers take when a write was not
//! ready, and the keeper when something is due; a writer never meets it.
//!
//! **Growth.** The worker that finds nobody else parked, or takes the last slot of the slow lane, *arms* the keeper, which then ticks until
//! somebody is parked and a slot is free. (A writer never does, although it may be the one who posts the slow task that finds no slot.) A tick
//! - calls a fast turn slow that has stood for a whole tick, so that slow turns leave a thread to the others;
//! - doubles the threads when fast tasks wait and no turn has begun for two ticks, or when slow tasks have waited for a slot at two ticks.
//!
//! **Orderings.** `armed` moves by `AcqRel` swaps, never by a store: who arms and the keeper that disarms itself change one word, and the second of them sees what the first did before,
//! the claim of a slot or the step to sleep. The keeper's own look before it ticks is Acquire for the same reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::scheduler::Scheduler;
use super::{Inner, Task};
use crate::block;
use crate::contain::contain;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Mutex, Seat, lock, mutation, now};

/// The time between two looks at whether the pool must grow.
#[cfg(not(sinkworks_loom))]
const TICK: Duration = Duration::from_millis(5);
/// A model's time stands still.
#[cfg(sinkworks_loom)]
const TICK: Duration = Duration::ZERO;

/// Ticks without progress before the pool grows.
const PATIENCE: u32 = 2;

/// The keeper wakes for timers at most this often, and fires all that are due.
const GRAIN: Duration = Duration::from_millis(1);
/// Where so many timers wait, it wakes half as often, with twice as many a third as often, and so on: ten thousand backoffs cost some hundred and sixty wake-ups a second, and as many
/// of workers, in place of a thousand.
const CROWD: usize = 2_000;
/// But no less often than this, however many wait.
const COARSEST: Duration = Duration::from_millis(10);

/// How long the keeper sleeps at least while so many timers wait.
fn grain(waiting: usize) -> Duration {
    GRAIN.saturating_mul(u32::try_from(1 + waiting / CROWD).unwrap_or(u32::MAX)).min(COARSEST)
}

/// The timers of a pool and the word that arms its growth.
#[derive(Default)]
pub(crate) struct Keeper {
    timers: Mutex<BTreeMap<(Instant, u64), Weak<dyn Task>>>,
    seat: Seat,
    armed: AtomicU8,
}

impl Keeper {
    /// Has the keeper watch whether the pool is stuck.
    pub(crate) fn arm(&self) {
        // AcqRel, with the swap in `disarm`: if this finds the word armed, the keeper's next look at the idle count and the slots sees
        // what this worker saw, its own claim of a slot included.
        if mutation!("keeper_arm_by_load") && self.armed.load(Ordering::Acquire) == 1 {
            return;
        }
        if self.armed.swap(1, Ordering::AcqRel) == 0 && !mutation!("keeper_arm_unparks") {
            self.seat.unpark();
        }
    }

    /// Stops watching, unless the pool is not at ease.
    pub(crate) fn disarm(&self, is_at_ease: impl Fn() -> bool) -> bool {
        self.armed.swap(0, Ordering::AcqRel);
        if mutation!("keeper_disarm_looks_again") || is_at_ease() {
            return true;
        }
        self.armed.swap(1, Ordering::AcqRel);
        false
    }

    /// A worker has retired. If everyone else is busy now, or the slow lane has lost its free slot, the keeper must watch.
    pub(crate) fn arm_after_retirement(&self, is_at_ease: impl Fn() -> bool) {
        if !is_at_ease() && !mutation!("keeper_retire_arms") {
            self.arm();
        }
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Acquire) != 0
    }

    /// Sets the timer of task `key`, in place of the one it had at `before`.
    pub(super) fn set_timer(&self, key: u64, before: Option<Instant>, at: Instant, task: Weak<dyn Task>) {
        let mut timers = lock(&self.timers);
        if let Some(before) = before {
            timers.remove(&(before, key));
        }
        timers.insert((at, key), task);
        let first = timers.first_key_value().is_some_and(|(first, _)| *first == (at, key));
        drop(timers);
        if first && !mutation!("keeper_timer_unparks") {
            self.seat.unpark();
        }
    }

    /// Removes the timer that task `key` has at `at`.
    pub(super) fn clear_timer(&self, key: u64, at: Instant) {
        let removed = lock(&self.timers).remove(&(at, key));
        // Dropped outside the lock: nothing of the task's runs inside.
        drop(removed);
    }

    pub(super) fn unpark(&self) {
        self.seat.unpark();
    }

    pub(super) fn timers(&self) -> usize {
        lock(&self.timers).len()
    }

    /// Whether a timer is due that has not fired. Firing happens under the lock, so a fired task is in a ready list by then.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        lock(&self.timers).first_key_value().is_some_and(|((at, _), _)| *at <= now)
    }

    /// Fires what is due, and says when the next timer is, and how long to sleep at least.
    fn fire(&self, now: Instant) -> Option<(Instant, Duration)> {
        let mut fired = Vec::new();
        let mut timers = lock(&self.timers);
        while let Some(entry) = timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            if let Some(task) = entry.remove().upgrade() {
                task.wake();
                fired.push(task);
            }
        }
        let next = timers.first_key_value().map(|((at, _), _)| (*at, grain(timers.len())));
        drop(timers);
        // A task whose last owner this has become is dropped here, outside the lock, which its drop takes.
        // One by one and contained: the drop of a user's sink must not take the timers away from the rest.
        for task in fired {
            contain(|| drop(task));
        }
        next
    }
}

/// The keeper thread's life.
pub(super) fn run(inner: &Arc<Inner>) {
    // Who is told that the pool cannot grow may write to a queue, and must not have the keeper wait for it.
    block::enter_worker();
    inner.keeper.seat.sit();
    let mut growth = Growth::default();
    while !inner.is_stopped() || mutation!("keeper_sees_stop") {
        let now = inner.clock.now();
        let next = inner.keeper.fire(now);
        let armed = inner.keeper.is_armed();
        if armed && growth.is_due() {
            growth.tick(inner);
        }
        let timer = next.and_then(|(at, grain)| Some(inner.clock.park_until(at)?.max(grain)));
        let tick = armed.then(|| growth.rest());
        let timeout = match (timer, tick) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        inner.keeper.seat.park(timeout);
    }
}

/// What the last ticks have seen.
#[derive(Default)]
struct Growth {
    last_tick: Option<Instant>,
    turns: Vec<[u64; 2]>,
    fast_stood: u32,
    slow_waited: u32,
}

impl Growth {
    fn is_due(&self) -> bool {
        self.last_tick.is_none_or(|at| now().saturating_duration_since(at) >= TICK)
    }

    fn rest(&self) -> Duration {
        self.last_tick.map_or(Duration::ZERO, |at| TICK.saturating_sub(now().saturating_duration_since(at)))
    }

    fn tick(&mut self, inner: &Arc<Inner>) {
        let scheduler = &inner.scheduler;
        self.last_tick = Some(now());
        let fast_moved = self.look_at_turns(scheduler, inner.max_threads);
        self.fast_stood = if scheduler.fast_waits() && !fast_moved { self.fast_stood + 1 } else { 0 };
        self.slow_waited = if scheduler.slow_waits() { self.slow_waited + 1 } else { 0 };
        if (self.fast_stood >= PATIENCE || self.slow_waited >= PATIENCE) && !mutation!("keeper_grows") {
            self.fast_stood = 0;
            self.slow_waited = 0;
            inner.grow();
        } else if scheduler.is_at_ease() && inner.keeper.disarm(|| scheduler.is_at_ease()) {
            *self = Self::default();
        }
    }

    /// Whether a fast turn has begun since the last tick. A fast turn that has stood since then is called slow.
    fn look_at_turns(&mut self, scheduler: &Scheduler<Arc<dyn Task>>, places: usize) -> bool {
        let mut moved = false;
        self.turns.resize(places, [0; 2]);
        for (place, before) in self.turns.iter_mut().enumerate() {
            let (turns, runs_fast) = scheduler.turns(place);
            moved |= turns[0] != before[0];
            if runs_fast && turns == *before {
                scheduler.call_slow(place);
            }
            *before = turns;
        }
        moved
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_of_timers_wakes_the_keeper_less_often_within_bounds() {
        let millis =
            [0, 1, 1_999, 2_000, 10_000, 18_000, 1_000_000, usize::MAX].map(|waiting| grain(waiting).as_millis());
        assert_eq!(millis, [1, 1, 1, 2, 6, 10, 10, 10]);
    }
}
