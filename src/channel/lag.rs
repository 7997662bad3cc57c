//! Telling a reader in band how many events it has missed.
//!
//! Two ways to miss events, by the channel's policy:
//!
//! - **Evicted** (`DropOldest`): the oldest events are taken out to make room. The gap is where the reader is, before the next event.
//! - **Shed** (`DropNewest`): events are dropped while the channel is full. The gap is behind the events that were inside then, so its place is kept: the
//!   number of events that had entered. The reader comes to it when as many have gone.
//!
//! **Exact.** An eviction and its count are one step, under the lock that the reader of such a channel takes for each event: no reader sees an event
//! before the gap that precedes it. A shed event is counted, and then noted under the lock here; the reader looks for gaps, takes an event, and looks for the end in
//! one step; the channel does not end before what was shed is noted. Each missed event is told once, to one receiver. With
//! concurrent writers the place of a gap of shed events is exact for each writer but for events that others are pushing at that very moment. No more than one gap
//! is kept for each place in the channel: those that the reader has come to are put together.

use std::collections::VecDeque;

use crate::intake::Intake;
use crate::sync::{Mutex, lock, mutation};

#[derive(Default)]
pub(super) struct Lag(Mutex<Gaps>);

#[derive(Default)]
struct Gaps {
    /// Evicted events that the reader has been told of.
    told: u64,
    /// Shed events whose gap the reader has come to.
    due: u64,
    ahead: VecDeque<Gap>,
}

struct Gap {
    /// How many had entered.
    behind: u64,
    missed: u64,
}

impl Gaps {
    /// Puts together the gaps that the reader has come to.
    fn come_to(&mut self, gone: u64) {
        while self.ahead.front().is_some_and(|gap| gap.behind <= gone) {
            self.due += self.ahead.pop_front().map_or(0, |gap| gap.missed);
        }
    }
}

/// What a reader finds.
pub(super) enum Next<E> {
    Event(E),
    /// So many events are missing here.
    Missed(u64),
    Nothing,
    /// Nothing, and nothing will come.
    End,
}

impl Lag {
    /// An event was dropped instead of entering, and is counted.
    pub(super) fn note_shed<E, N>(&self, intake: &Intake<E, N>) {
        let mut gaps = lock(&self.0);
        let behind = if mutation!("channel_gap_behind_what_is_inside") { intake.gone() } else { intake.entered() };
        match gaps.ahead.back_mut() {
            Some(gap) if gap.behind == behind => gap.missed += 1,
            _ => gaps.ahead.push_back(Gap { behind, missed: 1 }),
        }
        gaps.come_to(intake.gone());
        intake.shed_done();
    }

    /// Takes what is next. The caller has the lock that evictions take.
    pub(super) fn next<E, N>(&self, intake: &Intake<E, N>) -> Next<E> {
        let mut gaps = lock(&self.0);
        gaps.come_to(intake.gone());
        let evicted = intake.evictions();
        let missed = evicted - gaps.told + gaps.due;
        (gaps.told, gaps.due) = (evicted, 0);
        if missed > 0 {
            return Next::Missed(missed);
        }
        if let Some(parcel) = intake.pop() {
            intake.leave(parcel.note);
            return Next::Event(parcel.event);
        }
        // Drained, it is closed and every shed event is noted. None is left to tell: all gaps are behind events that have entered, so all are come to when as many have
        // gone as will ever enter; and since the look above nothing has gone and nothing was noted, for want of the two locks that are held here.
        let end = intake.is_drained_for_good();
        debug_assert!(!end || gaps.ahead.is_empty(), "the end before a gap");
        if end { Next::End } else { Next::Nothing }
    }
}
