//! What a component's file says: a table of operations, how a round begins, and what must hold when it is over.

use std::hint;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use sinkworks::Shutdown;

/// How long an operation with a time limit of its own may take. Never reached unless something is wrong.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// One component in a state that the rounds of all pairs begin with, made anew for each.
pub(crate) trait Scene: Send + Sync + Sized + 'static {
    /// What it is called in what is printed.
    const NAME: &'static str;
    /// The source files whose public methods must be in the table.
    const SOURCES: &'static [&'static str];
    /// The table. An operation is called like the method, with what tells it from others of the same method in parentheses.
    const OPERATIONS: &'static [Operation<Self>];
    /// How many scenes are made at a time.
    const BATCH: usize = 32;

    /// A new scene, in a state that `rng` chooses.
    fn set(rng: &mut Rng) -> Self;

    /// Called again and again while an actor waits for somebody who is not in the pair: for room, an event, a breaker.
    fn release(&self) {}

    /// All rounds are over.
    fn leave() {}

    /// Both operations have returned: sees that the contract was kept. May wait for what must happen by itself.
    fn settle(self, rng: &mut Rng);
}

/// A row of the table.
pub(crate) struct Operation<S> {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&S, &mut Actor),
}

impl<S> Operation<S> {
    pub(crate) const fn new(name: &'static str, run: fn(&S, &mut Actor)) -> Self {
        Self { name, run }
    }
}

/// One of the two threads of a pair.
pub(crate) struct Actor {
    /// 0 or 1.
    pub(crate) number: usize,
    pub(crate) rng: Rng,
    events: u64,
}

/// The bits below an event's writer.
const NUMBER: u32 = 48;
/// The writer of what is there before the actors come.
pub(crate) const PRELUDE: u64 = 7;

impl Actor {
    pub(crate) fn new(number: usize, rng: Rng) -> Self {
        Self { number, rng, events: 0 }
    }

    /// An event that nobody else has. Those of one actor grow.
    pub(crate) fn event(&mut self) -> u64 {
        self.events += 1;
        event(self.number as u64, self.events)
    }

    /// Nothing, some cycles, or a turn of the processor for somebody else.
    pub(crate) fn dawdle(&mut self) {
        match self.rng.u8(..8) {
            0..=2 => {}
            3..=5 => (0..self.rng.u32(..60)).for_each(|_| hint::spin_loop()),
            6 => (0..self.rng.u32(..2000)).for_each(|_| hint::spin_loop()),
            _ => thread::yield_now(),
        }
    }

    /// A deadline: long past, now, or soon.
    pub(crate) fn until(&mut self) -> Shutdown {
        Shutdown::within(Duration::from_micros([0, 20, 200][self.rng.usize(..3)]))
    }
}

pub(crate) fn event(writer: u64, number: u64) -> u64 {
    writer << NUMBER | number
}

pub(crate) fn writer(event: u64) -> u64 {
    event >> NUMBER
}

/// Waits for what must happen by itself. A hang is the watchdog's affair.
pub(crate) fn eventually(mut done: impl FnMut() -> bool) {
    let mut looks = 0_u32;
    while !done() {
        looks += 1;
        match looks {
            0..50 => hint::spin_loop(),
            50..500 => thread::yield_now(),
            _ => thread::sleep(Duration::from_micros(100)),
        }
    }
}
