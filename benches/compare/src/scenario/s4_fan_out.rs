//! S4: steady fan-out. One writer writes a batch at full speed; the clock runs until each of N receivers has had all of it.

use std::time::Instant;

use super::Plan;
use crate::fan::Fan;
use crate::rounds::{Contender, alternate};
use crate::tally::Tally;
use crate::{every_fan, figure};

pub fn run(plan: &Plan) {
    for receivers in [10, 100, 1_000] {
        // As many deliveries with many receivers as with few. Rings have room for the whole batch, since nothing may be lost.
        let events = plan.pick(100_000, 400_000) / receivers;
        let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
        macro_rules! add {
            ($fan:ty) => {
                if receivers <= <$fan>::MOST {
                    contenders.push(Box::new(FanOut::<$fan>::new(receivers, events)));
                }
            };
        }
        every_fan!(add);
        if let Some(go) = plan.start_go() {
            contenders.push(go.contender("go-events", format!("fanout {receivers} {events}"), &[0]));
        }
        let measured = alternate(&mut contenders, 3, plan.pick(15, 51));
        figure::print(&format!("s4-{receivers}"), &[("", "ns/event/queue")], &measured);
    }
}

struct FanOut<F> {
    receivers: usize,
    events: usize,
    open: Option<(F, Tally)>,
}

impl<F: Fan> FanOut<F> {
    fn new(receivers: usize, events: usize) -> Self {
        Self { receivers, events: events / F::SLOWER, open: None }
    }

    /// In ns.
    fn batch(&mut self) -> f64 {
        let (fan, tally) = self.open.get_or_insert_with(|| {
            let (tally, counters) = Tally::new(self.receivers);
            (F::open(counters, self.events), tally)
        });
        tally.expect(self.events as u64);
        let began = Instant::now();
        for _ in 0..self.events {
            fan.write();
        }
        let took = tally.wait() - began;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let deliveries = (self.events * self.receivers) as f64;
        took.as_secs_f64() * 1e9 / deliveries
    }
}

impl<F: Fan> Contender for FanOut<F> {
    fn name(&self) -> String {
        F::NAME.into()
    }

    fn round(&mut self) -> Vec<f64> {
        if self.open.is_none() {
            self.batch();
        }
        let took = self.batch();
        if F::POLLS {
            self.open = None;
        }
        vec![took]
    }
}
