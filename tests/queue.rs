//! What a queue promises to its writers: order, each event once, an exact bound, a reason for each loss, a fair share.

mod common;

use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use common::{Bell, assert_closed, assert_ledger, concurrently, lone_worker, stall, still_pool, watched};
use sinkworks::test_util::{Blocking, Failing, Gate, NotReadyYet, Panicking, Recording};
use sinkworks::{
    Breaker, Broadcaster, Clock, CloseError, CloseReport, Delivery, DropReason, EventId, Failure, Journey, Overflow,
    Pool, Queue, Shutdown, Sink, SinkExt, WriteError, sink_fn,
};

#[test]
fn a_million_events_from_four_writers_arrive_once_each_and_in_the_order_of_each_writer() {
    let seen = Arc::new(Mutex::new([0; 4]));
    let into = seen.clone();
    let queue = Queue::new(sink_fn(move |&(writer, n): &(u64, u64)| {
        let next = &mut into.lock().unwrap()[usize::try_from(writer).unwrap()];
        assert_eq!(*next, n, "the next of writer {writer}");
        *next += 1;
        Ok(())
    }));
    concurrently(4, |writer| (0..250_000).for_each(|n| queue.send((writer, n)).unwrap()));
    let report = queue.close(Shutdown::Drain).unwrap();
    assert_eq!(*seen.lock().unwrap(), [250_000; 4]);
    assert_eq!(report.dropped(), 0);
    assert_ledger(&queue, 1_000_000, 1_000_000, &[]);
}

#[test]
fn events_of_one_writer_are_delivered_in_order_over_many_turns() {
    let (pool, _) = still_pool();
    let seen = Recording::new();
    // Not ready now and then, so that turns end in the middle.
    let queue = Queue::builder(NotReadyYet::new(1, seen.clone())).pool(&pool).build().unwrap();
    for event in 0..1000u64 {
        // By both ways in.
        if event % 2 == 0 { queue.send(event).unwrap() } else { queue.write(&event).unwrap() }
    }
    pool.wait_idle();
    assert!(seen.events().into_iter().eq(0..1000));
    assert_ledger(&queue, 1000, 1000, &[]);
}

#[test]
fn a_broadcast_makes_a_queue_ready_before_it_calls_the_next_sink() {
    let (delivered, deliveries) = mpsc::channel();
    let queue = Queue::new(sink_fn(move |event: &u32| {
        delivered.send(*event).unwrap();
        Ok(())
    }));
    let deliveries = Mutex::new(deliveries);
    let broadcaster = Broadcaster::new();
    broadcaster.add(queue).unwrap();
    let waits = sink_fn(move |_: &u32| {
        let delivered = deliveries.lock().unwrap().recv_timeout(Duration::from_secs(10));
        delivered.map(drop).map_err(|error| Failure::permanent(error).into())
    });
    broadcaster.add_required(waits).unwrap();
    broadcaster.write(&7).unwrap();
}

#[test]
fn each_write_that_finds_the_queue_idle_wakes_it() {
    let (tell, told) = mpsc::channel();
    let queue = Queue::new(sink_fn(move |event: &u64| {
        tell.send(*event).unwrap();
        Ok(())
    }));
    watched(move || {
        for event in 0..20_000 {
            queue.send(event).unwrap();
            assert_eq!(told.recv(), Ok(event));
        }
        queue.close(Shutdown::Drain).unwrap();
        assert_ledger(&queue, 20_000, 20_000, &[]);
    });
}

#[test]
fn a_bounded_queue_holds_exactly_its_capacity_whoever_writes() {
    for capacity in [1, 7, 100] {
        let pool = lone_worker();
        let gate = stall(&pool);
        let seen = Recording::new();
        let builder = Queue::builder(seen.clone()).pool(&pool).capacity(capacity).overflow(Overflow::Reject);
        let queue = builder.build().unwrap();
        assert_eq!(queue.capacity(), Some(capacity));
        concurrently(8, |writer| {
            for n in 0..50 {
                let answer = queue.write(&(writer * 50 + n));
                assert!(matches!(answer, Ok(()) | Err(WriteError::Full)), "{answer:?}");
            }
        });
        assert_ledger(&queue, capacity, 0, &[]);
        let refused = queue.send(1000).unwrap_err();
        assert!(matches!(refused.error, WriteError::Full), "{refused:?}");
        assert_eq!(refused.event, 1000, "the event comes back");
        gate.open();
        pool.wait_idle();
        assert_eq!(seen.len() as u64, capacity);
        queue.send(1000).unwrap();
        queue.close(Shutdown::Drain).unwrap();
        assert_ledger(&queue, capacity + 1, capacity + 1, &[]);
    }
}

