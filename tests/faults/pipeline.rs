//! The library's side: queues that retry webhooks through the proxy, a writer at a steady pace, and a witness of every attempt.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use sinkworks::webhook::{DeliveryError, Webhook};
use sinkworks::{
    Breaker, CloseError, CloseReport, Delivery, ExponentialBackoff, Pool, Queue, RetryingSink, Shutdown, Sink, SinkExt,
    SinkId, WriteError,
};

use crate::wire::Event;

/// How one attempt ended, as the webhook answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Delivered,
    Timeout,
    /// Nobody listened.
    Refused,
    /// The connection broke.
    Broken,
    Status(u16),
    /// What no fault here should lead to.
    Other,
}

impl Outcome {
    fn of(answer: &Result<(), WriteError>) -> Self {
        let failure = match answer {
            Ok(()) => return Self::Delivered,
            Err(WriteError::Failed(failure)) => failure,
            Err(_) => return Self::Other,
        };
        match failure.cause().downcast_ref() {
            Some(DeliveryError::Timeout) => Self::Timeout,
            Some(DeliveryError::Connection(error)) if error.kind() == ErrorKind::ConnectionRefused => Self::Refused,
            Some(DeliveryError::Connection(_)) => Self::Broken,
            Some(DeliveryError::Status(status)) => Self::Status(*status),
            _ => Self::Other,
        }
    }
}

/// Between the retry and the webhook: notes every attempt.
pub(crate) struct Witness {
    webhook: Webhook,
    attempts: Arc<Mutex<Vec<(Event, Outcome)>>>,
}

impl Sink<Event> for Witness {
    fn try_write(&self, event: &Event, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let answer = self.webhook.try_write(event, delivery);
        // After its close the webhook attempts nothing.
        if !matches!(answer, Err(WriteError::Closed)) {
            self.attempts.lock().unwrap().push((*event, Outcome::of(&answer)));
        }
        answer
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Sink::<Event>::poll_close(&self.webhook, how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Sink::<Event>::id(&self.webhook)
    }
}

/// A queue and the retry behind it.
pub(crate) struct Lane {
    pub(crate) queue: Queue<Event>,
    pub(crate) retry: Arc<RetryingSink<Witness, (ExponentialBackoff, Breaker)>>,
}

pub(crate) struct Pipeline {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) attempts: Arc<Mutex<Vec<(Event, Outcome)>>>,
    pub(crate) pool: Pool,
}

/// What the writer has seen.
pub(crate) struct Pace {
    pub(crate) written: u64,
    pub(crate) took: Duration,
    /// Of each write, sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Pipeline {
    /// `queues` queues on a pool of their own, each to an endpoint of its own behind `proxy`.
    pub(crate) fn new(proxy: SocketAddr, queues: usize, timeout: Duration) -> Self {
        let pool = Pool::builder().name("faults").build().unwrap();
        let attempts = Arc::default();
        let lane = |number| {
            let webhook = Webhook::builder(&format!("http://{proxy}/endpoint/{number}"))
                .allow_loopback()
                .timeout(timeout)
                .max_retry_after(Duration::from_millis(100))
                .build();
            let witness = Witness { webhook: webhook.unwrap(), attempts: Arc::clone(&attempts) };
            let backoff =
                ExponentialBackoff::new(Duration::from_millis(1), Duration::from_millis(2), Duration::from_millis(100));
            let breaker = Breaker::builder().threshold(5).backoff(Duration::from_millis(50)).probe_timeout(2 * timeout);
            let retry = Arc::new(witness.retrying((backoff, breaker.build().unwrap())));
            let queue = Queue::builder(retry.clone()).name(format!("faults-{number}")).pool(&pool).build().unwrap();
            Lane { queue, retry }
        };
        Self { lanes: (0..queues).map(lane).collect(), attempts, pool }
    }

    /// Writes `rate` events a second for a while, to each queue in turn.
    pub(crate) fn write(&self, rate: u32, during: Duration) -> Pace {
        let began = Instant::now();
        let mut latencies = Vec::new();
        let mut numbers = vec![0; self.lanes.len()];
        for written in 0.. {
            let due = Duration::from_secs(written) / rate;
            // It ends in time also if it has fallen behind: what it has missed then shows.
            if due >= during || began.elapsed() >= during {
                break;
            }
            thread::sleep(due.saturating_sub(began.elapsed()));
            let queue = usize::try_from(written).unwrap() % numbers.len();
            let event = Event { queue, number: numbers[queue] };
            let before = Instant::now();
            self.lanes[queue].queue.send(event).unwrap();
            latencies.push(before.elapsed());
            numbers[queue] += 1;
        }
        latencies.sort_unstable();
        Pace { written: latencies.len() as u64, took: began.elapsed(), latencies }
    }

    /// Closes all queues at once, and answers the report of all.
    pub(crate) fn close(&self, how: Shutdown) -> CloseReport {
        let mut report = CloseReport::new();
        thread::scope(|scope| {
            let closers: Vec<_> =
                self.lanes.iter().map(|lane| scope.spawn(move || lane.queue.close(how).unwrap())).collect();
            for closer in closers {
                report.merge(closer.join().unwrap());
            }
        });
        report
    }
}

impl Pace {
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.latencies[(self.latencies.len() - 1) * percent / 100]
    }
}
