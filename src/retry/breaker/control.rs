//! Moving a breaker by hand: for an operator who knows more than the last attempts tell.
//!
//! | | lets pass | ends by | counts failures | [`state`](Breaker::state) |
//! |---|---|---|---|---|
//! | [`force_open`](Breaker::force_open) | nothing, no probe either | `close`, `disable` | no | open |
//! | [`close`](Breaker::close) | everything | too many failures | yes, from zero | closed |
//! | [`disable`](Breaker::disable) | everything | `enable`, `close`, `force_open` | no | closed |
//!
//! The last call wins, whatever state the breaker was in. A probe that was under way loses its say: its answer is an event's answer and moves the
//! breaker no more.

use super::Breaker;
use super::state::{DISABLED, FORCED, STATE};

impl Breaker {
    /// Opens it until [`close`](Self::close) or [`disable`](Self::disable) is called: nothing passes, no time ends that, and neither
    /// does a success of an attempt that had begun. Events that wait are held, and lost only to limits of their own.
    /// What resilience4j calls forced open, and Polly isolated. A queue that [drains](crate::Shutdown::Drain) asks no breaker: its last attempts are made.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinkworks::{Breaker, BreakerState};
    ///
    /// let breaker = Breaker::new(5, Duration::from_secs(1));
    /// breaker.force_open(); // the receiver goes down for maintenance
    /// assert_eq!(breaker.state(), BreakerState::Open);
    /// breaker.close(); // and is back
    /// assert_eq!(breaker.state(), BreakerState::Closed);
    /// ```
    pub fn force_open(&self) {
        let mut cold = self.0.cold();
        self.0.force_open(&mut cold);
    }

    /// Closes it, from whatever state, with all failures forgotten: it trips again as a new one would. Those who are held are woken in stages,
    /// as after a probe's success.
    pub fn close(&self) {
        let woken = self.0.let_pass(&mut self.0.cold(), 0);
        woken.wake();
    }

    /// Lets everything pass from now on, whatever fails. Those who are held are woken in stages.
    pub fn disable(&self) {
        let woken = self.0.let_pass(&mut self.0.cold(), DISABLED);
        woken.wake();
    }

    /// Ends [`disable`](Self::disable): it is closed, with all failures forgotten, and trips again. Otherwise does nothing.
    pub fn enable(&self) {
        let mut cold = self.0.cold();
        if self.is_disabled() {
            let woken = self.0.let_pass(&mut cold, 0);
            drop(cold);
            woken.wake();
        }
    }

    /// Whether [`force_open`](Self::force_open) was the last word.
    #[must_use]
    pub fn is_forced_open(&self) -> bool {
        self.0.word() & STATE == FORCED
    }

    /// Whether [`disable`](Self::disable) was the last word.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.0.word() & DISABLED != 0
    }
}