#[test]
fn the_event_in_flight_counts_against_the_bound() {
    let (pool, _) = still_pool();
    let desk = common::Desk::default();
    let builder = Queue::builder(desk.clone()).pool(&pool).capacity(2).overflow(Overflow::Reject);
    let queue = builder.build().unwrap();
    queue.send(0).unwrap();
    pool.wait_idle();
    assert_eq!(desk.arrived(), 1);
    queue.send(1).unwrap();
    assert!(queue.send(2).is_err());
    desk.serve(1);
    pool.wait_idle();
    queue.send(2).unwrap();
    assert!(queue.send(3).is_err());
    desk.serve(2);
    queue.close(Shutdown::Drain).unwrap();
    assert_ledger(&queue, 3, 3, &[]);
}

#[test]
fn writers_of_a_full_queue_wait_for_room_and_all_get_in() {
    watched(|| {
        let seen = Recording::new();
        let queue = Queue::builder(seen.clone()).capacity(3).build().unwrap();
        concurrently(8, |writer| {
            for n in 0..500 {
                if n % 2 == 0 { queue.send((writer, n)).unwrap() } else { queue.write(&(writer, n)).unwrap() }
            }
        });
        queue.close(Shutdown::Drain).unwrap();
        for writer in 0..8 {
            assert!(seen.events().into_iter().filter(|(of, _)| *of == writer).map(|(_, n)| n).eq(0..500));
        }
        assert_ledger(&queue, 4000, 4000, &[]);
    });
}

#[test]
fn a_writer_that_waits_for_room_is_freed_by_a_close() {
    for how in [Shutdown::Drain, Shutdown::Abort] {
        watched(move || {
            let pool = lone_worker();
            let gate = stall(&pool);
            let queue = Queue::builder(Recording::new()).pool(&pool).capacity(1).build().unwrap();
            queue.send(0u64).unwrap();
            let (bell, waker) = Bell::new();
            let clock = Clock::system();
            let mut delivery = Delivery::resume_with(&waker, &clock, EventId(0), Journey::default());
            assert!(matches!(queue.try_write(&1, &mut delivery), Err(WriteError::NotReady(_))));
            thread::scope(|scope| {
                let writers: Vec<_> = (0..4)
                    .map(|n| {
                        let queue = &queue;
                        scope.spawn(move || queue.write(&n))
                    })
                    .collect();
                assert!(queue.poll_close(how, Waker::noop()).is_ready() == (how == Shutdown::Abort));
                for writer in writers {
                    assert_closed(&writer.join().unwrap());
                }
            });
            assert_eq!(bell.rung(), 1);
            assert_closed(&queue.try_write(&1, &mut delivery));
            gate.open();
            queue.close(Shutdown::Drain).unwrap();
            if how == Shutdown::Drain {
                assert_ledger(&queue, 1, 1, &[]);
            } else {
                assert_ledger(&queue, 1, 0, &[(DropReason::Abandoned, 1)]);
            }
        });
    }
}

#[test]
fn a_writer_that_gives_up_its_place_in_line_passes_its_wake_on() {
    let (pool, _) = still_pool();
    let desk = common::Desk::default();
    let queue = Queue::builder(desk.clone()).pool(&pool).capacity(1).build().unwrap();
    queue.send(0).unwrap();
    let ((first, first_waker), (second, second_waker)) = (Bell::new(), Bell::new());
    let clock = Clock::system();
    let mut gives_up = Delivery::resume_with(&first_waker, &clock, EventId(0), Journey::default());
    let mut stays = Delivery::resume_with(&second_waker, &clock, EventId(1), Journey::default());
    assert!(queue.try_write(&1, &mut gives_up).is_err());
    assert!(queue.try_write(&2, &mut stays).is_err());
    desk.serve(1);
    pool.wait_idle();
    assert_eq!((first.rung(), second.rung()), (1, 0), "in the order they came");
    drop(gives_up);
    assert_eq!(second.rung(), 1);
    queue.try_write(&2, &mut stays).unwrap();
    desk.serve(1);
    queue.close(Shutdown::Drain).unwrap();
    assert_ledger(&queue, 2, 2, &[]);
}

