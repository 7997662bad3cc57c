//! A full intake: writers in line for room, and writers who take others' places.

use std::sync::Arc;
use std::task::Waker;

use loom::thread;

use super::queue::{Bell, Rig, close};
use super::{Model, mutation};
use crate::clock::Clock;
use crate::delivery::{Delivery, EventId, Journey};
use crate::error::WriteError;
use crate::intake::entrance::{Entrance, Overflow, Owner};
use crate::intake::limits::Bounds;
use crate::ledger::DropReason;
use crate::shutdown::Shutdown;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "room_writer_against_drain",
        preemptions: None,
        run: writer_against_drain,
        mutations: &[
            mutation("room_line_fence"),
            mutation("room_line_wakes"),
            mutation("room_line_recheck"),
            mutation("room_register_fence"),
        ],
    },
    Model {
        name: "room_writer_against_close",
        preemptions: None,
        run: writer_against_close,
        mutations: &[mutation("room_line_recheck"), mutation("room_line_sees_the_close"), mutation("room_close_wakes")],
    },
    Model {
        name: "room_enter_against_close",
        preemptions: None,
        run: enter_against_close,
        mutations: &[mutation("room_enter_closed_check")],
    },
    Model {
        name: "room_waiter_gives_up",
        preemptions: Some(3),
        run: waiter_gives_up,
        mutations: &[mutation("ticket_hands_its_wake_on")],
    },
    Model {
        name: "room_two_writers_one_place",
        preemptions: Some(2),
        run: two_writers_one_place,
        mutations: &[mutation("room_bound_by_load")],
    },
    Model {
        name: "room_evict_against_close",
        // This one and the next have some 700,000 executions with two: SINKWORKS_LOOM_PREEMPTIONS=2 ci/loom.sh room_
        preemptions: Some(1),
        run: evict_against_close,
        mutations: &[mutation("queue_evict_wake"), mutation("queue_evict_fence"), mutation("queue_close_fence")],
    },
    Model {
        name: "room_shed_against_the_end",
        preemptions: Some(1),
        run: shed_against_the_end,
        mutations: &[mutation("queue_evict_wake"), mutation("queue_shed_fence")],
    },
    Model {
        name: "room_shed_against_close",
        preemptions: None,
        run: shed_against_close,
        mutations: &[mutation("queue_shed_ignores_close")],
    },
];

struct Nobody;

impl Owner for Nobody {
    fn evict(&self) -> bool {
        false
    }
    fn disconnect(&self) {}
}

pub(super) type Door = Entrance<u32>;

fn door(overflow: Overflow) -> Arc<Door> {
    Arc::new(Entrance::new(Bounds::of(Some(1), overflow), &Clock::system(), (), ()))
}

/// Writes as a queue does that waits without a thread: again whenever it is woken.
pub(super) fn write(door: &Door, event: u32) -> Result<(), WriteError> {
    let (bell, clock) = (Arc::new(Bell::default()), Clock::system());
    let waker: Waker = bell.clone().into();
    let mut journey = Journey::default();
    loop {
        let mut delivery = Delivery::resume_with(&waker, &clock, EventId(0), journey);
        match door.enter_cloned(&event, &mut delivery, &Nobody) {
            Ok(event) => {
                event.into_iter().for_each(|(event, entry)| door.intake.push(event, entry.note));
                return Ok(());
            }
            Err(WriteError::NotReady(_)) => bell.wait(),
            Err(error) => return Err(error),
        }
        journey = delivery.into_journey();
    }
}

pub(super) fn drain_one(door: &Door) {
    let parcel = door.intake.pop().expect("pushed before the drain began");
    door.settle(None, parcel.note);
}

/// A writer finds no room while the drain makes some: it gets in.
fn writer_against_drain() {
    let door = door(Overflow::Block);
    write(&door, 1).unwrap();
    let drain = {
        let door = door.clone();
        thread::spawn(move || drain_one(&door))
    };
    write(&door, 2).unwrap();
    drain.join().unwrap();
    let ledger = door.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.pending), (2, 1, 1));
}

/// A write to a queue with room races its close: it is counted if it was accepted, and not otherwise.
fn enter_against_close() {
    let door = door(Overflow::Block);
    let writer = {
        let door = door.clone();
        thread::spawn(move || write(&door, 1).is_ok())
    };
    door.close();
    let counted = door.ledger().accepted;
    let accepted = u64::from(writer.join().unwrap());
    assert_eq!((counted, door.ledger().accepted), (accepted, accepted), "the count at the close is final");
    assert!(write(&door, 2).is_err());
}

