//! The channel: the real one, with readers and writers that park. A wake-up that is lost leaves one of them parked for ever, which loom reports as a deadlock.

use std::sync::Arc;
use std::task::Waker;

use loom::thread;

use super::queue::Bell;
use super::{Model, Mutation, mutation};
use crate::channel::{Channel, Receiver, RecvError};
use crate::intake::entrance::Overflow;
use crate::shutdown::Shutdown;
use crate::sink::Sink;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "channel_send_against_receive",
        preemptions: Some(3),
        run: send_against_receive,
        mutations: &[
            mutation("channel_push_fence"),
            mutation("room_register_fence"),
            mutation("channel_push_wakes"),
            mutation("channel_reader_looks_again"),
            mutation("channel_reader_registers_again"),
        ],
    },
    Model {
        name: "channel_close_against_receive",
        preemptions: Some(2),
        run: close_against_receive,
        mutations: &[
            mutation("channel_close_wakes"),
            mutation("channel_end_wakes"),
            mutation("channel_end_by_load"),
            mutation("channel_end_is_told"),
            mutation("queue_enter_closed_check"),
        ],
    },
    Model {
        name: "channel_wake_is_handed_on",
        preemptions: Some(2),
        run: wake_is_handed_on,
        mutations: &[Mutation { name: "channel_wake_handed_on", preemptions: Some(3) }],
    },
    Model {
        name: "channel_receiver_goes",
        preemptions: Some(3),
        run: receiver_goes,
        mutations: &[
            mutation("channel_gone_look"),
            mutation("channel_gone_fence"),
            mutation("channel_gone_discards"),
            mutation("channel_gone_closes"),
            mutation("channel_push_fence"),
        ],
    },
    Model {
        name: "channel_room_against_receive",
        preemptions: Some(3),
        run: room_against_receive,
        mutations: &[mutation("room_line_fence"), mutation("room_register_fence"), mutation("room_line_recheck")],
    },
    Model {
        name: "channel_lag_of_the_oldest",
        preemptions: Some(2),
        run: lag_of_the_oldest,
        mutations: &[mutation("channel_lag_one_step")],
    },
    Model {
        name: "channel_lag_of_the_newest",
        preemptions: Some(2),
        run: lag_of_the_newest,
        mutations: &[mutation("channel_gap_behind_what_is_inside")],
    },
    Model {
        name: "channel_shed_against_the_end",
        preemptions: Some(2),
        run: shed_against_the_end,
        mutations: &[mutation("channel_end_after_the_gaps")],
    },
    Model {
        name: "channel_shed_against_readers",
        preemptions: Some(1),
        run: shed_against_readers,
        mutations: &[mutation("channel_tells_all_of_the_end")],
    },
    Model {
        name: "channel_evict_against_readers",
        preemptions: Some(1),
        run: evict_against_readers,
        mutations: &[mutation("channel_tell_wakes")],
    },
];

fn bounded(capacity: u64, overflow: Overflow) -> (Channel<u32>, Receiver<u32>) {
    Channel::builder().name("model").capacity(capacity).overflow(overflow).build().unwrap()
}

/// A reader falls asleep while a writer sends: it gets both events, in order.
fn send_against_receive() {
    let (channel, receiver) = Channel::unbounded();
    let reader = thread::spawn(move || [receiver.recv(), receiver.recv()]);
    channel.send(1).unwrap();
    channel.send(2).unwrap();
    assert_eq!(reader.join().unwrap(), [Ok(1), Ok(2)]);
}

/// Two readers, one event, and a close that races it: the event goes to one of them if it was accepted, and both learn the end.
fn close_against_receive() {
    let (channel, receiver) = Channel::unbounded();
    let receiver = Arc::new(receiver);
    let readers = [0, 1].map(|_| {
        let receiver = receiver.clone();
        thread::spawn(move || receiver.iter().count())
    });
    let writer = {
        let channel = channel.clone();
        thread::spawn(move || usize::from(channel.send(1).is_ok()))
    };
    shut(&channel);
    let accepted = writer.join().unwrap();
    let received: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    assert_eq!(received, accepted);
    assert_eq!(receiver.ledger().pending, 0);
}

/// Two readers wait for two events, one each. The wake for the second may come to the one who has just found the first.
fn wake_is_handed_on() {
    let (channel, receiver) = Channel::unbounded();
    let receiver = Arc::new(receiver);
    let readers = [0, 1].map(|_| {
        let receiver = receiver.clone();
        thread::spawn(move || receiver.recv().unwrap())
    });
    channel.send(1).unwrap();
    channel.send(2).unwrap();
    let sum: u32 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    assert_eq!(sum, 3);
}