#[test]
fn each_lost_event_has_the_reason_that_its_sink_gave() {
    let (pool, _) = still_pool();
    let answers = sink_fn(|event: &u64| match event {
        0 => Ok(()),
        1 => Err(WriteError::Full),
        2 => Err(Failure::permanent("no").into()),
        3 => Err(Failure::transient("not now").into()),
        4 => Err(Failure::transient("not now").exhausted().into()),
        5 => panic!("told to panic"),
        _ => Err(WriteError::Closed),
    });
    let queue = Queue::builder(answers).pool(&pool).build().unwrap();
    let expected: &[&[(DropReason, u64)]] = &[
        &[],
        &[(DropReason::Overflow, 1)],
        &[(DropReason::Overflow, 1), (DropReason::Permanent, 1)],
        &[(DropReason::Overflow, 1), (DropReason::Permanent, 1), (DropReason::Exhausted, 1)],
        &[(DropReason::Overflow, 1), (DropReason::Permanent, 1), (DropReason::Exhausted, 2)],
        &[(DropReason::Overflow, 1), (DropReason::Permanent, 1), (DropReason::Exhausted, 2), (DropReason::Panicked, 1)],
    ];
    for (event, dropped) in (0u64..).zip(expected) {
        queue.send(event).unwrap();
        pool.wait_idle();
        assert_ledger(&queue, event + 1, 1, dropped);
    }
    queue.send(6).unwrap();
    pool.wait_idle();
    assert!(queue.is_closed());
    assert_eq!(queue.ledger().dropped[DropReason::DestinationClosed], 1);
    assert_eq!((queue.ledger().dropped.total(), queue.ledger().pending), (6, 0));
}

#[test]
fn a_retry_counts_no_loss_until_it_gives_up_and_a_permanent_failure_is_not_retried() {
    let (pool, _) = still_pool();
    let sink = Arc::new(
        sink_fn(|event: &u64| if *event == 0 { Err(Failure::permanent("no").into()) } else { Ok(()) })
            .retrying(Breaker::new(1, Duration::from_secs(1))),
    );
    let queue = Queue::builder(sink.clone()).pool(&pool).build().unwrap();
    queue.send(0).unwrap();
    queue.send(1).unwrap();
    pool.wait_idle();
    assert_eq!((sink.stats().permanent, sink.stats().retries, sink.stats().ok), (1, 0, 1));
    assert_ledger(&queue, 2, 1, &[(DropReason::Permanent, 1)]);
}

/// Records the ids that its events come with.
#[derive(Clone, Default)]
struct Ids(Arc<Mutex<Vec<(u64, EventId)>>>);

impl Sink<u64> for Ids {
    fn try_write(&self, event: &u64, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let mut ids = self.0.lock().unwrap();
        ids.push((*event, delivery.id()));
        let attempts = ids.iter().filter(|(of, _)| of == event).count();
        if attempts < 3 { Err(Failure::transient("again").into()) } else { Ok(()) }
    }
    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
}

#[test]
fn an_event_keeps_its_id_through_all_attempts_and_no_two_events_share_one() {
    let (pool, clock) = still_pool();
    let ids = Ids::default();
    let sink = ids.clone().retrying(Breaker::new(1, Duration::from_secs(1)));
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    for event in 0..5 {
        queue.send(event).unwrap();
    }
    for _ in 0..20 {
        pool.wait_idle();
        clock.advance(Duration::from_secs(1));
    }
    pool.wait_idle();
    let expected: Vec<_> = (0..5).flat_map(|event| [(event, EventId(event)); 3]).collect();
    assert_eq!(*ids.0.lock().unwrap(), expected, "its place in the queue, for each of three attempts");
    assert_ledger(&queue, 5, 5, &[]);

    // A blocking write has one of its own, the same through its attempts.
    let ids = Ids::default();
    let sink = ids.clone().retrying(Breaker::new(5, Duration::from_secs(1)));
    sink.write(&7).unwrap();
    sink.write(&8).unwrap();
    let ids = ids.0.lock().unwrap();
    assert!(ids[..3].iter().all(|id| *id == ids[0]) && ids[3..].iter().all(|id| *id == ids[3]));
    assert_ne!(ids[0].1, ids[3].1);
}

