//! S3: what it costs a writer to reach N receivers that are all asleep.
//!
//! After each write its deliveries are awaited; before each write everybody sleeps for longer than any receiver spins or polls.

use std::time::{Duration, Instant};

use super::Plan;
use crate::fan::Fan;
use crate::rounds::{Contender, alternate};
use crate::strategy::Poll;
use crate::tally::Tally;
use crate::{every_fan, figure};

/// Longer than any spin.
const PAUSE: Duration = Duration::from_millis(5);

pub fn run(plan: &Plan) {
    for receivers in [1, 10, 100, 1_000] {
        let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
        macro_rules! add {
            ($fan:ty) => {
                if receivers <= <$fan>::MOST {
                    contenders.push(Box::new(Idle::<$fan>::new(receivers)));
                }
            };
        }
        every_fan!(add);
        add!(crate::fan::Sinkworks<Poll<1_000>>);
        if let Some(go) = plan.start_go() {
            let question = format!("idle {receivers}");
            // Three ways to look at it: see benches/README.md.
            contenders.push(go.contender("go-events", question.clone(), &[0]));
            contenders.push(go.contender("go-events-handed-over", question, &[1]));
            contenders.push(go.contender("go-events-direct", format!("direct {receivers}"), &[0]));
        }
        let measured = alternate(&mut contenders, 3, plan.pick(31, 201));
        figure::print(&format!("s3-{receivers}"), &[("", "µs")], &measured);
    }
}

struct Idle<F> {
    receivers: usize,
    open: Option<Open<F>>,
}

struct Open<F> {
    fan: F,
    tally: Tally,
}

impl<F: Fan> Idle<F> {
    fn new(receivers: usize) -> Self {
        Self { receivers, open: None }
    }
}

impl<F: Fan> Open<F> {
    fn new(receivers: usize) -> Self {
        let (tally, counters) = Tally::new(receivers);
        Self { fan: F::open(counters, 16), tally }
    }

    /// In µs.
    fn write(&mut self) -> f64 {
        std::thread::sleep(PAUSE);
        self.tally.expect(1);
        let began = Instant::now();
        self.fan.write();
        let took = began.elapsed();
        self.tally.wait();
        took.as_secs_f64() * 1e6
    }
}

impl<F: Fan> Contender for Idle<F> {
    fn name(&self) -> String {
        F::NAME.into()
    }

    fn round(&mut self) -> Vec<f64> {
        if self.open.is_none() {
            let mut open = Open::new(self.receivers);
            for _ in 0..3 {
                open.write();
            }
            self.open = Some(open);
        }
        let took = self.open.as_mut().map(Open::write);
        if F::POLLS {
            self.open = None;
        }
        took.into_iter().collect()
    }
}
