//! Closing at awkward moments: while the pool grows, during the wait for a retry, from inside the sinks, and from everywhere at once.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{assert_ledger, concurrently, still_pool, watched};
use sinkworks::test_util::{Blocking, Failing, Gate, Recording};
use sinkworks::{
    Breaker, Broadcaster, CloseError, CloseReport, DropReason, Pool, Queue, Shutdown, Sink, SinkExt, sink_fn,
};

const QUEUES: u64 = 24;

/// The pool starts a thread for each of these sinks; closers come while it does.
#[test]
fn queues_are_closed_by_two_threads_each_while_the_pool_grows_for_them() {
    for how in [Shutdown::Drain, Shutdown::within(Duration::from_secs(20)), Shutdown::Abort] {
        watched(move || {
            let pool = Pool::builder().threads(1).max_threads(64).build().unwrap();
            let gate = Gate::new();
            let seen = Recording::new();
            let queue = |_| {
                let sink = Blocking::new(gate.clone(), seen.clone());
                let queue = Queue::builder(sink).pool(&pool).build().unwrap();
                (0..3).for_each(|event| queue.send(event).unwrap());
                queue
            };
            let queues: Vec<Queue<u64>> = (0..QUEUES).map(queue).collect();
            gate.wait_for(1);
            let reports = Mutex::new(Vec::new());
            concurrently(2 * QUEUES + 1, |number| {
                if number == 2 * QUEUES {
                    // Some are blocked, others have no thread yet; an abort leaves those for good.
                    gate.wait_for(if how == Shutdown::Abort { 1 } else { QUEUES / 2 });
                    gate.open();
                    return;
                }
                let queue = &queues[usize::try_from(number / 2).unwrap()];
                let report = queue.close(how).unwrap();
                reports.lock().unwrap().push((queue.id().unwrap(), report));
            });
            pool.wait_idle();
            for (id, report) in reports.into_inner().unwrap() {
                let reported = report.component(id).unwrap().ledger;
                let queue = queues.iter().find(|queue| queue.id() == Some(id)).unwrap();
                let ledger = queue.ledger();
                assert_eq!((reported.accepted, ledger.accepted, ledger.pending), (3, 3, 0));
                assert!(ledger.delivered >= reported.delivered, "{reported:?} {ledger:?}");
                assert!(ledger.delivered <= reported.delivered + reported.pending, "{reported:?} {ledger:?}");
            }
            let delivered: u64 = queues.iter().map(|queue| queue.ledger().delivered).sum();
            assert_eq!(delivered, seen.len() as u64);
        });
    }
}

#[test]
fn a_close_in_the_wait_for_a_retry_ends_as_it_says() {
    // A drain makes one more attempt each, which fails.
    for (how, attempts) in [(Shutdown::Drain, 6), (Shutdown::Abort, 1)] {
        let (pool, _clock) = still_pool();
        let failing = Failing::always(Recording::new());
        let counting = Arc::new(failing);
        let sink = counting.clone().retrying(Breaker::new(1, Duration::from_secs(3600)));
        let queue = Queue::builder(sink).pool(&pool).build().unwrap();
        (0..5).for_each(|event| queue.send(event).unwrap());
        pool.wait_idle();
        assert_eq!(counting.failures(), 1, "the breaker is open");
        queue.close(how).unwrap();
        assert_ledger(&queue, 5, 0, &[(DropReason::Abandoned, 5)]);
        assert_eq!(counting.failures(), attempts);
    }
}

/// What a sink gets that closes the pipeline it is part of.
type Answers = Arc<Mutex<Vec<Result<CloseReport, CloseError>>>>;