#[test]
fn a_queue_that_never_runs_dry_does_not_starve_another_on_the_same_worker() {
    watched(|| {
        let pool = Pool::dedicated("test").unwrap();
        // It feeds itself: for as long as it lives it has something to deliver.
        let busy = Arc::new(std::sync::OnceLock::<Queue<u64>>::new());
        let feed = busy.clone();
        let sink = sink_fn(move |event: &u64| {
            // Closed in the end.
            feed.get().expect("set before the first write").send(event + 1).unwrap_or_default();
            Ok(())
        });
        let gate = stall(&pool);
        let queue = Queue::builder(sink).pool(&pool).build().unwrap();
        assert!(busy.set(queue.clone()).is_ok());
        for _ in 0..1000 {
            queue.send(0).unwrap();
        }
        let (tell, told) = mpsc::channel();
        let quiet = Queue::builder(sink_fn(move |event: &u64| {
            tell.send(*event).unwrap();
            Ok(())
        }));
        let quiet = quiet.pool(&pool).build().unwrap();
        gate.open();
        for event in 0..100 {
            quiet.send(event).unwrap();
            assert_eq!(told.recv(), Ok(event));
        }
        assert!(queue.ledger().pending >= 999, "the other is as busy as ever");
        queue.close(Shutdown::Abort).unwrap();
        quiet.close(Shutdown::Drain).unwrap();
        assert_ledger(&quiet, 100, 100, &[]);
        assert!(queue.ledger().balances());
    });
}

#[test]
fn a_sink_that_blocks_for_ever_does_not_keep_a_new_queue_from_its_first_turn() {
    watched(|| {
        let (gate, (tell, told)) = (Gate::new(), mpsc::channel());
        let pool = Pool::builder().threads(2).max_threads(8).build().unwrap();
        let blocked = Queue::builder(Blocking::new(gate.clone(), Recording::new())).pool(&pool).build().unwrap();
        blocked.send(0u64).unwrap();
        gate.wait_for(1);
        while pool.stats().idle == 0 {
            thread::yield_now();
        }
        let sink = sink_fn(move |event: &u64| {
            tell.send(*event).unwrap();
            Ok(())
        });
        let queue = Queue::builder(sink).pool(&pool).build().unwrap();
        queue.send(1).unwrap();
        let answer = told.recv_timeout(Duration::from_secs(5));
        gate.open();
        assert_eq!(answer, Ok(1));
        blocked.close(Shutdown::Drain).unwrap();
        assert_ledger(&blocked, 1, 1, &[]);
    });
}

#[test]
fn a_failing_sink_and_a_panicking_one_do_not_stop_their_queues() {
    let (pool, _) = still_pool();
    let seen = Recording::new();
    let sink = Panicking::new(|event: &u64| event % 3 == 0, Failing::script([true, false, true], seen.clone()));
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    for event in 0..9 {
        queue.send(event).unwrap();
    }
    pool.wait_idle();
    assert_eq!(seen.events(), [2, 5, 7, 8]);
    assert_ledger(&queue, 9, 4, &[(DropReason::Panicked, 3), (DropReason::Exhausted, 2)]);
}

#[test]
fn a_clone_is_a_handle_on_the_same_queue_and_the_last_one_to_go_drains_it() {
    let (pool, _) = still_pool();
    let seen = Recording::new();
    let gate = stall(&pool);
    let queue = Queue::builder(seen.clone()).pool(&pool).build().unwrap();
    let clone = queue.clone();
    assert_eq!(queue.id(), clone.id());
    queue.send(0).unwrap();
    drop(queue);
    clone.send(1).unwrap();
    assert_ledger(&clone, 2, 0, &[]);
    drop(clone);
    gate.open();
    pool.wait_idle();
    assert_eq!((seen.events(), seen.closes()), (vec![0, 1], 1));
}
