//! The stand-ins' own contracts.

use std::sync::Arc;

use loom::thread;

use super::Model;
use crate::sync::{Seat, SegQueue};

pub(super) const MODELS: &[Model] = &[
    Model { name: "segqueue_each_value_once", preemptions: None, run: each_value_once, mutations: &[] },
    Model { name: "segqueue_fifo_per_producer", preemptions: None, run: fifo_per_producer, mutations: &[] },
    Model { name: "seat_keeps_a_token", preemptions: None, run: seat_keeps_a_token, mutations: &[] },
];

/// Two producers and a consumer: nothing is lost, nothing comes twice.
fn each_value_once() {
    let queue = Arc::new(SegQueue::new());
    let producers: Vec<_> = (0..2)
        .map(|value| {
            let queue = queue.clone();
            thread::spawn(move || queue.push(value))
        })
        .collect();
    let early = queue.pop();
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    let mut all: Vec<_> = early.into_iter().chain(std::iter::from_fn(|| queue.pop())).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1]);
    assert!(queue.is_empty());
}

/// One producer, two consumers: each sees its values in the order they were pushed.
fn fifo_per_producer() {
    let queue = Arc::new(SegQueue::new());
    let consumer = {
        let queue = queue.clone();
        thread::spawn(move || [queue.pop(), queue.pop()])
    };
    queue.push(1);
    queue.push(2);
    let [first, second] = consumer.join().unwrap();
    assert!(!matches!((first, second), (Some(2), Some(_))), "{first:?} {second:?}");
}

/// An unpark before the park is not lost.
fn seat_keeps_a_token() {
    let seat = Arc::new(Seat::default());
    let other = {
        let seat = seat.clone();
        thread::spawn(move || seat.unpark())
    };
    seat.park(None);
    other.join().unwrap();
}