#[test]
fn a_sink_that_closes_the_whole_chain_does_not_wait_for_itself_and_everything_is_accounted_for() {
    for how in [Shutdown::Drain, Shutdown::within(Duration::from_secs(20)), Shutdown::Abort] {
        watched(move || {
            let (pool, _clock) = still_pool();
            let chain: Arc<Mutex<Option<Broadcaster<u64>>>> = Arc::default();
            let answers: Answers = Arc::default();
            let sink = {
                let (chain, answers) = (chain.clone(), answers.clone());
                sink_fn(move |event: &u64| {
                    if *event == 1 {
                        let top = chain.lock().unwrap().clone().unwrap();
                        answers.lock().unwrap().push(top.close(how));
                    }
                    Ok(())
                })
            };
            let second = Queue::builder(sink).name("second").pool(&pool).capacity(2).build().unwrap();
            let first = Queue::builder(second.clone()).name("first").pool(&pool).build().unwrap();
            let top = Broadcaster::new();
            top.add(first.clone()).unwrap();
            *chain.lock().unwrap() = Some(top.clone());
            for event in 0..4 {
                // Refused once the sink has closed it.
                let _ = first.send(event);
            }
            pool.wait_idle();
            let report = top.close(how).unwrap();
            chain.lock().unwrap().take();
            let answers = std::mem::take(&mut *answers.lock().unwrap());
            // An abort needs nobody, and so has nothing to wait for: it answers with the event of this very sink in flight.
            match &answers[..] {
                [Ok(report)] if how == Shutdown::Abort => assert_eq!(report.in_flight(), 1),
                [Err(CloseError::OnWorker)] => assert_ne!(how, Shutdown::Abort),
                other => panic!("{how:?}: {other:?}"),
            }
            for queue in [&first, &second] {
                let reported = report.component(queue.id().unwrap()).unwrap().ledger;
                assert!(reported.balances() && queue.ledger().pending == 0, "{how:?}: {reported:?} {queue:?}");
            }
            assert_eq!(first.ledger().delivered, second.ledger().accepted);
        });
    }
}

/// A nest with a diamond in it, closed by eight threads with different modes.
#[test]
fn everybody_closes_a_nest_at_once_and_gets_the_same_account() {
    for round in 0..30 {
        watched(move || {
            let pool = Pool::builder().threads(2).build().unwrap();
            let seen = Recording::new();
            let shared = Queue::builder(seen.clone()).pool(&pool).build().unwrap();
            let failing = Failing::always(Recording::new()).retrying(Breaker::new(1, Duration::from_millis(1)));
            let broken = Queue::builder(failing).pool(&pool).capacity(1000).build().unwrap();
            let (left, right, top) = (Broadcaster::new(), Broadcaster::new(), Broadcaster::new());
            left.add(shared.clone()).unwrap();
            left.add(broken.clone()).unwrap();
            right.add(shared.clone()).unwrap();
            top.add(left.clone()).unwrap();
            top.add(right).unwrap();
            let head = Queue::builder(top).pool(&pool).build().unwrap();
            (0..100_u64).for_each(|event| head.send(event).unwrap());
            let grace = Duration::from_millis(round % 7);
            let reports = Mutex::new(Vec::new());
            concurrently(8, |number| {
                let how = match number % 3 {
                    0 => Shutdown::Drain,
                    1 => Shutdown::within(grace),
                    _ => Shutdown::within(Duration::from_millis(20)),
                };
                let sink: &dyn Sink<u64> = if number == 7 { &left } else { &head };
                let report = sink.close(how).unwrap();
                if number != 7 {
                    reports.lock().unwrap().push(report);
                }
            });
            pool.wait_idle();
            for queue in [&head, &shared, &broken] {
                let ledger = queue.ledger();
                assert!(ledger.balances() && ledger.pending == 0, "{queue:?}");
                for report in reports.lock().unwrap().iter() {
                    // The left half may have been closed and evicted first: then it is not in the report of the whole.
                    let Some(reported) = report.component(queue.id().unwrap()) else { continue };
                    let reported = reported.ledger;
                    assert_eq!(reported.accepted, ledger.accepted);
                    assert!(ledger.delivered - reported.delivered <= reported.pending, "{reported:?} {ledger:?}");
                }
            }
            assert_eq!(shared.ledger().delivered, seen.len() as u64);
            assert_eq!((broken.ledger().delivered, head.ledger().accepted), (0, 100));
        });
    }
}
