//! A bound in bytes. An event's number is its size.

use std::sync::Arc;

use loom::thread;

use super::room::{Door, drain_one, write};
use super::{Model, mutation};
use crate::clock::Clock;
use crate::intake::entrance::{Entrance, Overflow};
use crate::intake::limits::Bounds;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "bytes_bound_is_exact",
        preemptions: Some(3),
        run: bound_is_exact,
        mutations: &[mutation("bytes_bound_by_load")],
    },
    Model { name: "bytes_given_back", preemptions: None, run: given_back, mutations: &[mutation("bytes_given_back")] },
    Model {
        name: "bytes_room_for_two",
        preemptions: Some(2),
        run: room_for_two,
        mutations: &[mutation("bytes_room_passed_on"), mutation("room_line_fence"), mutation("room_line_recheck")],
    },
];

fn door(capacity: Option<u64>, overflow: Overflow) -> Arc<Door> {
    let size = Box::new(|event: &u32| u64::from(*event));
    let bounds = Bounds { bytes: Some((4, size)), ..Bounds::of(capacity, overflow) };
    Arc::new(Entrance::new(bounds, &Clock::system(), (), ()))
}

fn held(door: &Door) -> u64 {
    door.intake.bytes_held().unwrap()
}

/// Two writers whose events do not fit together: one of them is refused, and there are never more bytes than the bound.
fn bound_is_exact() {
    let door = door(None, Overflow::Reject);
    let other = {
        let door = door.clone();
        thread::spawn(move || write(&door, 3).is_ok())
    };
    let mine = write(&door, 2).is_ok();
    assert!(held(&door) <= 4);
    let theirs = other.join().unwrap();
    assert!(mine != theirs);
    assert_eq!(held(&door), if mine { 2 } else { 3 });
    drain_one(&door);
    assert_eq!(held(&door), 0);
}

/// Two writers and one place, with bytes for both: who is refused for want of a place gives its bytes back.
fn given_back() {
    let door = door(Some(1), Overflow::Reject);
    let other = {
        let door = door.clone();
        thread::spawn(move || write(&door, 1).is_ok())
    };
    let mine = write(&door, 2).is_ok();
    let theirs = other.join().unwrap();
    assert!(mine != theirs);
    drain_one(&door);
    assert_eq!(held(&door), 0);
}

/// One large event leaves, and two writers with small ones wait in line: there is room for both, though the drain wakes one.
fn room_for_two() {
    let door = door(None, Overflow::Block);
    write(&door, 4).unwrap();
    let writers = [1, 2].map(|event| {
        let door = door.clone();
        thread::spawn(move || write(&door, event).unwrap())
    });
    drain_one(&door);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(held(&door), 3);
}
