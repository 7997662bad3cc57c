//! The words of a queue alone: the run word and the intake, without a pool. A turn is given a thread at once: that of whoever has the duty to post it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::thread;

use super::{Model, mutation};
use crate::clock::Clock;
use crate::intake::Intake;
use crate::intake::limits::Bounds;
use crate::queue::run::RunWord;
use crate::sync::atomic::{AtomicBool, AtomicU64};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "turn_at_most_one_drainer",
        preemptions: Some(3),
        run: at_most_one_drainer,
        mutations: &[
            mutation("queue_sleeps_beside_a_writer"),
            mutation("queue_sleeps_by_load"),
            mutation("queue_rest_ignores_wake"),
            mutation("queue_wake_posts_once"),
        ],
    },
    Model {
        name: "turn_finds_what_it_was_woken_for",
        preemptions: None,
        run: finds_what_it_was_woken_for,
        mutations: &[
            mutation("queue_wake_ordering"),
            mutation("queue_look_ordering"),
            mutation("queue_hold_ordering"),
            mutation("queue_hold_ignores_wake"),
        ],
    },
    Model {
        name: "turn_that_rests_finds_what_it_was_woken_for",
        preemptions: None,
        run: finds_what_it_was_woken_for_at_rest,
        mutations: &[mutation("queue_rest_ordering"), mutation("queue_rest_ignores_wake")],
    },
    Model {
        name: "queue_two_closers_against_write",
        preemptions: None,
        run: two_closers_against_write,
        mutations: &[mutation("queue_first_closer_counts"), mutation("queue_count_waits_for_the_close")],
    },
];

/// What only one thread at a time touches: no step of its own orders it.
#[derive(Default)]
struct Owned {
    inside: AtomicBool,
    count: AtomicU64,
}

impl Owned {
    fn begin(&self) {
        assert!(!self.inside.swap(true, Ordering::Relaxed), "two turns at once");
    }

    fn end(&self) {
        self.inside.swap(false, Ordering::Relaxed);
    }

    fn count(&self) {
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

struct Bare {
    intake: Intake<u32, RunWord>,
    delivered: Owned,
}

impl Bare {
    fn write(&self, event: u32) {
        let entry = self.intake.enter(&event).unwrap();
        self.intake.push(event, entry.note);
        if entry.asleep && self.intake.beside().wake() {
            self.turn();
        }
    }

    /// With a budget of one event, and another turn after it.
    fn turn(&self) {
        let run = self.intake.beside();
        loop {
            self.delivered.begin();
            run.look();
            self.intake.wake_up();
            let parcel = self.intake.pop();
            if let Some(parcel) = &parcel {
                self.delivered.count();
                self.intake.leave(parcel.note);
            }
            self.delivered.end();
            if parcel.is_none() {
                if self.intake.fall_asleep(0) {
                    if run.rest() {
                        return;
                    }
                } else {
                    thread::yield_now();
                }
            }
        }
    }
}

/// Two writers, either of which may have to run the turn: there are never two turns at once, each sees what the one before has done, and no event is left.
fn at_most_one_drainer() {
    let intake = Intake::new(Bounds::default(), &Clock::system(), RunWord::new(), ());
    let bare = Arc::new(Bare { intake, delivered: Owned::default() });
    let other = {
        let bare = bare.clone();
        thread::spawn(move || bare.write(1))
    };
    bare.write(2);
    other.join().unwrap();
    assert_eq!(bare.delivered.get(), 2);
}

/// Something that a turn waits for, and that nothing but the run word tells it.
struct Awaited {
    run: RunWord,
    /// How a turn ends.
    end: fn(&RunWord) -> bool,
    ready: AtomicU64,
    seen: AtomicU64,
    looks: Owned,
    /// Counted apart, in every order.
    all_looks: std::sync::atomic::AtomicU64,
}

impl Awaited {
    fn turn(&self) {
        loop {
            self.looks.begin();
            self.run.look();
            self.looks.count();
            self.all_looks.fetch_add(1, Ordering::Relaxed);
            self.seen.fetch_add(self.ready.load(Ordering::Relaxed), Ordering::Relaxed);
            self.looks.end();
            if (self.end)(&self.run) {
                return;
            }
        }
    }
}

fn finds_what_it_was_woken_for() {
    finds_it(RunWord::hold);
}

/// By one who is no writer: a timer, a closer.
fn finds_what_it_was_woken_for_at_rest() {
    finds_it(RunWord::rest);
}

/// What is awaited comes before the turn, in it, or after it: a turn finds it, and all that earlier turns did.
fn finds_it(end: fn(&RunWord) -> bool) {
    let awaited = Arc::new(Awaited {
        run: RunWord::new(),
        end,
        ready: AtomicU64::new(0),
        seen: AtomicU64::new(0),
        looks: Owned::default(),
        all_looks: 0.into(),
    });
    let other = {
        let awaited = awaited.clone();
        thread::spawn(move || {
            awaited.ready.store(1, Ordering::Relaxed);
            if awaited.run.wake() {
                awaited.turn();
            }
        })
    };
    if awaited.run.wake() {
        awaited.turn();
    }
    other.join().unwrap();
    assert!(awaited.seen.load(Ordering::Relaxed) > 0, "held, and woken no more");
    assert_eq!(awaited.looks.get(), awaited.all_looks.load(Ordering::Relaxed));
}

/// A write races two closers: once it is closed, the count is that of the writes that were accepted.
fn two_closers_against_write() {
    let intake = Arc::new(Intake::<u32>::new(Bounds::default(), &Clock::system(), (), ()));
    let closer = {
        let intake = intake.clone();
        thread::spawn(move || intake.close())
    };
    let writer = {
        let intake = intake.clone();
        thread::spawn(move || intake.enter(&1).ok().map(|entry| intake.push(1, entry.note)).is_some())
    };
    intake.close();
    let counted = intake.entered();
    closer.join().unwrap();
    let accepted = writer.join().unwrap();
    assert_eq!((counted, intake.entered()), (u64::from(accepted), u64::from(accepted)));
    if let Some(parcel) = intake.pop() {
        intake.leave(parcel.note);
    }
    assert!(intake.is_drained(), "it never ends");
}
