//! A lock that a closer does not wait for: who is turned away is woken, and the end is the end.

use std::sync::Arc;
use std::task::Waker;

use loom::thread;

use super::queue::Bell;
use super::{Model, mutation};
use crate::closing_lock::ClosingLock;
use crate::sync::atomic::{AtomicU64, Ordering};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "closing_lock_close_against_holder",
        preemptions: None,
        run: close_against_holder,
        mutations: &[
            mutation("closing_lock_closer_fence"),
            mutation("closing_lock_holder_fence"),
            mutation("closing_lock_holder_wakes"),
            mutation("closing_lock_keeps_the_waker_first"),
            mutation("closing_lock_sees_the_end"),
        ],
    },
    Model {
        name: "closing_lock_two_closers",
        preemptions: None,
        run: two_closers,
        mutations: &[mutation("closing_lock_closer_wakes"), mutation("closing_lock_ends_once")],
    },
];

/// Closes it, and waits for the answer.
fn close(lock: &ClosingLock<u64, u64>, end: impl Fn(u64) -> u64) -> u64 {
    let bell = Arc::new(Bell::default());
    let waker: Waker = bell.clone().into();
    loop {
        if let Some(answer) = lock.close(&waker, |value| end(*value)) {
            return answer;
        }
        bell.wait();
    }
}

/// The end has what the holder was let do, and the closer comes to it.
fn close_against_holder() {
    let lock = Arc::new(ClosingLock::new(0));
    let holder = {
        let lock = lock.clone();
        thread::spawn(move || lock.with_open(|value| *value += 1).is_some())
    };
    let end = close(&lock, |value| value);
    let taken = holder.join().unwrap();
    assert_eq!((end, lock.with(|value| *value)), (u64::from(taken), u64::from(taken)));
}

/// It ends once, and both get that answer.
fn two_closers() {
    let lock = Arc::new(ClosingLock::new(0));
    let ends = Arc::new(AtomicU64::new(0));
    let end = {
        let ends = ends.clone();
        move |_| ends.fetch_add(1, Ordering::Relaxed)
    };
    let other = {
        let (lock, end) = (lock.clone(), end.clone());
        thread::spawn(move || close(&lock, end))
    };
    let answers = [close(&lock, end), other.join().unwrap()];
    assert_eq!((answers, ends.load(Ordering::Relaxed)), ([0, 0], 1));
}
