//! Sinks in sinks: every event once to every leaf, attempts counted for each branch, every component once in a report.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Desk, assert_books, assert_ledger, offer, still_pool};
use sinkworks::test_util::{Failing, ManualClock, NotReadyYet, Panicking, Recording};
use sinkworks::{
    Breaker, Broadcaster, CloseReport, Delivery, DropReason, ExponentialBackoff, Failure, Journey, Pool, Queue,
    RetryStrategy, Shutdown, Sink, SinkExt, WriteError,
};

const SECOND: Duration = Duration::from_secs(1);

/// Retry(Broadcaster(a, Broadcaster(Retry(b), Retry(c)))) behind a queue, where `b` and `c` are wrapped as a test says.
struct Nest {
    queue: Queue<u64>,
    leaves: [Recording<u64>; 3],
    pool: Pool,
    clock: ManualClock,
}

impl Nest {
    fn new<R, B, C>(
        strategy: impl Fn() -> R,
        a_hesitates: u32,
        wrap_b: impl FnOnce(Recording<u64>) -> B,
        wrap_c: impl FnOnce(Recording<u64>) -> C,
    ) -> Self
    where
        R: RetryStrategy + 'static,
        B: Sink<u64> + 'static,
        C: Sink<u64> + 'static,
    {
        let (pool, clock) = still_pool();
        let leaves = [Recording::new(), Recording::new(), Recording::new()];
        let [a, b, c] = leaves.clone();
        let inner = Broadcaster::new();
        inner.add(wrap_b(b).retrying(strategy())).unwrap();
        inner.add(wrap_c(c).retrying(strategy())).unwrap();
        let outer = Broadcaster::new();
        outer.add(NotReadyYet::new(a_hesitates, a)).unwrap();
        outer.add(inner).unwrap();
        let queue = Queue::builder(outer.retrying(strategy())).pool(&pool).build().unwrap();
        Self { queue, leaves, pool, clock }
    }

    /// Lets time pass until the queue has nothing pending.
    fn run(&self) {
        for _ in 0..1000 {
            self.pool.wait_idle();
            if self.queue.ledger().pending == 0 {
                return;
            }
            self.clock.advance(SECOND);
        }
        panic!("still pending: {:?}", self.queue);
    }

    /// The attempts that brought the events, leaf by leaf. Checks that each leaf has each event once, in order.
    fn attempts(&self) -> [Vec<u32>; 3] {
        let sent = self.queue.ledger().accepted;
        self.leaves.clone().map(|leaf| {
            assert!(leaf.events().into_iter().eq(0..sent), "each event once, in order: {:?}", leaf.events());
            leaf.attempts().into_iter().map(|(_, attempt)| attempt).collect()
        })
    }
}

fn breaker() -> Breaker {
    Breaker::new(1, SECOND)
}

fn backoff() -> ExponentialBackoff {
    ExponentialBackoff::builder().factor(SECOND).max(4 * SECOND).seed(7).build().unwrap()
}

fn each_branch_counts_its_own_attempts<R: RetryStrategy + 'static>(strategy: impl Fn() -> R) {
    let b_script = [true, true, false, false, true, false];
    let c_script = [true, false, false, true, true, true];
    let nest = Nest::new(strategy, 3, |b| Failing::script(b_script, b), |c| Failing::script(c_script, c));
    for event in 0..4 {
        nest.queue.send(event).unwrap();
    }
    nest.run();
    assert_eq!(nest.attempts(), [vec![1, 1, 1, 1], vec![3, 1, 2, 1], vec![2, 1, 4, 1]]);
    nest.queue.close(Shutdown::Drain).unwrap();
    assert!(nest.leaves.iter().all(|leaf| leaf.closes() == 1));
    assert_ledger(&nest.queue, 4, 4, &[]);
}

#[test]
fn each_branch_counts_its_own_attempts_with_a_breaker() {
    each_branch_counts_its_own_attempts(breaker);
}

#[test]
fn each_branch_counts_its_own_attempts_with_a_backoff() {
    each_branch_counts_its_own_attempts(backoff);
}

#[test]
fn each_branch_counts_its_own_attempts_with_both() {
    each_branch_counts_its_own_attempts(|| (backoff(), breaker()));
}

#[test]
fn leaves_that_hesitate_at_every_level_get_each_event_once() {
    let nest = Nest::new(
        || (backoff(), breaker()),
        2,
        |b| NotReadyYet::new(1, Failing::first(2, NotReadyYet::new(3, b))),
        |c| Failing::first(3, NotReadyYet::new(2, c)),
    );
    for event in 0..5 {
        nest.queue.send(event).unwrap();
    }
    nest.run();
    assert_eq!(nest.attempts(), [vec![1; 5], vec![3, 1, 1, 1, 1], vec![4, 1, 1, 1, 1]]);
    assert_ledger(&nest.queue, 5, 5, &[]);
}

