//! A pool thread: takes a task, gives it a turn, decides its lane by how long that took.

use std::sync::Arc;
use std::time::Duration;

use super::scheduler::{Lane, Next, Worker};
use super::{Inner, Task, Turn};
use crate::block;
use crate::clock::saturating_add;
use crate::contain::contain;
use crate::sync::{mutation, now};

/// A task whose turn takes longer goes to the slow lane: at that length it is not the processor that it waits for.
#[cfg(not(sinkworks_loom))]
pub(crate) const SLOW_TURN: Duration = Duration::from_millis(1);
/// A model's turns take no time: real time would make its executions differ.
#[cfg(sinkworks_loom)]
pub(crate) const SLOW_TURN: Duration = Duration::MAX;

/// How much longer than the one before it each worker above the minimum stays. Two hundred that were blocked, became idle and ended together held up the
/// others' deliveries for some milliseconds.
const STAGGER: Duration = Duration::from_millis(10);

/// A worker's life.
///
/// One above the minimum goes when it has been parked for its keep-alive. It also goes when none of its turns was slow for as long and another worker is parked beside it:
/// ten thousand retries wake all the workers that there are again and again, for turns of some microseconds that the others would have taken as well.
pub(super) fn run(inner: &Arc<Inner>, place: usize) {
    block::enter_worker();
    let mut worker = Worker::new(place);
    inner.scheduler.sit(&worker);
    let above = place.checked_sub(inner.min_threads);
    let keep = above.and_then(|above| Some(inner.keep_alive.saturating_add(STAGGER * u32::try_from(above).ok()?)));
    let mut needed = now();
    loop {
        let until = keep.map(|keep| (saturating_add(now(), keep), saturating_add(needed, keep)));
        let expired = || {
            until.is_some_and(|(parked_until, needed_until)| {
                let now = now();
                now >= parked_until
                    || (now >= needed_until && inner.scheduler.can_spare_one() && !mutation!("pool_unneeded_retires"))
            })
        };
        match inner.scheduler.next(&mut worker, keep, expired) {
            Next::Run { task, lane, watch } => {
                if watch && inner.max_threads > inner.min_threads {
                    inner.keeper.arm();
                }
                if turn(inner, &mut worker, task, lane) == Lane::Slow {
                    needed = now();
                }
            }
            Next::Retire => {
                inner.leave(place);
                inner.keeper.arm_after_retirement(|| inner.scheduler.is_at_ease());
                return;
            }
            Next::Stop => {
                inner.leave(place);
                return;
            }
        }
    }
}

/// Gives a task its turn. Which lane it goes to.
pub(super) fn turn(inner: &Arc<Inner>, worker: &mut Worker, task: Arc<dyn Task>, lane: Lane) -> Lane {
    let began = now();
    inner.scheduler.begin_turn(worker, lane);
    // A sink's panic is caught where it is called. This is for what slips through, such as an event whose drop panics:
    // it must not take the thread, and with it other queues, away.
    let outcome = contain(|| task.turn(began)).unwrap_or_else(|| {
        inner.note_panic();
        Turn::Again
    });
    inner.scheduler.end_turn(worker);
    let lane = if now().saturating_duration_since(began) > SLOW_TURN { Lane::Slow } else { Lane::Fast };
    task.set_lane(lane);
    if outcome == Turn::Again {
        inner.scheduler.repost(worker, task, lane);
    } else if contain(|| drop(task)).is_none() {
        // It was the mailbox's last owner, and the sink's drop has panicked.
        inner.note_panic();
    }
    lane
}
