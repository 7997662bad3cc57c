//! The breaker's states and who moves it between them. Who is held meanwhile, and who probes, is in `hold`.
//!
//! ```text
//!            too many failures
//!   CLOSED ──────────────────────────────> OPEN until t
//!     ^                                      │ t has passed and somebody asks
//!     │ one success                          v
//!     └───────────────────────────────── HALF-OPEN: an exact number of probes,
//!                                            │      each a lease that ends by itself
//!                                            └──> OPEN again on a probe's failure
//! ```
//!
//! From each of them `control` leads to FORCED (open until somebody says otherwise), to DISABLED (closed, and no failure counts), and back to CLOSED.
//!
//! **Races.** The word decides for whoever passes while it is closed, by compare-exchange and without a lock. Every other transition is made
//! under the lock, and re-reads the word there. What is the user's code, the wake and the drop of a waker, runs when the lock is released: it may
//! ask this very breaker.
//!
//! **Orderings.** Every step of the word is `AcqRel` and every look Acquire: who sees a state sees what was done before it was entered. Exactness comes from the compare-exchange
//! and the lock alone; `transitions` are Relaxed counters. `told` moves by an `AcqRel` swap: of several who see a change one tells it, after who told the one before.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::permit::Lease;
use super::state::{BreakerState, CLOSED, DISABLED, FORCED, ONE_FAILURE, OPEN, STAGED, STATE, counts};
use super::window::Window;
use crate::clock::saturating_add;
use crate::delivery::Delivery;
use crate::name::Name;
use crate::sink::SinkId;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, lock, mutation};
use crate::telemetry::{Limit, Observations, Observe, Registration, Topology, names as metric};
use crate::wakers::WaitList;

pub(super) struct Machine {
    pub(super) id: SinkId,
    pub(super) name: Name,
    /// Failures in a row that open it, if they do.
    pub(super) threshold: Option<u64>,
    pub(super) window: Option<Window>,
    pub(super) backoff: Duration,
    pub(super) probes: usize,
    pub(super) probe_timeout: Duration,
    /// See `state`.
    pub(super) word: AtomicU64,
    pub(super) cold: Mutex<Cold>,
    pub(super) held: Arc<WaitList>,
    /// Transitions to closed, open, half-open.
    pub(super) transitions: [AtomicU64; 3],
    /// The state that was told last.
    pub(super) told: AtomicU64,
    pub(super) limit: Limit,
    pub(super) registration: Registration,
}

/// What only transitions and those that are held need.
#[derive(Default)]
pub(super) struct Cold {
    /// When an open breaker may be asked again.
    pub(super) until: Option<Instant>,
    /// It was the share of failures that opened it: successes among the attempts that had begun before say nothing new.
    by_rate: bool,
    pub(super) leases: Vec<(u64, Instant)>,
    pub(super) next_lease: u64,
    /// Who was told `until`.
    pub(super) heralds: Vec<u64>,
    /// How many are woken next.
    stage: usize,
}

/// The lock. When it is released, a change of state is told: whom that reaches is the user's code.
pub(super) struct Locked<'a> {
    // Dropped first.
    cold: MutexGuard<'a, Cold>,
    _tell: Tell<'a>,
}

impl Deref for Locked<'_> {
    type Target = Cold;

    fn deref(&self) -> &Cold {
        &self.cold
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Cold {
        &mut self.cold
    }
}

struct Tell<'a>(&'a Machine);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if cfg!(not(feature = "tracing")) {
            return;
        }
        let Machine { told, limit, name, .. } = self.0;
        let now = self.0.word() & STATE;
        if told.load(Ordering::Relaxed) == now {
            return;
        }
        // Of several who see a change, one tells it.
        let before = BreakerState::of(told.swap(now, Ordering::AcqRel));
        let now = BreakerState::of(now);
        if before != now {
            limit.breaker_changed(name, before, now);
        }
    }
}

/// Those to be woken when the lock is released.
#[must_use]
#[derive(Default)]
pub(super) struct Woken(pub(super) Vec<Waker>);

impl Woken {
    /// Not to be called under the lock.
    pub(super) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl Machine {
    pub(super) fn cold(&self) -> Locked<'_> {
        Locked { cold: lock(&self.cold), _tell: Tell(self) }
    }

    pub(super) fn word(&self) -> u64 {
        self.word.load(Ordering::Acquire)
    }