#[test]
fn a_branch_that_waits_does_not_make_the_others_get_the_event_again() {
    let desk = Desk::default();
    let nest = Nest::new(breaker, 0, |b| b, |_| desk.clone());
    for event in 0..3 {
        nest.queue.send(event).unwrap();
    }
    for served in 1..=3 {
        nest.pool.wait_idle();
        let [a, b, _] = &nest.leaves;
        assert_eq!((a.len(), b.len(), desk.arrived()), (served, served, served as u64));
        desk.serve(1);
    }
    nest.pool.wait_idle();
    assert_eq!(desk.served(), 3);
    assert_ledger(&nest.queue, 3, 3, &[]);
}

#[test]
fn a_filter_in_the_middle_is_transparent() {
    let (pool, clock) = still_pool();
    let (even, all) = (Recording::new(), Recording::new());
    let inner = Broadcaster::new();
    let hesitant = NotReadyYet::new(2, Failing::first(2, even.clone()));
    inner.add(hesitant.retrying(breaker()).filtered(|event: &u64| event % 2 == 0)).unwrap();
    inner.add(all.clone()).unwrap();
    let chain = inner.filtered(|event: &u64| *event < 10).retrying(breaker());
    let queue = Queue::builder(chain).pool(&pool).build().unwrap();
    for event in 0..20 {
        queue.send(event).unwrap();
    }
    for _ in 0..5 {
        pool.wait_idle();
        clock.advance(SECOND);
    }
    pool.wait_idle();
    assert_eq!(even.attempts(), [(0, 3), (2, 1), (4, 1), (6, 1), (8, 1)]);
    assert!(all.events().into_iter().eq(0..10));
    queue.close(Shutdown::Drain).unwrap();
    assert_ledger(&queue, 20, 20, &[]);
}

#[test]
fn time_limits_and_fallbacks_in_the_branches_are_transparent_to_what_they_pass() {
    let spare = Recording::new();
    let nest = Nest::new(
        || (backoff(), breaker()),
        2,
        |b| NotReadyYet::new(2, Failing::first(2, b)).time_limit(3600 * SECOND),
        |c| NotReadyYet::new(1, Failing::first(1, c)).fallback(NotReadyYet::new(2, Failing::first(1, spare.clone()))),
    );
    for event in 0..5 {
        nest.queue.send(event).unwrap();
    }
    nest.run();
    // The spare one fails too, so that the next attempt is the second on either way.
    assert_eq!(nest.attempts(), [vec![1; 5], vec![3, 1, 1, 1, 1], vec![2, 1, 1, 1, 1]]);
    assert!(spare.is_empty());
    assert_ledger(&nest.queue, 5, 5, &[]);
}

/// A queue behind a broadcaster, reached on two ways.
fn diamond(sink: impl Sink<u64> + 'static) -> (Queue<u64>, Queue<u64>) {
    let shared = Queue::builder(sink).name("shared").build().unwrap();
    let broadcaster = Broadcaster::new();
    // As two sinks: each filter has an id of its own.
    broadcaster.add(shared.clone().filtered(|event: &u64| event % 2 == 0)).unwrap();
    broadcaster.add(shared.clone().filtered(|event: &u64| event % 3 == 0)).unwrap();
    (Queue::builder(broadcaster).name("top").build().unwrap(), shared)
}

#[track_caller]
fn assert_counted_once(report: &CloseReport, queues: [(&Queue<u64>, u64); 2]) {
    assert_eq!(report.components().count(), 2);
    for (queue, events) in queues {
        let component = report.component(queue.id().unwrap()).unwrap();
        assert_eq!(&*component.name, queue.name());
        assert_books(&component.ledger, events, events, &[]);
    }
    assert_eq!((report.dropped(), report.in_flight()), (0, 0));
}

#[test]
fn a_queue_that_is_reached_on_two_ways_counts_once_in_the_report() {
    let seen = Recording::new();
    let (top, shared) = diamond(seen.clone());
    for event in 0..12 {
        top.send(event).unwrap();
    }
    let report = top.close(Shutdown::Drain).unwrap();
    // 0, 2, … 10 on one way, 0, 3, 6, 9 on the other.
    assert_counted_once(&report, [(&top, 12), (&shared, 10)]);
    assert_eq!((seen.len(), seen.closes()), (10, 1));
    // A second closer, and one of the shared queue alone, are told the same.
    assert_counted_once(&top.close(Shutdown::Abort).unwrap(), [(&top, 12), (&shared, 10)]);
    let mut twice = report.clone();
    twice.merge(shared.close(Shutdown::Drain).unwrap());
    assert_counted_once(&twice, [(&top, 12), (&shared, 10)]);
}

/// A leaf that cannot close.
#[derive(Debug)]
struct Stuck;

impl Sink<u64> for Stuck {
    fn try_write(&self, _: &u64, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        Ok(())
    }
    fn poll_close(
        &self,
        _: Shutdown,
        _: &std::task::Waker,
    ) -> std::task::Poll<Result<CloseReport, sinkworks::CloseError>> {
        std::task::Poll::Ready(Err(sinkworks::CloseError::Failed(Failure::transient("stuck"))))
    }
}

