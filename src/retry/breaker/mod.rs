//! A circuit breaker that delays and never drops.
//!
//! ```text
//!            threshold failures in a row
//!   CLOSED ──────────────────────────────> OPEN until t
//!     ^                                      │ t has passed and somebody asks
//!     │ one success                          v
//!     └───────────────────────────────── HALF-OPEN: an exact number of probes,
//!                                            │      each a lease that ends by itself
//!                                            └──> OPEN again on a probe's failure
//! ```
//!
//! **Invariants.** While it is half-open at most `probes` leases are out. A lease ends with the probe's answer, with the drop of the event's
//! state, or at its timeout; so half-open always ends. Who is turned away keeps its waker in a list: as many as there are probes are told the
//! time when the breaker may be asked again, the others a time after that, so that a thousand held queues do not all come at once. Closing wakes
//! one of the list, the next success two, then four.
//!
//! **Races.** The word (state, failures in a row) decides for whoever passes while it is closed, by compare-exchange and without a lock. Every
//! other transition is made under the lock, and re-reads the word there.

mod builder;

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use builder::BreakerBuilder;

use crate::clock::saturating_add;
use crate::delivery::Delivery;
use crate::error::{Failure, Wait};
use crate::retry::strategy::{Proceed, RetryStrategy, Verdict};
use crate::sink::SinkId;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::telemetry::{Limit, Observations, Observe, Registration, Topology, names as metric};
use crate::wakers::{Ticket, WaitList};

/// Lets everything pass until a number of attempts in a row have failed, then nothing for a while, then a few probes: one success closes it again.
///
/// It *holds*: a queue whose breaker is open keeps its events, costs no thread and no work, and loses nothing. Below the
/// threshold a failed attempt is repeated at once; put an [`ExponentialBackoff`](crate::ExponentialBackoff) before it, as
/// `(backoff, breaker)`, to wait there too.
///
/// A handle: clones are the same breaker, so that several sinks with one destination share it. A success costs a load, a failure a
/// compare-exchange, whoever is held a lock.
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{Breaker, BreakerState, Queue, Sink, SinkExt, sink_fn};
///
/// let breaker = Breaker::new(5, Duration::from_secs(1));
/// let first: Queue<u32> = sink_fn(|_: &u32| Ok(())).retrying(breaker.clone()).queued();
/// let second: Queue<u32> = sink_fn(|_: &u32| Ok(())).retrying(breaker.clone()).queued();
/// assert_eq!(breaker.state(), BreakerState::Closed);
/// first.write(&1)?;
/// second.write(&2)?;
/// # Ok::<(), sinkworks::WriteError>(())
/// ```
#[derive(Clone)]
pub struct Breaker(Arc<Inner>);

struct Inner {
    id: SinkId,
    name: Arc<str>,
    threshold: u64,
    backoff: Duration,
    probes: usize,
    probe_timeout: Duration,
    /// The state in the lowest two bits, `STAGED`, and above them the failures in a row.
    word: AtomicU64,
    cold: Mutex<Cold>,
    held: Arc<WaitList>,
    /// Transitions to closed, open, half-open.
    transitions: [AtomicU64; 3],
    /// The state that was told last.
    told: AtomicU64,
    limit: Limit,
    registration: Registration,
}

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const STATE: u64 = 3;
/// Closed, and some who were held are not yet woken.
const STAGED: u64 = 4;
const ONE_FAILURE: u64 = 8;

/// What only transitions and those that are held need.
struct Cold {
    /// When an open breaker may be asked again.
    until: Option<Instant>,
    leases: Vec<(u64, Instant)>,
    next_lease: u64,
    /// Who was told `until`.
    heralds: Vec<u64>,
    /// How many are woken next.
    stage: usize,
}

/// What a [`Breaker`] lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// Probes.
    HalfOpen,
}