    pub(super) fn enter(&self, word: u64) {
        // Under the lock, so a store would do for the state; but an attempt that fails or succeeds while closed moves the word without
        // it, and must find its compare-exchange failing.
        let before = BreakerState::of(self.word.swap(word, Ordering::AcqRel));
        let after = BreakerState::of(word);
        if before != after {
            self.transitions[after as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those who were held are told the new time by asking. One of those who failed may do, but need not come back.
    fn open(&self, cold: &mut Cold, now: Instant) -> Woken {
        cold.until = Some(saturating_add(now, self.backoff));
        cold.leases.clear();
        cold.heralds.clear();
        self.enter(OPEN);
        Woken(self.held.pop(self.probes))
    }

    /// Nothing passes, and no time ends that.
    pub(super) fn force_open(&self, cold: &mut Cold) {
        cold.leases.clear();
        cold.heralds.clear();
        self.enter(FORCED);
    }

    /// Everything passes, from whatever state, and nothing that has failed before counts.
    pub(super) fn let_pass(&self, cold: &mut Cold, flag: u64) -> Woken {
        cold.by_rate = false;
        if let Some(window) = &self.window {
            window.clear();
        }
        let word = self.word();
        if word & STATE == CLOSED {
            // Those who are being woken are woken as before.
            self.enter(CLOSED | (word & STAGED) | flag);
            return Woken::default();
        }
        cold.leases.clear();
        cold.heralds.clear();
        cold.stage = 1;
        self.enter(CLOSED | STAGED | flag);
        self.next_stage(cold)
    }

    fn next_stage(&self, cold: &mut Cold) -> Woken {
        let stage = cold.stage;
        cold.stage = stage.saturating_mul(2);
        let woken = self.held.pop(stage);
        if woken.len() < stage && !mutation!("breaker_stages_end") {
            self.word.fetch_and(!STAGED, Ordering::AcqRel);
        }
        Woken(woken)
    }

    /// An attempt has succeeded.
    pub(super) fn succeed(&self, lease: Option<Lease>, delivery: &Delivery<'_>) {
        let mut word = self.word();
        if let (Some(window), true, None) = (&self.window, counts(word), &lease) {
            window.record(delivery.now(), false);
        }
        let probe = lease.map(Lease::answered);
        // The usual case writes nothing: closed, no failures, nobody held.
        while word & !DISABLED != CLOSED {
            if word & (STATE | STAGED) != CLOSED {
                return self.close_or_go_on(probe);
            }
            if mutation!("breaker_success_by_store") {
                return self.word.store(CLOSED, Ordering::Release);
            }
            match self.word.compare_exchange_weak(word, CLOSED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// A success while not closed closes it, and one while some are still to be woken wakes the next.
    #[cold]
    fn close_or_go_on(&self, probe: Option<u64>) {
        let mut cold = self.cold();
        let word = self.word();
        let woken = match word & STATE {
            FORCED if !mutation!("breaker_forced_ignores_success") => return,
            CLOSED if word & STAGED == 0 => {
                self.word.fetch_and(DISABLED, Ordering::AcqRel);
                return;
            }
            CLOSED => {
                // No failures in a row any more.
                self.word.fetch_and(STAGED | DISABLED, Ordering::AcqRel);
                if mutation!("breaker_success_wakes_the_next") {
                    return;
                }
                self.next_stage(&mut cold)
            }
            // Only a probe whose lease still runs: one that has ended, by its time or by hand, has lost its say.
            _ if cold.by_rate
                && !cold.leases.iter().any(|(id, _)| Some(*id) == probe)
                && !mutation!("breaker_rate_closes_by_a_probe") =>
            {
                return;
            }
            _ => self.let_pass(&mut cold, 0),
        };
        drop(cold);
        woken.wake();
    }

    /// An attempt has failed, while closed or as a probe.
    pub(super) fn fail(&self, lease: Option<Lease>, now: Instant) {
        if let Some(lease) = lease {
            let id = lease.answered();
            let mut cold = self.cold();
            // A probe that answers after its lease has ended says nothing any more.
            if cold.leases.iter().any(|(out, _)| *out == id) || mutation!("breaker_late_answer_says_nothing") {
                let woken = self.open(&mut cold, now);
                drop(cold);
                woken.wake();
            }
            return;
        }
        if let Some(threshold) = self.threshold {
            self.count_in_a_row(threshold, now);
        }
        if let Some(window) = &self.window {
            self.count_in_window(window, now);
        }
    }

    fn count_in_a_row(&self, threshold: u64, now: Instant) {
        let mut word = self.word();
        while counts(word) {
            let failures = word / ONE_FAILURE + 1;
            if failures >= threshold {
                let mut cold = self.cold();
                if self.word() == word || mutation!("breaker_opens_by_a_second_look") {
                    cold.by_rate = false;
                    let woken = self.open(&mut cold, now);
                    drop(cold);
                    return woken.wake();
                }
                word = self.word();
                continue;
            }
            if mutation!("breaker_failure_by_store") {
                return self.word.store(word + ONE_FAILURE, Ordering::Release);
            }
            match self.word.compare_exchange_weak(word, word + ONE_FAILURE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    fn count_in_window(&self, window: &Window, now: Instant) {
        if !counts(self.word()) {
            return;
        }
        window.record(now, true);
        if !window.is_tripped(now) {
            return;
        }
        let mut cold = self.cold();
        // Asked again: it may have opened and closed meanwhile, which has emptied the window.
        if (counts(self.word()) || mutation!("breaker_rate_by_a_second_look")) && window.is_tripped(now) {
            cold.by_rate = true;
            let woken = self.open(&mut cold, now);
            drop(cold);
            woken.wake();
        }
    }
}

impl Observe for Machine {
    fn observe(&self, out: &mut Observations) {
        let now = BreakerState::of(self.word());
        for state in BreakerState::ALL {
            out.gauge(&metric::BREAKER_STATE, &self.name, Some(state.as_str()), f64::from(u8::from(state == now)));
            let transitions = self.transitions[state as usize].load(Ordering::Relaxed);
            out.counter(&metric::BREAKER_TRANSITIONS, &self.name, Some(state.as_str()), transitions);
        }
    }

    fn describe(&self, topology: &mut Topology) {
        let state = BreakerState::of(self.word());
        topology.stage(Some(self.id), "breaker", &self.name, |topology| topology.set("state", state.as_str()));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        mem::take(&mut self.registration).retire(|out| self.observe(out));
    }
}