/// The receiver goes while a writer sends: what was accepted is dropped, and counted.
fn receiver_goes() {
    let (channel, receiver) = Channel::unbounded();
    let gone = thread::spawn(move || drop(receiver));
    let accepted = u64::from(channel.send(1).is_ok());
    gone.join().unwrap();
    let ledger = channel.ledger();
    assert_eq!((ledger.accepted, ledger.dropped.total(), ledger.pending), (accepted, accepted, 0));
    assert!(channel.send(2).is_err());
}

/// A writer waits for room while the reader makes some.
fn room_against_receive() {
    let (channel, receiver) = bounded(1, Overflow::Block);
    channel.send(1).unwrap();
    let reader = thread::spawn(move || [receiver.recv(), receiver.recv()]);
    channel.send(2).unwrap();
    assert_eq!(reader.join().unwrap(), [Ok(1), Ok(2)]);
}

/// What a reader gets of the events from 1 to `last`: each is there, or was told as missing just before the next one.
fn read_all(receiver: &Receiver<u32>, last: u64) {
    let mut seen = 0;
    loop {
        match receiver.recv() {
            Ok(event) => {
                seen += 1;
                assert_eq!(u64::from(event), seen, "a gap that was not told before");
            }
            Err(RecvError::Lagged(missed)) => seen += missed,
            Err(_) => break,
        }
    }
    assert_eq!(seen, last);
}

/// The writer takes the oldest out while the reader takes it: every event is received or told as missed, at its place.
fn lag_of_the_oldest() {
    let (channel, receiver) = bounded(1, Overflow::DropOldest);
    channel.send(1).unwrap();
    let reader = thread::spawn(move || read_all(&receiver, 3));
    channel.send(2).unwrap();
    channel.send(3).unwrap();
    drop(channel);
    reader.join().unwrap();
}

/// The same where the newest is dropped: the gap is behind what was inside.
fn lag_of_the_newest() {
    let (channel, receiver) = bounded(1, Overflow::DropNewest);
    channel.send(1).unwrap();
    let reader = thread::spawn(move || read_all(&receiver, 3));
    channel.send(2).unwrap();
    channel.send(3).unwrap();
    drop(channel);
    reader.join().unwrap();
}

/// A writer drops its event while the channel closes: whatever it was told, the reader is told before the end.
fn shed_against_the_end() {
    let (channel, receiver) = bounded(1, Overflow::DropNewest);
    channel.send(1).unwrap();
    let writer = {
        let channel = channel.clone();
        thread::spawn(move || u64::from(channel.send(2).is_ok()))
    };
    let closer = thread::spawn(move || shut(&channel));
    let mut seen = 0;
    loop {
        match receiver.try_recv() {
            Ok(_) => seen += 1,
            Err(RecvError::Lagged(missed)) => seen += missed,
            Err(RecvError::Empty) => thread::yield_now(),
            Err(_) => break,
        }
    }
    closer.join().unwrap();
    assert_eq!(seen, 1 + writer.join().unwrap(), "the end before what was missed");
}

fn shut(channel: &Channel<u32>) {
    let nobody = Waker::from(Arc::new(Bell::default()));
    assert!(channel.poll_close(Shutdown::Drain, &nobody).is_ready());
}

/// A writer drops its own event while the channel closes and two readers wait: one is told what it missed, and both learn the end.
fn shed_against_readers() {
    let (channel, receiver) = bounded(1, Overflow::DropNewest);
    let receiver = Arc::new(receiver);
    channel.send(1).unwrap();
    let writer = {
        let channel = channel.clone();
        thread::spawn(move || u64::from(channel.send(2).is_ok()))
    };
    let other = {
        let receiver = receiver.clone();
        thread::spawn(move || read_to_the_end(&receiver))
    };
    shut(&channel);
    let seen = read_to_the_end(&receiver) + other.join().unwrap();
    assert_eq!(seen, 1 + writer.join().unwrap());
}

fn read_to_the_end(receiver: &Receiver<u32>) -> u64 {
    let mut seen = 0;
    loop {
        match receiver.recv() {
            Ok(_) => seen += 1,
            Err(RecvError::Lagged(missed)) => seen += missed,
            Err(_) => return seen,
        }
    }
}

/// A writer takes the last event out, to put its own in, while the channel closes and a reader waits: the reader learns the end.
fn evict_against_readers() {
    let (channel, receiver) = bounded(1, Overflow::DropOldest);
    channel.send(1).unwrap();
    let writer = {
        let channel = channel.clone();
        thread::spawn(move || u64::from(channel.send(2).is_ok()))
    };
    let closer = {
        let channel = channel.clone();
        thread::spawn(move || shut(&channel))
    };
    let seen = read_to_the_end(&receiver);
    closer.join().unwrap();
    assert_eq!(seen, 1 + writer.join().unwrap());
}