impl BreakerState {
    /// All states, in the order of the metrics' label values.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The state as a metric's label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    fn of(word: u64) -> Self {
        match word & STATE {
            CLOSED => Self::Closed,
            OPEN => Self::Open,
            _ => Self::HalfOpen,
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Breaker {
    /// Opens for `backoff` after `threshold` failures in a row. A threshold of 0 means 1; a backoff of zero makes it half-open at once.
    #[must_use]
    pub fn new(threshold: u32, backoff: Duration) -> Self {
        Self::builder().threshold(threshold.max(1)).backoff(backoff).assemble(None)
    }

    /// A breaker with options that are checked.
    pub fn builder() -> BreakerBuilder {
        BreakerBuilder::new()
    }

    /// What it lets pass. An open breaker shows as open until somebody asks after its time.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        BreakerState::of(self.0.word.load(Ordering::Acquire))
    }

    /// How often it went into `state`.
    #[must_use]
    pub fn transitions_to(&self, state: BreakerState) -> u64 {
        self.0.transitions[state as usize].load(Ordering::Relaxed)
    }

    /// The name given at build time.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl Inner {
    fn cold(&self) -> MutexGuard<'_, Cold> {
        lock(&self.cold)
    }

    fn enter(&self, word: u64) {
        // Under the lock, so a store would do for the state; but an attempt that fails or succeeds while closed moves the word without
        // it, and must find its compare-exchange failing.
        self.word.swap(word, Ordering::AcqRel);
        self.transitions[BreakerState::of(word) as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Tells a change of state when it is dropped. Made before the lock is taken, and so dropped after it: whom it tells is foreign code.
    fn tell_later(&self) -> Tell<'_> {
        Tell(self)
    }

    fn open(&self, cold: &mut Cold, now: Instant) {
        cold.until = Some(saturating_add(now, self.backoff));
        cold.leases.clear();
        cold.heralds.clear();
        self.enter(OPEN);
    }

    /// Asked while not closed.
    #[cold]
    fn ask(self: &Arc<Self>, permit: &mut Permit, delivery: &Delivery<'_>) -> Proceed {
        let _tell = self.tell_later();
        let mut cold = self.cold();
        let state = self.word.load(Ordering::Acquire) & STATE;
        if state == CLOSED {
            permit.pass(None);
            return Proceed::Now;
        }
        let now = delivery.now();
        let until = cold.until.unwrap_or(now);
        if state == OPEN && now >= until {
            self.enter(HALF_OPEN);
        } else if state == OPEN {
            return Proceed::Wait(self.hold(&mut cold, permit, delivery, until));
        }
        cold.leases.retain(|(_, ends)| *ends > now);
        if cold.leases.len() < self.probes {
            let id = cold.next_lease;
            cold.next_lease += 1;
            cold.leases.push((id, saturating_add(now, self.probe_timeout)));
            let key = permit.key();
            permit.pass(Some(Lease { breaker: Some(self.clone()), id }));
            if cold.heralds.iter().any(|herald| Some(*herald) == key) {
                // Somebody else is told when this probe must have ended.
                cold.heralds.retain(|herald| Some(*herald) != key);
                self.held.wake(1);
            }
            return Proceed::Now;
        }
        let ends = cold.leases.iter().map(|(_, ends)| *ends).min();
        Proceed::Wait(self.hold(&mut cold, permit, delivery, ends.unwrap_or(now)))
    }

    /// Puts the asker into the list. The first ones are told `until`; the rest count on a wake, and come by themselves only after every
    /// probe must have ended.
    fn hold(self: &Arc<Self>, cold: &mut Cold, permit: &mut Permit, delivery: &Delivery<'_>, until: Instant) -> Wait {
        let place = permit.place.get_or_insert_with(|| Place { ticket: None, breaker: self.clone() });
        self.held.register(&mut place.ticket, delivery.waker());
        let key = permit.key().unwrap_or(0);
        if !cold.heralds.contains(&key) && cold.heralds.len() < self.probes {
            cold.heralds.push(key);
        }
        let until = if cold.heralds.contains(&key) { until } else { saturating_add(until, self.probe_timeout) };
        Wait { until: Some(until) }
    }

    /// One success closes it, from whatever state.
    #[cold]
    fn close(&self) {
        let _tell = self.tell_later();
        let mut cold = self.cold();
        let word = self.word.load(Ordering::Acquire);
        if word & STATE != CLOSED {
            cold.leases.clear();
            cold.heralds.clear();
            cold.stage = 1;
            self.enter(CLOSED | STAGED);
        }
        // No failures in a row any more, in whatever state it was.
        if self.word.fetch_and(STATE | STAGED, Ordering::AcqRel) & STAGED == 0 {
            return;
        }
        let stage = cold.stage;
        cold.stage = stage.saturating_mul(2);
        if self.held.wake(stage) < stage {
            self.word.fetch_and(!STAGED, Ordering::AcqRel);
        }
    }

    /// A failure while closed, or of a probe.
    fn fail(&self, lease: Option<Lease>, now: Instant) {
        let _tell = self.tell_later();
        if let Some(lease) = lease {
            let mut cold = self.cold();
            let id = lease.answered();
            // A probe that answers after its lease has ended says nothing any more.
            if cold.leases.iter().any(|(out, _)| *out == id) {
                self.open(&mut cold, now);
            }
            return;
        }
        let mut word = self.word.load(Ordering::Acquire);
        while word & STATE == CLOSED {
            let failures = word / ONE_FAILURE + 1;
            if failures >= self.threshold {
                let mut cold = self.cold();
                if self.word.load(Ordering::Acquire) == word {
                    return self.open(&mut cold, now);
                }
                word = self.word.load(Ordering::Acquire);
                continue;
            }
            match self.word.compare_exchange_weak(word, word + ONE_FAILURE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// One of the held has gone: if it was told when to come, another is asked to come for it.
    fn replace_herald(&self, key: u64) {
        let mut cold = self.cold();
        if let Some(index) = cold.heralds.iter().position(|herald| *herald == key) {
            cold.heralds.swap_remove(index);
            self.held.wake(1);
        }
    }

    /// A probe's event is gone without an answer.
    fn lose(&self, id: u64) {
        let mut cold = self.cold();
        let before = cold.leases.len();
        cold.leases.retain(|(out, _)| *out != id);
        if cold.leases.len() < before {
            self.held.wake(1);
        }
    }
}

struct Tell<'a>(&'a Inner);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if cfg!(not(feature = "tracing")) {
            return;
        }
        let Inner { word, told, limit, name, .. } = self.0;
        let state = word.load(Ordering::Acquire) & STATE;
        if told.load(Ordering::Relaxed) == state {
            return;
        }
        // Of several who see a change, one tells it.
        let before = told.swap(state, Ordering::AcqRel);
        if before != state {
            limit.breaker_changed(name, BreakerState::of(before), BreakerState::of(state));
        }
    }
}

impl Observe for Inner {
    fn observe(&self, out: &mut Observations) {
        let now = BreakerState::of(self.word.load(Ordering::Acquire));
        for state in BreakerState::ALL {
            out.gauge(&metric::BREAKER_STATE, &self.name, Some(state.as_str()), f64::from(u8::from(state == now)));
            let transitions = self.transitions[state as usize].load(Ordering::Relaxed);
            out.counter(&metric::BREAKER_TRANSITIONS, &self.name, Some(state.as_str()), transitions);
        }
    }

