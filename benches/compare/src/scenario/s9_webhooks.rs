//! S9: every event to N endpoints over loopback HTTP, each with its queue, its retries and its breaker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use sinkworks::webhook::Webhook;
use sinkworks::{Breaker, Broadcaster, CloseError, CloseReport, Delivery, Shutdown, Sink, SinkExt, SinkId, WriteError};

use super::Plan;
use crate::receiver::Receiver;
use crate::rounds::{Contender, alternate};
use crate::tally::{Counter, Tally};
use crate::{cpu, figure};

/// No round takes so long: events are missing.
const LOST: Duration = Duration::from_secs(60);

/// What is delivered. `webhook.go` has the same.
#[derive(Serialize)]
struct Push {
    sequence: u64,
    timestamp: &'static str,
    action: &'static str,
    repository: &'static str,
    tag: &'static str,
    digest: &'static str,
    size: u64,
    actor: &'static str,
}

impl Push {
    fn new(sequence: u64) -> Self {
        Self {
            sequence,
            timestamp: "2026-03-01T12:34:56.789Z",
            action: "push",
            repository: "library/alpine",
            tag: "3.20",
            digest: "sha256:beefdbd8a1da6d2915566fde36db9db0b524eb737fc57cd1367effd16dc0d06d",
            size: 3_623_807,
            actor: "ci",
        }
    }
}

pub fn run(plan: &Plan) {
    for endpoints in [1, 10, 100] {
        measure(plan, endpoints);
    }
}

fn measure(plan: &Plan, endpoints: usize) {
    let deliveries = plan.pick(2_000, 5_000);
    let events = deliveries / endpoints;
    let mut receiver = Receiver::start().expect("the receiver starts");
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Ours::new(&receiver.url(), endpoints, events))];
    if let Some(go) = plan.start_go() {
        // Endpoints of its own, from the number `first`; a timeout for each request in seconds, as ours has one, and none, as a client has that is not told.
        let question =
            |first: usize, timeout: u64| format!("webhooks {} {first} {endpoints} {events} {timeout}", receiver.url());
        contenders.push(go.contender("go-events", question(endpoints, 15), &[0, 1]));
        contenders.push(go.contender("go-events-no-timeout", question(2 * endpoints, 0), &[0, 1]));
    }
    let (warm, rounds) = (3, plan.pick(11, 31));
    let measured = alternate(&mut contenders, warm, rounds);
    let all = events * endpoints * (warm + rounds) * measured.len();
    assert_eq!(receiver.count().expect("each delivery was whole and in order"), all as u64, "nothing was lost");
    figure::print(&format!("s9-{endpoints}"), &[("", "µs"), ("-cpu", "µs")], &measured);
}

struct Ours {
    broadcaster: Broadcaster<Arc<Push>>,
    tally: Tally,
    endpoints: usize,
    events: usize,
    next: u64,
}

impl Ours {
    fn new(url: &str, endpoints: usize, events: usize) -> Self {
        let (broadcaster, (tally, counters)) = (Broadcaster::new(), Tally::new(endpoints));
        for (endpoint, counter) in counters.into_iter().enumerate() {
            let webhook = Webhook::builder(&format!("{url}{endpoint}")).allow_loopback().build().expect("a URL");
            let sink = Counted { webhook, counter };
            let queue = sink.retrying(Breaker::new(5, Duration::from_secs(1))).queued();
            broadcaster.add(queue).expect("it is open");
        }
        Self { broadcaster, tally, endpoints, events, next: 0 }
    }
}

impl Contender for Ours {
    fn name(&self) -> String {
        figure::OURS.into()
    }

    fn round(&mut self) -> Vec<f64> {
        self.tally.expect(self.events as u64);
        let (began, before) = (Instant::now(), cpu::of_all());
        for _ in 0..self.events {
            self.broadcaster.write(&Arc::new(Push::new(self.next))).expect("it is open");
            self.next += 1;
        }
        let took = self.tally.wait_within(LOST).expect("every event is delivered") - began;
        let cpu = cpu::of_all() - before;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let deliveries = (self.events * self.endpoints) as f64;
        [took, cpu].map(|time| time.as_secs_f64() * 1e6 / deliveries).into()
    }
}

/// A webhook that counts what was delivered.
struct Counted {
    webhook: Webhook,
    counter: Counter,
}

impl Sink<Arc<Push>> for Counted {
    fn try_write(&self, event: &Arc<Push>, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.webhook.try_write(&**event, delivery)?;
        self.counter.count();
        Ok(())
    }

    fn poll_close(&self, how: Shutdown, waker: &std::task::Waker) -> std::task::Poll<Result<CloseReport, CloseError>> {
        Sink::<Push>::poll_close(&self.webhook, how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Sink::<Push>::id(&self.webhook)
    }
}
