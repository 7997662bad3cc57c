//! S2: what one write takes, and how long the event is on its way, when one writer writes at a steady pace.
//!
//! Between two writes the writer spins until the next is due, as a service that is busy with something else. The receiver sleeps in between as its
//! library has it. Each write is timed alone, both looks at the clock included, about 50 ns, for every contender.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Plan;
use crate::cpu;
use crate::rounds::{Contender, alternate, quantile};
use crate::strategy::{Poll, Spin};
use crate::tally::Tally;
use crate::way::Way;
use crate::{every_way, figure};

const FIGURES: [(&str, &str); 7] = [
    ("-write-p50", "µs"),
    ("-write-p99", "µs"),
    ("-write-p99.9", "µs"),
    ("-delivery-p50", "µs"),
    ("-delivery-p99", "µs"),
    ("-delivery-p99.9", "µs"),
    ("-cpu", "%"),
];

pub fn run(plan: &Plan) {
    for (pace, quick, full) in [(20, 2_000, 10_000), (50, 2_000, 10_000), (1_000, 200, 2_000)] {
        let writes = plan.pick(quick, full);
        let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
        macro_rules! add {
            ($way:ty) => {
                contenders.push(Box::new(Paced::<$way>::new(Duration::from_micros(pace), writes)))
            };
        }
        every_way!(add);
        add!(crate::way::Sinkworks<_, Spin>);
        add!(crate::way::Sinkworks<_, Poll<100>>);
        if let Some(go) = plan.start_go() {
            contenders.push(go.contender("go-events", format!("paced {pace} {writes}"), &[0, 1, 2, 3, 4, 5]));
        }
        let measured = alternate(&mut contenders, 1, plan.pick(5, 9));
        figure::print(&format!("s2-{pace}us"), &FIGURES, &measured);
    }
}

struct Paced<W> {
    open: Option<Open<W>>,
    pace: Duration,
    writes: u32,
}

struct Open<W> {
    way: W,
    tally: Tally,
    /// In µs.
    delivered: Arc<Mutex<Vec<f64>>>,
}

impl<W: Way<Instant>> Paced<W> {
    fn new(pace: Duration, writes: u32) -> Self {
        Self { open: None, pace, writes }
    }
}

impl<W: Way<Instant>> Open<W> {
    fn new(writes: u32) -> Self {
        let (tally, counters) = Tally::new(1);
        let delivered = Arc::new(Mutex::new(Vec::with_capacity(writes as usize)));
        let into = delivered.clone();
        let way = W::open(move |written: &Instant| {
            let took = written.elapsed();
            // Nobody else has it while a round is under way.
            into.lock().expect("no panic").push(took.as_secs_f64() * 1e6);
            counters[0].count();
        });
        Self { way, tally, delivered }
    }

    /// So many writes, and what each took, in µs.
    fn write(&self, writes: u32, pace: Duration) -> Vec<f64> {
        self.delivered.lock().expect("no panic").clear();
        self.tally.expect(writes.into());
        let mut written = Vec::with_capacity(writes as usize);
        let began = Instant::now();
        for write in 1..=writes {
            while began.elapsed() < pace * write {
                std::hint::spin_loop();
            }
            let before = Instant::now();
            self.way.send(before);
            written.push(before.elapsed().as_secs_f64() * 1e6);
        }
        self.tally.wait();
        written
    }
}

impl<W: Way<Instant>> Contender for Paced<W> {
    fn name(&self) -> String {
        W::NAME.into()
    }

    fn round(&mut self) -> Vec<f64> {
        let open = self.open.get_or_insert_with(|| {
            let open = Open::new(self.writes);
            open.write(10, self.pace);
            open
        });
        let (began, before) = (Instant::now(), cpu::of_others());
        let mut written = open.write(self.writes, self.pace);
        let took = cpu::of_others().zip(before).map(|(after, before)| after.saturating_sub(before));
        let share = took.map_or(f64::NAN, |took| took.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0);
        let mut delivered = std::mem::take(&mut *open.delivered.lock().expect("no panic"));
        if W::POLLS {
            self.open = None;
        }
        [&mut written, &mut delivered]
            .into_iter()
            .flat_map(|times| [0.5, 0.99, 0.999].map(|share| quantile(times, share)))
            .chain([share])
            .collect()
    }
}