/// Tries once, and gives up its place in line.
fn try_once(door: &Door, event: u32) -> bool {
    let (waker, clock) = (Waker::from(Arc::new(Bell::default())), Clock::system());
    let mut delivery = Delivery::resume_with(&waker, &clock, EventId(0), Journey::default());
    match door.enter_cloned(&event, &mut delivery, &Nobody) {
        Ok(entered) => {
            entered.into_iter().for_each(|(event, entry)| door.intake.push(event, entry.note));
            true
        }
        Err(_) => false,
    }
}

/// Two writers in line, of whom one gives up while the drain makes room: the other does not wait beside the free place.
fn waiter_gives_up() {
    let door = door(Overflow::Block);
    write(&door, 1).unwrap();
    let stays = {
        let door = door.clone();
        thread::spawn(move || write(&door, 2).unwrap())
    };
    let drain = {
        let door = door.clone();
        thread::spawn(move || drain_one(&door))
    };
    if try_once(&door, 3) {
        // It got the place: the other gets the next one.
        drain.join().unwrap();
        while door.ledger().delivered < 2 {
            if let Some(parcel) = door.intake.pop() {
                door.settle(None, parcel.note);
            } else {
                thread::yield_now();
            }
        }
    } else {
        drain.join().unwrap();
    }
    stays.join().unwrap();
}

/// A writer finds no room while the queue is closed: it is let go.
fn writer_against_close() {
    let door = door(Overflow::Block);
    write(&door, 1).unwrap();
    let closer = {
        let door = door.clone();
        thread::spawn(move || door.close())
    };
    assert!(matches!(write(&door, 2), Err(WriteError::Closed)));
    closer.join().unwrap();
    assert_eq!(door.ledger().accepted, 1);
}

/// Two writers and one place: the bound is exact, and both get in, the second when the drain has served the first.
fn two_writers_one_place() {
    let door = door(Overflow::Block);
    let writers = [1, 2].map(|event| {
        let door = door.clone();
        thread::spawn(move || write(&door, event).unwrap())
    });
    for served in 0..2 {
        let parcel = loop {
            assert!(door.ledger().pending <= 1, "above the bound");
            match door.intake.pop() {
                Some(parcel) => break parcel,
                None => thread::yield_now(),
            }
        };
        assert_eq!(door.ledger().delivered, served);
        door.settle(None, parcel.note);
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(door.ledger().accepted, 2);
}

/// A writer takes the oldest event's place while the queue closes: it closes, and every event has one end.
fn evict_against_close() {
    let rig = Rig::bounded(1, Overflow::DropOldest);
    rig.queue.send(1).unwrap();
    let writer = {
        let queue = rig.queue.clone();
        thread::spawn(move || u64::from(queue.send(2).is_ok()))
    };
    let report = close(&rig.queue, Shutdown::Drain);
    let accepted = 1 + writer.join().unwrap();
    // A writer who took the last event out and was then refused may have counted it after the report.
    let ledger = rig.queue.ledger();
    assert_eq!(ledger.dropped.total(), ledger.dropped[DropReason::Overflow]);
    rig.finish(&report, accepted);
}

/// A writer drops its own event while the queue closes: the queue does not end before the writer is done, and then it does end.
fn shed_against_the_end() {
    let rig = Rig::bounded(1, Overflow::DropNewest);
    rig.queue.send(1).unwrap();
    let writer = {
        let queue = rig.queue.clone();
        thread::spawn(move || u64::from(queue.send(2).is_ok()))
    };
    let report = close(&rig.queue, Shutdown::Drain);
    let accepted = 1 + writer.join().unwrap();
    rig.finish(&report, accepted);
}

/// A write that is answered `Ok` and dropped is in the count that a close ends.
fn shed_against_close() {
    let door = door(Overflow::DropNewest);
    write(&door, 1).unwrap();
    let writer = {
        let door = door.clone();
        thread::spawn(move || write(&door, 2).is_ok())
    };
    door.close();
    let counted = door.ledger().accepted;
    let accepted = 1 + u64::from(writer.join().unwrap());
    assert_eq!(door.ledger().accepted, accepted);
    assert_eq!(counted, accepted, "the count at the close is final");
}