    fn describe(&self, topology: &mut Topology) {
        let state = BreakerState::of(self.word.load(Ordering::Acquire));
        topology.stage(Some(self.id), "breaker", &self.name, |topology| topology.set("state", state.as_str()));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        mem::take(&mut self.registration).retire(|out| self.observe(out));
    }
}

/// What the breaker remembers about an event: its place among the held, or its lease as a probe.
#[derive(Debug, Default)]
pub struct Permit {
    place: Option<Place>,
    lease: Option<Lease>,
}

impl Permit {
    fn key(&self) -> Option<u64> {
        self.place.as_ref()?.ticket.as_ref().map(Ticket::key)
    }

    fn pass(&mut self, lease: Option<Lease>) {
        if let Some(ticket) = self.place.take().and_then(|mut place| place.ticket.take()) {
            ticket.spend();
        }
        self.lease = lease;
    }
}

/// A place among the held. Given up, it lets another be told the time in its stead.
struct Place {
    ticket: Option<Ticket>,
    breaker: Arc<Inner>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.replace_herald(ticket.key());
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ticket.fmt(f)
    }
}

/// A probe's right to be made. Dropped without an answer, it is given back.
struct Lease {
    breaker: Option<Arc<Inner>>,
    id: u64,
}

impl Lease {
    fn answered(mut self) -> u64 {
        self.breaker = None;
        self.id
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(breaker) = self.breaker.take() {
            breaker.lose(self.id);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({})", self.id)
    }
}

impl RetryStrategy for Breaker {
    type State = Permit;

