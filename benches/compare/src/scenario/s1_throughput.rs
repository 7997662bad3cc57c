//! S1: how long an event takes from its writers to a sink that counts, at full speed.
//!
//! The queue and its receiver stay for all rounds. In a round every writer thread sends its share; the clock runs from the start of the writers until the
//! sink has had the last event.

use std::marker::PhantomData;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use super::Plan;
use crate::rounds::{Contender, alternate};
use crate::tally::Tally;
use crate::way::Way;
use crate::{every_way, figure};

/// What is sent: each writer makes one of it and sends clones.
trait Payload: Clone + Send + Sync + Unpin + 'static {
    const NAME: &'static str;
    fn make() -> Self;
}

impl Payload for u64 {
    const NAME: &'static str = "u64";
    fn make() -> Self {
        1 << 40
    }
}

impl Payload for Arc<[u8; 256]> {
    const NAME: &'static str = "arc256";
    fn make() -> Self {
        Arc::new([1; 256])
    }
}

pub fn run(plan: &Plan) {
    for writers in [1, 2, 4] {
        measure::<u64>(plan, writers);
        measure::<Arc<[u8; 256]>>(plan, writers);
    }
}

fn measure<E: Payload>(plan: &Plan, writers: u64) {
    let events = plan.pick(200_000, 1_000_000);
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    macro_rules! add {
        ($way:ty) => {
            contenders.push(Box::new(Throughput::<E, $way>::new(writers, events)))
        };
    }
    every_way!(add);
    if let Some(go) = plan.start_go() {
        let question = format!("throughput {} {writers} {events}", E::NAME);
        contenders.push(go.contender("go-events", question, &[0]));
    }
    let measured = alternate(&mut contenders, 2, plan.pick(7, 15));
    figure::print(&format!("s1-{}-{writers}w", E::NAME), &[("", "ns/event")], &measured);
}

struct Throughput<E, W> {
    way: W,
    tally: Tally,
    writers: u64,
    events: u64,
    payload: PhantomData<fn(E)>,
}

impl<E: Payload, W: Way<E>> Throughput<E, W> {
    fn new(writers: u64, events: u64) -> Self {
        let (tally, counters) = Tally::new(1);
        let way = W::open(move |_: &E| counters[0].count());
        Self { way, tally, writers, events: events / writers * writers, payload: PhantomData }
    }
}

impl<E: Payload, W: Way<E>> Contender for Throughput<E, W> {
    fn name(&self) -> String {
        W::NAME.into()
    }

    fn round(&mut self) -> Vec<f64> {
        self.tally.expect(self.events);
        let start = Barrier::new(usize::try_from(self.writers + 1).expect("a few"));
        let share = self.events / self.writers;
        let began = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..self.writers)
                .map(|_| {
                    scope.spawn(|| {
                        let event = E::make();
                        start.wait();
                        let began = Instant::now();
                        for _ in 0..share {
                            self.way.send(event.clone());
                        }
                        began
                    })
                })
                .collect();
            start.wait();
            // The first of them: this thread may be held up at the barrier.
            writers.into_iter().map(|writer| writer.join().expect("no panic")).min()
        });
        let took = self.tally.wait() - began.expect("a writer");
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let events = self.events as f64;
        vec![took.as_secs_f64() * 1e9 / events]
    }
}
