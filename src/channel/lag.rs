//! Telling a reader in band how many events it has missed.
//!
//! Two ways to miss events, by the channel's policy:
//!
//! - **Evicted** (`DropOldest`): the oldest events are taken out to make room. The gap is where the reader is, before the next event.
//! - **Shed** (`DropNewest`): events are dropped while the channel is full. The gap is behind the events that were inside then, so its place is kept: the
//!   number of events that had entered. The reader comes to it when as many have gone.
//!
//! **Exact.** An eviction and its count are one step, under the lock that the reader of such a channel takes for each event: no reader sees an event
//! before the gap that precedes it. A shed event notes its gap under the lock here, and the reader looks for gaps and takes an event in one step. Each missed event is told
//! once, to one receiver. With concurrent writers the place of a gap of shed events is exact for each writer but for events that others are pushing
//! at that very moment. There is one gap at most for each place in the channel.

use std::collections::VecDeque;

use crate::intake::{Intake, Parcel};
use crate::sync::{Mutex, lock, mutation};

#[derive(Default)]
pub(super) struct Lag(Mutex<Gaps>);

#[derive(Default)]
struct Gaps {
    /// How many evicted events the reader has been told of.
    told: u64,
    shed: VecDeque<Gap>,
    /// How many shed events were noted, told or not.
    noted: u64,
}

struct Gap {
    /// How many had entered.
    behind: u64,
    missed: u64,
}

impl Lag {
    /// An event was dropped instead of entering.
    pub(super) fn note_shed<E, N>(&self, intake: &Intake<E, N>) {
        let mut gaps = lock(&self.0);
        let behind = if mutation!("channel_gap_behind_what_is_inside") { intake.gone() } else { intake.entered() };
        gaps.noted += 1;
        match gaps.shed.back_mut() {
            Some(gap) if gap.behind == behind => gap.missed += 1,
            _ => gaps.shed.push_back(Gap { behind, missed: 1 }),
        }
    }

    /// Whether the reader knows of every event that was dropped, once nothing more is accepted. If not, either it is told when it looks again, or
    /// the writer that is about to note a shed event wakes the readers then.
    pub(super) fn has_told_all<E, N>(&self, intake: &Intake<E, N>) -> bool {
        if mutation!("channel_end_after_the_gaps") {
            return true;
        }
        let gaps = lock(&self.0);
        gaps.told == intake.evictions() && gaps.shed.is_empty() && gaps.noted == intake.sheds()
    }

    /// Takes the next event, or the number of those that are missing here. The caller has the lock that evictions take.
    pub(super) fn next<E, N>(&self, intake: &Intake<E, N>) -> Result<Option<E>, u64> {
        let mut gaps = lock(&self.0);
        let evicted = intake.evictions();
        let mut missed = evicted - gaps.told;
        gaps.told = evicted;
        if gaps.shed.front().is_some_and(|gap| gap.behind <= intake.gone()) {
            missed += gaps.shed.pop_front().map_or(0, |gap| gap.missed);
        }
        if missed > 0 {
            return Err(missed);
        }
        Ok(intake.pop().map(|Parcel { event, note }| {
            intake.leave(note);
            event
        }))
    }
}
