//! Which faults there are, when, and how many there have been.
//!
//! A run goes through phases in a random order. In a phase a share of the requests meets a fault; which one goes in turn, so that none is left to
//! chance. The order, the shares and the delays come from one seed; which request meets what depends on the threads too.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, thread};

/// What can happen to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Forwarded after a while, within the client's timeout.
    Latency,
    /// Forwarded when the client may have given up.
    Late,
    ResetBefore,
    /// Half of the request is forwarded.
    ResetWithin,
    /// The receiver has the event.
    ResetAfter,
    /// As before, but the first bytes of the answer come.
    ResetInAnswer,
    /// Never answered, not forwarded.
    HalfOpen,
    /// Forwarded, never answered.
    HalfOpenAfter,
    /// The answer comes byte by byte from its first.
    SlowAnswer,
    /// The head at once, the body byte by byte.
    SlowBody,
    Status500,
    Status503,
    /// A 503 with `Retry-After`.
    RetryAfter,
    /// The receiver has the event, the client a 502.
    BadGateway,
}

use Fault::{
    BadGateway, HalfOpen, HalfOpenAfter, Late, Latency, ResetAfter, ResetBefore, ResetInAnswer, ResetWithin,
    RetryAfter, SlowAnswer, SlowBody, Status500, Status503,
};

impl Fault {
    pub(crate) const ALL: [Self; 14] = [
        Latency,
        Late,
        ResetBefore,
        ResetWithin,
        ResetAfter,
        ResetInAnswer,
        HalfOpen,
        HalfOpenAfter,
        SlowAnswer,
        SlowBody,
        Status500,
        Status503,
        RetryAfter,
        BadGateway,
    ];
}

/// What prevails for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Calm,
    Delays,
    Resets,
    Silence,
    Slowness,
    Errors,
    Mixed,
    /// Connections are refused, and those that were open are gone.
    Outage,
}

impl Phase {
    pub(crate) const ALL: [Self; 8] = [
        Self::Calm,
        Self::Delays,
        Self::Resets,
        Self::Silence,
        Self::Slowness,
        Self::Errors,
        Self::Mixed,
        Self::Outage,
    ];

    /// How many of a hundred requests meet a fault, and which faults.
    fn faults(self) -> (u32, &'static [Fault]) {
        match self {
            Self::Calm | Self::Outage => (0, &[]),
            Self::Delays => (20, &[Latency, Latency, Latency, Late]),
            Self::Resets => (30, &[ResetBefore, ResetWithin, ResetAfter, ResetInAnswer]),
            Self::Silence => (10, &[HalfOpen, HalfOpenAfter]),
            Self::Slowness => (20, &[SlowAnswer, SlowBody]),
            Self::Errors => (80, &[Status500, Status503, RetryAfter, BadGateway]),
            Self::Mixed => (10, &Fault::ALL),
        }
    }
}

/// The phase that prevails, and the faults that there have been.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    phase: AtomicUsize,
    turn: AtomicUsize,
    happened: [AtomicU64; Fault::ALL.len()],
    outages: AtomicU64,
}

impl Weather {
    pub(crate) fn turn_to(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::Release);
        self.outages.fetch_add(u64::from(phase == Phase::Outage), Ordering::Relaxed);
    }

    pub(crate) fn is_out(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Outage as usize
    }

    /// What is to happen to a request now.
    pub(crate) fn strike(&self, random: &mut fastrand::Rng) -> Option<Fault> {
        let (share, faults) = Phase::ALL[self.phase.load(Ordering::Acquire)].faults();
        let strikes = random.u32(..100) < share;
        strikes.then(|| faults[self.turn.fetch_add(1, Ordering::Relaxed) % faults.len()])
    }

    /// It has happened.
    pub(crate) fn count(&self, fault: Fault) {
        self.happened[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn happened(&self, fault: Fault) -> u64 {
        self.happened[fault as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn outages(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }
}

/// Calls `turn_to` for one phase after the other until `during` has passed: `cycles` times all of them, each time in another order.
pub(crate) fn play(seed: u64, during: Duration, cycles: u32, mut turn_to: impl FnMut(Phase)) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut order, mut ends) = (Phase::ALL, Instant::now());
    let length = during / cycles / u32::try_from(order.len()).unwrap();
    for _ in 0..cycles {
        random.shuffle(&mut order);
        for phase in order {
            turn_to(phase);
            ends += length;
            thread::sleep(ends.saturating_duration_since(Instant::now()));
        }
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in Fault::ALL {
            writeln!(f, "  {:<16}{:>8}", format!("{fault:?}"), self.happened(fault))?;
        }
        write!(f, "  {:<16}{:>8}", "Outage", self.outages())
    }
}
