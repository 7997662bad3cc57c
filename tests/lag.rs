//! What the reader of a channel is told about events that it missed.

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{assert_closed, concurrently, watched};
use sinkworks::{Channel, DropReason, Overflow, Receiver, RecvError, Shutdown, Sink, WriteError};

fn channel(capacity: u64, overflow: Overflow) -> (Channel<u64>, Receiver<u64>) {
    Channel::builder().capacity(capacity).overflow(overflow).build().unwrap()
}

/// What the reader sees until nothing is there.
fn read(receiver: &Receiver<u64>) -> Vec<Result<u64, RecvError>> {
    std::iter::from_fn(|| Some(receiver.try_recv()).filter(|answer| *answer != Err(RecvError::Empty)))
        .take(100)
        .collect()
}

const fn lagged(events: u64) -> Result<u64, RecvError> {
    Err(RecvError::Lagged(events))
}

#[test]
fn with_drop_oldest_the_gap_is_before_what_is_left() {
    let (channel, receiver) = channel(2, Overflow::DropOldest);
    (0..5).for_each(|event| channel.write(&event).unwrap());
    assert_eq!(read(&receiver), [lagged(3), Ok(3), Ok(4)]);
    channel.send(5).unwrap();
    assert_eq!(read(&receiver), [Ok(5)]);
    (6..9).for_each(|event| channel.send(event).unwrap());
    assert_eq!(receiver.recv(), lagged(1));
    assert_eq!(receiver.recv(), Ok(7));
    channel.close(Shutdown::Drain).unwrap();
    assert_eq!(receiver.recv(), Ok(8));
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
    let ledger = receiver.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.dropped[DropReason::Overflow]), (9, 5, 4));
}

#[test]
fn with_drop_newest_each_gap_is_where_its_events_would_have_been() {
    let (channel, receiver) = channel(2, Overflow::DropNewest);
    (0..4).for_each(|event| channel.write(&event).unwrap());
    assert_eq!(receiver.recv(), Ok(0));
    (4..7).for_each(|event| channel.send(event).unwrap());
    assert_eq!(read(&receiver), [Ok(1), lagged(2), Ok(4), lagged(2)]);
    (7..10).for_each(|event| channel.send(event).unwrap());
    channel.close(Shutdown::Drain).unwrap();
    assert_eq!(receiver.recv(), Ok(7));
    assert_eq!(receiver.recv(), Ok(8));
    assert_eq!(receiver.recv(), lagged(1), "told before the end");
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
    let ledger = channel.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.dropped[DropReason::Overflow]), (10, 5, 5));
}

#[test]
fn a_reader_that_was_cut_off_is_told_so_after_what_it_has() {
    let (channel, receiver) = channel(2, Overflow::Disconnect);
    (0..2).for_each(|event| channel.write(&event).unwrap());
    let refused = channel.send(2).unwrap_err();
    assert!(matches!(refused.error, WriteError::Closed) && refused.event == 2);
    assert_closed(&channel.write(&3));
    assert_eq!([receiver.recv(), receiver.recv(), receiver.recv()], [Ok(0), Ok(1), Err(RecvError::CutOff(2))]);
    assert_eq!(receiver.iter().next(), None);
}

#[test]
fn the_iterator_passes_over_gaps() {
    let (channel, receiver) = channel(2, Overflow::DropOldest);
    (0..5).for_each(|event| channel.write(&event).unwrap());
    channel.close(Shutdown::Drain).unwrap();
    assert!(receiver.iter().eq([3, 4]));
}

