//! A channel with several receivers, and its end.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{concurrently, watched};
use sinkworks::test_util::{Gate, Recording};
use sinkworks::{Channel, Pool, Queue, RecvError, Shutdown, Sink, sink_fn};

const ROUNDS: u64 = 2_000;

#[test]
fn every_receiver_learns_of_the_end() {
    watched(|| {
        for _ in 0..ROUNDS {
            let (channel, receiver) = Channel::unbounded();
            let taken = AtomicU64::new(0);
            concurrently(4, |number| match number {
                0 => {
                    channel.send(1).unwrap();
                    channel.close(Shutdown::Drain).unwrap();
                }
                _ => {
                    while receiver.recv() == Ok(1) {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            assert_eq!(taken.load(Ordering::Relaxed), 1);
        }
    });
}

#[test]
fn no_event_waits_beside_a_parked_receiver() {
    watched(|| {
        for _ in 0..ROUNDS {
            let (channel, receiver) = Channel::unbounded();
            // Each receiver takes one event and goes: the wake for the other must not go with it.
            concurrently(3, |number| match number {
                0 => {
                    channel.send(1).unwrap();
                    channel.send(2).unwrap();
                }
                _ => assert!(receiver.recv().is_ok()),
            });
            assert_eq!(receiver.try_recv(), Err(RecvError::Empty));
            assert_eq!(channel.ledger().delivered, 2);
        }
    });
}

#[test]
fn a_write_that_races_the_receivers_end_is_refused_or_counted() {
    for _ in 0..ROUNDS {
        let (channel, receiver) = Channel::unbounded();
        let receiver = std::sync::Mutex::new(Some(receiver));
        let accepted = AtomicU64::new(0);
        concurrently(2, |number| {
            if number == 0 {
                drop(receiver.lock().unwrap().take());
            } else {
                accepted.fetch_add(u64::from(channel.send(1).is_ok()), Ordering::Relaxed);
            }
        });
        let ledger = channel.ledger();
        assert_eq!((ledger.accepted, ledger.pending), (accepted.load(Ordering::Relaxed), 0), "{ledger:?}");
        assert!(ledger.balances());
    }
}

#[test]
fn a_timeout_ends_a_wait_for_nothing() {
    let (channel, receiver) = Channel::<u32>::unbounded();
    assert_eq!(receiver.recv_timeout(Duration::from_millis(5)), Err(RecvError::Empty));
    channel.send(7).unwrap();
    assert_eq!(receiver.recv_timeout(Duration::MAX), Ok(7));
}

/// Not of the channel, but of the same kind: what a user's drop does at the end of a queue.
#[test]
fn a_sink_whose_drop_panics_takes_no_pool_thread_with_it() {
    struct Bomb(Arc<AtomicU64>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("told to panic");
        }
    }
    let pool = Pool::dedicated("bomb").unwrap();
    let dropped = Arc::new(AtomicU64::new(0));
    let bomb = Bomb(dropped.clone());
    // The worker is held until this thread has let go of the queue, or the bomb may go off here.
    let gate = Gate::new();
    let door = gate.clone();
    let sink = sink_fn(move |_: &u32| {
        door.pass();
        assert_eq!(bomb.0.load(Ordering::Relaxed), 0);
        Ok(())
    });
    Queue::builder(sink).pool(&pool).build().unwrap().send(1).unwrap();
    gate.open();
    pool.wait_idle();
    let seen = Recording::new();
    let next = Queue::builder(seen.clone()).pool(&pool).build().unwrap();
    next.send(2).unwrap();
    next.close(Shutdown::Drain).unwrap();
    assert_eq!(seen.events(), [2]);
    assert_eq!((dropped.load(Ordering::Relaxed), pool.stats().threads), (1, 1));
}