#[test]
fn a_sink_that_fails_to_close_and_is_reached_on_two_ways_counts_once_in_the_report() {
    let (top, _shared) = diamond(Stuck);
    assert_eq!(top.close(Shutdown::Drain).unwrap().errors().len(), 1);
}

/// Passes on, and fails while its child has lost something since the last attempt: a stage that insists.
struct Insisting(Arc<Broadcaster<u64>>);

impl Sink<u64> for Insisting {
    fn try_write(&self, event: &u64, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let before = self.0.lost().total();
        self.0.try_write(event, delivery)?;
        if self.0.lost().total() == before { Ok(()) } else { Err(Failure::transient("lost by one").into()) }
    }
    fn poll_close(
        &self,
        how: Shutdown,
        waker: &std::task::Waker,
    ) -> std::task::Poll<Result<CloseReport, sinkworks::CloseError>> {
        self.0.poll_close(how, waker)
    }
}

#[test]
fn a_panic_in_one_branch_leaves_the_history_of_the_stages_above_it_alone() {
    let (pool, clock) = still_pool();
    let seen = Recording::new();
    let broadcaster = Arc::new(Broadcaster::new());
    broadcaster.add(Panicking::new(|_: &u64| true, Recording::new())).unwrap();
    broadcaster.add(seen.clone()).unwrap();
    let sink = Insisting(broadcaster).retrying(breaker());
    let (mut answer, mut journey) = offer(&sink, &1, &clock, Journey::default());
    for attempt in 1..=5 {
        assert!(matches!(answer, Err(WriteError::NotReady(_))), "{answer:?}");
        assert_eq!(journey.history().unwrap().attempts, attempt);
        assert_eq!(seen.len(), attempt as usize);
        clock.advance(SECOND);
        (answer, journey) = offer(&sink, &1, &clock, journey);
    }
    drop(pool);
}

/// Saves a state and panics over it.
struct SavesAndPanics;

impl Sink<u64> for SavesAndPanics {
    fn try_write(&self, _: &u64, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        delivery.save("mine");
        panic!("told to panic");
    }
    fn poll_close(
        &self,
        _: Shutdown,
        _: &std::task::Waker,
    ) -> std::task::Poll<Result<CloseReport, sinkworks::CloseError>> {
        std::task::Poll::Ready(Ok(CloseReport::new()))
    }
}

#[test]
fn what_a_panicking_branch_has_saved_is_not_taken_for_a_state_of_the_stages_above_it() {
    let (pool, clock) = still_pool();
    let (inner, outer, seen) = (Broadcaster::new(), Arc::new(Broadcaster::new()), Recording::new());
    inner.add(SavesAndPanics.retrying(breaker())).unwrap();
    inner.add(NotReadyYet::new(1, seen.clone())).unwrap();
    outer.add(inner).unwrap();
    let queue = Queue::builder(Insisting(outer.clone()).retrying(breaker())).pool(&pool).build().unwrap();
    queue.send(0).unwrap();
    for _ in 0..3 {
        pool.wait_idle();
        clock.advance(SECOND);
    }
    pool.wait_idle();
    assert_eq!(outer.lost().total(), 0, "the panic is the inner broadcaster's");
    assert_eq!(seen.attempts(), [(0, 1)]);
    queue.close(Shutdown::Drain).unwrap();
    assert_ledger(&queue, 1, 1, &[]);
}

#[test]
fn a_branch_that_closes_is_evicted_and_the_rest_of_the_nest_goes_on() {
    let nest = Nest::new(breaker, 0, |b| b, |c| c);
    nest.queue.send(0).unwrap();
    nest.pool.wait_idle();
    Sink::<u64>::close(&nest.leaves[1], Shutdown::Drain).unwrap();
    nest.queue.send(1).unwrap();
    nest.queue.send(2).unwrap();
    nest.pool.wait_idle();
    assert_eq!(nest.leaves[1].events(), [0]);
    assert_eq!(nest.leaves[0].events(), [0, 1, 2]);
    assert_eq!(nest.leaves[2].events(), [0, 1, 2]);
    assert_ledger(&nest.queue, 3, 3, &[]);
    nest.queue.close(Shutdown::Abort).unwrap();
}

#[test]
fn an_abort_in_the_middle_of_a_nest_abandons_the_event_once() {
    let nest = Nest::new(breaker, 0, Failing::always, Failing::always);
    nest.queue.send(0).unwrap();
    nest.queue.send(1).unwrap();
    nest.pool.wait_idle();
    let report = nest.queue.close(Shutdown::Abort).unwrap();
    assert_eq!(report.abandoned(), 2);
    assert_ledger(&nest.queue, 2, 0, &[(DropReason::Abandoned, 2)]);
    assert_eq!(nest.leaves[0].events(), [0], "a had its part of the first");
}