/// One writer counts up; whatever the reader sees, numbers and gaps add up to the number that comes next.
#[test]
fn numbers_and_gaps_add_up_beside_a_writer() {
    const EVENTS: u64 = 100_000;
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        watched(move || {
            let (channel, receiver) = channel(5, overflow);
            let writer = std::thread::spawn(move || {
                (0..EVENTS).for_each(|event| channel.send(event).unwrap());
                channel.close(Shutdown::Drain).unwrap();
            });
            let (mut next, mut missed) = (0, 0);
            loop {
                match receiver.recv() {
                    Ok(event) => {
                        assert_eq!(event, next, "{overflow:?}, after {missed} missed");
                        next += 1;
                    }
                    Err(RecvError::Lagged(n)) => {
                        next += n;
                        missed += n;
                    }
                    Err(RecvError::Closed) => break,
                    Err(other) => panic!("{other:?}"),
                }
            }
            writer.join().unwrap();
            assert_eq!(next, EVENTS);
            assert!(missed > 0, "the reader was never too slow: the test shows nothing");
            assert_eq!(receiver.ledger().dropped[DropReason::Overflow], missed);
        });
    }
}

/// Several of each: every event is received or told as missed, once.
#[test]
fn with_several_writers_and_receivers_every_event_is_received_or_told_once() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        watched(move || {
            let (channel, receiver) = channel(8, overflow);
            let writers = AtomicU64::new(2);
            let (got, missed) = (Mutex::new(Vec::new()), AtomicU64::new(0));
            concurrently(4, |number| {
                if number < 2 {
                    (0..20_000).for_each(|event| channel.send(number * 20_000 + event).unwrap());
                    if writers.fetch_sub(1, Ordering::AcqRel) == 1 {
                        channel.close(Shutdown::Drain).unwrap();
                    }
                    return;
                }
                let mut mine = Vec::new();
                loop {
                    match receiver.recv() {
                        Ok(event) => mine.push(event),
                        Err(RecvError::Lagged(n)) => drop(missed.fetch_add(n, Ordering::Relaxed)),
                        Err(_) => break,
                    }
                }
                got.lock().unwrap().extend(mine);
            });
            let mut got = got.into_inner().unwrap();
            got.sort_unstable();
            let distinct = got.len() as u64;
            got.dedup();
            assert_eq!(got.len() as u64, distinct, "one event twice");
            assert_eq!(distinct + missed.load(Ordering::Relaxed), 40_000, "{overflow:?}");
            let ledger = channel.ledger();
            assert_eq!((ledger.delivered, ledger.pending), (distinct, 0));
        });
    }
}

/// A writer, a close and a reader at once: nobody is told the end before everything that came before it.
#[test]
fn the_end_comes_after_the_last_gap() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        watched(move || {
            for round in 0..4_000 {
                let (channel, receiver) = channel(1, overflow);
                channel.send(0).unwrap();
                let told = AtomicU64::new(0);
                concurrently(3, |number| match number {
                    0 => (0..3).for_each(|event| drop(channel.send(event))),
                    1 => {
                        (0..round % 50).for_each(|_| std::hint::spin_loop());
                        channel.close(Shutdown::Drain).unwrap();
                    }
                    _ => loop {
                        match receiver.recv() {
                            Ok(_) => drop(told.fetch_add(1, Ordering::Relaxed)),
                            Err(RecvError::Lagged(n)) => drop(told.fetch_add(n, Ordering::Relaxed)),
                            Err(_) => break,
                        }
                    },
                });
                assert_eq!(told.into_inner(), receiver.ledger().accepted, "{overflow:?}");
            }
        });
    }
}

/// What is kept of gaps while nobody reads does not grow with them: the reader is told in few pieces.
#[test]
fn gaps_are_put_together_while_nobody_reads() {
    let (channel, receiver) = channel(1, Overflow::DropOldest);
    concurrently(4, |_| (0..20_000).for_each(|event| channel.send(event).unwrap()));
    let seen = read(&receiver);
    assert!(seen.len() <= 3, "{seen:?}");
    let told: u64 = seen.iter().map(|answer| if let Err(RecvError::Lagged(n)) = answer { *n } else { 1 }).sum();
    assert_eq!(told, 80_000);
}