    fn proceed(&self, permit: &mut Permit, delivery: &Delivery<'_>) -> Proceed {
        if permit.lease.is_some() {
            return Proceed::Now;
        }
        if self.0.word.load(Ordering::Acquire) & STATE == CLOSED {
            permit.pass(None);
            return Proceed::Now;
        }
        self.0.ask(permit, delivery)
    }

    fn success(&self, permit: &mut Permit, _: &Delivery<'_>) {
        if let Some(lease) = mem::take(&mut permit.lease) {
            lease.answered();
        }
        let mut word = self.0.word.load(Ordering::Acquire);
        // The usual case writes nothing: closed, no failures, nobody held.
        while word != CLOSED {
            if word & (STATE | STAGED) != CLOSED {
                return self.0.close();
            }
            match self.0.word.compare_exchange_weak(word, CLOSED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    fn failure(&self, permit: &mut Permit, delivery: &Delivery<'_>, _: &Failure) -> Verdict {
        self.0.fail(mem::take(&mut permit.lease), delivery.now());
        Verdict::Retry
    }

    fn describe(&self, topology: &mut Topology) {
        topology.link(self.0.id, "breaker");
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.0.name)
            .field("state", &self.state())
            .field("threshold", &self.0.threshold)
            .field("backoff", &self.0.backoff)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;

    fn delivery() -> Delivery<'static> {
        Delivery::from_thread()
    }

    fn failure() -> Failure {
        Failure::transient("told to fail")
    }

    /// Failures are counted in a row, also while those that were held are still being woken.
    #[test]
    fn one_success_resets_while_the_held_are_being_woken() {
        let breaker = Breaker::new(2, Duration::from_nanos(1));
        let mut permits: Vec<Permit> = (0..4).map(|_| Permit::default()).collect();
        for permit in &mut permits[..2] {
            assert_eq!(breaker.proceed(permit, &delivery()), Proceed::Now);
            breaker.failure(permit, &delivery(), &failure());
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        // Its time is over: the first one asked is the probe, the others are held.
        std::thread::sleep(Duration::from_millis(1));
        let mut probe = Permit::default();
        assert_eq!(breaker.proceed(&mut probe, &delivery()), Proceed::Now);
        assert!(permits.iter_mut().all(|permit| breaker.proceed(permit, &delivery()) != Proceed::Now));
        breaker.success(&mut probe, &delivery());
        for _ in 0..4 {
            breaker.failure(&mut probe, &delivery(), &failure());
            assert_eq!(breaker.state(), BreakerState::Closed, "one failure after a success");
            breaker.success(&mut probe, &delivery());
        }
    }
}
