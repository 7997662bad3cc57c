//! A sink that fails by chance, the same way for the same seed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use super::failing::ToldTo;
use super::lock;
use crate::delivery::Delivery;
use crate::error::{CloseError, Failure, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::mutation;
use crate::test_util::Seed;

/// Fails by chance, and passes the other writes on. The fate of its n-th write is decided by the seed alone: behind one queue, or with one writer, a
/// run with the same seed is the same run.
///
/// Its probabilities begin at 0. They are looked at in the order of the table, and only where the one before has spared the write.
///
/// | option | what happens to the write |
/// |---|---|
/// | [`closing`](Self::closing) | the sink is closed from now on |
/// | [`permanent`](Self::permanent) | fails for good |
/// | [`failing`](Self::failing) | fails in a way that may pass |
/// | [`losing_answers`](Self::losing_answers) | is passed on and fails all the same, as behind a timeout: repeated, it is a duplicate |
///
/// ```
/// use sinkworks::test_util::{Flaky, Recording, Seed};
/// use sinkworks::{Breaker, Queue, Shutdown, Sink, SinkExt};
///
/// let seed = Seed::from_env();
/// let seen = Recording::new();
/// let flaky = Flaky::new(&seed, seen.clone()).failing(0.5);
/// let queue = flaky.retrying(Breaker::new(1000, std::time::Duration::from_secs(1))).queued();
/// (0..10).for_each(|event| queue.send(event).unwrap());
/// queue.close(Shutdown::within(std::time::Duration::from_secs(10)))?;
/// assert!(seen.events().into_iter().eq(0..10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Flaky<S> {
    inner: S,
    random: Mutex<fastrand::Rng>,
    closing: f64,
    permanent: f64,
    failing: f64,
    losing_answers: f64,
    failures: AtomicU64,
    closed: AtomicBool,
}

/// What becomes of one write.
enum Fate {
    Close,
    FailForGood,
    Fail,
    LoseAnswer,
    Pass,
}

impl<S> Flaky<S> {
    /// Passes every write on until given a probability. Takes a number from the seed: sinks made of one seed fail independently.
    pub fn new(seed: &Seed, inner: S) -> Self {
        Self {
            inner,
            random: Mutex::new(fastrand::Rng::with_seed(seed.number())),
            closing: 0.0,
            permanent: 0.0,
            failing: 0.0,
            losing_answers: 0.0,
            failures: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// How probably a write finds that the sink has closed.
    #[must_use]
    pub fn closing(mut self, probability: f64) -> Self {
        self.closing = probability;
        self
    }

    /// How probably a write fails for good.
    #[must_use]
    pub fn permanent(mut self, probability: f64) -> Self {
        self.permanent = probability;
        self
    }

    /// How probably a write fails in a way that may pass.
    #[must_use]
    pub fn failing(mut self, probability: f64) -> Self {
        self.failing = probability;
        self
    }

    /// How probably a write that was taken fails in a way that may pass.
    #[must_use]
    pub fn losing_answers(mut self, probability: f64) -> Self {
        self.losing_answers = probability;
        self
    }

    /// How many writes it has failed, in whatever way.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    fn fate(&self) -> Fate {
        let mut random = lock(&self.random);
        // Always four, so that a probability that is changed leaves the other fates as they were.
        let drawn = [random.f64(), random.f64(), random.f64(), random.f64()];
        if drawn[0] < self.closing {
            Fate::Close
        } else if drawn[1] < self.permanent {
            Fate::FailForGood
        } else if drawn[2] < self.failing {
            Fate::Fail
        } else if drawn[3] < self.losing_answers {
            Fate::LoseAnswer
        } else {
            Fate::Pass
        }
    }

    fn fail(&self, failure: Failure) -> Result<(), WriteError> {
        self.failures.fetch_add(1, Ordering::AcqRel);
        Err(failure.into())
    }
}

impl<E: ?Sized, S: Sink<E>> Sink<E> for Flaky<S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.closed.load(Ordering::Acquire) && !mutation!("kit_flaky_sees_the_close") {
            return Err(WriteError::Closed);
        }
        match self.fate() {
            Fate::Close => {
                self.closed.store(true, Ordering::Release);
                Err(WriteError::Closed)
            }
            Fate::FailForGood => self.fail(Failure::permanent(ToldTo)),
            Fate::Fail => self.fail(Failure::transient(ToldTo)),
            Fate::LoseAnswer => {
                self.inner.try_write(event, delivery)?;
                self.fail(Failure::transient(ToldTo))
            }
            Fate::Pass => self.inner.try_write(event, delivery),
        }
    }

    closes_inner!(closed);
}
