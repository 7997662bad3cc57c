//! Required sinks of a broadcaster: what the writer is told, and who is offered the event again.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Desk, assert_ledger, offer, still_pool, watched};
use sinkworks::test_util::{Failing, ManualClock, NotReadyYet, Panicking, Recording, check_contract};
use sinkworks::{
    Breaker, Broadcaster, Class, DropReason, Failure, Journey, Overflow, Queue, RequiredSinkError, Shutdown, Sink,
    SinkExt, SinkId, SinkPanicked, WriteError, sink_fn,
};

const SECOND: Duration = Duration::from_secs(1);

fn breaker() -> Breaker {
    Breaker::new(1, SECOND)
}

/// A sink that always gives the same answer.
fn answering(error: impl Fn() -> WriteError + Send + Sync + 'static) -> Box<dyn Sink<u64>> {
    Box::new(sink_fn(move |_: &u64| Err(error())))
}

fn transient(text: &'static str) -> Failure {
    Failure::transient(text)
}

/// The failure of a write, and the sinks that it names.
#[track_caller]
fn refused(answer: Result<(), WriteError>) -> (Failure, Vec<(SinkId, WriteError)>) {
    let Err(WriteError::Failed(failure)) = answer else { panic!("expected a failure, got {answer:?}") };
    let cause = failure.cause().downcast_ref::<RequiredSinkError>().expect("the broadcaster's own error");
    let refused = cause.refused.clone();
    (failure, refused)
}

fn ids(refused: &[(SinkId, WriteError)]) -> Vec<SinkId> {
    refused.iter().map(|(id, _)| *id).collect()
}

#[test]
fn a_required_sink_that_fails_fails_the_write_and_the_others_get_the_event() {
    let broadcaster = Broadcaster::new();
    let (before, after, best_effort) = (Recording::new(), Recording::new(), Recording::new());
    broadcaster.add_required(before.clone()).unwrap();
    broadcaster.add(best_effort.clone()).unwrap();
    let failing = broadcaster.add_required(Failing::first(1, Recording::new())).unwrap();
    broadcaster.add_required(after.clone()).unwrap();
    let (failure, names) = refused(broadcaster.write(&1));
    assert_eq!((failure.class(), ids(&names)), (Class::Transient, vec![failing]));
    assert!(matches!(names[0].1, WriteError::Failed(_)));
    assert_eq!([before.len(), after.len(), best_effort.len()], [1, 1, 1]);
    broadcaster.write(&2).unwrap();
    assert_eq!([before.len(), after.len(), best_effort.len()], [2, 2, 2]);
}

#[test]
fn a_best_effort_sink_beside_it_fails_no_write() {
    let broadcaster = Broadcaster::new();
    broadcaster.add(answering(|| transient("down").into())).unwrap();
    broadcaster.add(answering(|| WriteError::Full)).unwrap();
    broadcaster.add_required(Recording::new()).unwrap();
    broadcaster.write(&1).unwrap();
    assert_eq!(broadcaster.lost()[DropReason::Exhausted], 1);
    assert_eq!(broadcaster.lost()[DropReason::Overflow], 1);
}

#[test]
fn the_class_says_whether_one_of_them_may_take_it_later() {
    type Answers = Vec<fn() -> WriteError>;
    let gone: fn() -> WriteError = || WriteError::Closed;
    let full: fn() -> WriteError = || WriteError::Full;
    let down: fn() -> WriteError = || transient("down").into();
    let bad: fn() -> WriteError = || Failure::permanent("bad").into();
    let gave_up: fn() -> WriteError = || transient("down").exhausted().into();
    let table: [(Answers, Class); 9] = [
        (vec![down], Class::Transient),
        (vec![full], Class::Transient),
        (vec![bad, down], Class::Transient),
        (vec![gone, full, gave_up], Class::Transient),
        (vec![bad], Class::Permanent),
        (vec![gone], Class::Permanent),
        (vec![gave_up], Class::Exhausted),
        (vec![gave_up, gave_up], Class::Exhausted),
        (vec![gave_up, bad], Class::Permanent),
    ];
    for (answers, class) in table {
        let broadcaster = Broadcaster::new();
        let expected: Vec<_> =
            answers.iter().map(|answer| broadcaster.add_required(answering(*answer)).unwrap()).collect();
        let (failure, names) = refused(broadcaster.write(&1));
        assert_eq!((failure.class(), ids(&names)), (class, expected), "{names:?}");
    }
}

#[test]
fn the_longest_retry_after_is_told_of_those_that_may_take_it_later() {
    let broadcaster = Broadcaster::new();
    for seconds in [3, 7, 5] {
        let asks = move || transient("busy").with_retry_after(seconds * SECOND).into();
        broadcaster.add_required(answering(asks)).unwrap();
    }
    broadcaster.add(answering(|| transient("best effort").with_retry_after(60 * SECOND).into())).unwrap();
    broadcaster.add_required(answering(|| Failure::permanent("bad").with_retry_after(90 * SECOND).into())).unwrap();
    let (failure, _) = refused(broadcaster.write(&1));
    assert_eq!(failure.retry_after(), Some(7 * SECOND));
}

#[test]
fn behind_a_queue_with_a_retry_each_sink_gets_each_event_once() {
    let (pool, clock) = still_pool();
    let [a, b, c, best_effort] = [(); 4].map(|()| Recording::new());
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(a.clone()).unwrap();
    broadcaster.add_required(Failing::script([true, true, false, true], b.clone())).unwrap();
    broadcaster.add(NotReadyYet::new(2, best_effort.clone())).unwrap();
    broadcaster.add_required(NotReadyYet::new(1, Failing::script([true], c.clone()))).unwrap();
    let queue = Queue::builder(broadcaster.clone().retrying(breaker())).pool(&pool).build().unwrap();
    for event in 0..3 {
        queue.send(event).unwrap();
    }
    for _ in 0..5 {
        pool.wait_idle();
        clock.advance(SECOND);
    }
    pool.wait_idle();
    for sink in [&a, &b, &c, &best_effort] {
        assert_eq!(sink.events(), [0, 1, 2]);
    }
    assert_eq!(b.attempts(), [(0, 3), (1, 2), (2, 1)], "the attempts of its own branch");
    assert_eq!(c.attempts(), [(0, 2), (1, 1), (2, 1)]);
    assert_eq!(broadcaster.writes(), 3, "a repetition is no new write");
    assert_eq!(broadcaster.lost().total(), 0);
    assert_ledger(&queue, 3, 3, &[]);
}

#[test]
fn a_direct_writer_with_a_retry_gets_ok_once_all_required_sinks_have_it() {
    let (a, b) = (Recording::new(), Recording::new());
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(a.clone()).unwrap();
    broadcaster.add_required(Failing::first(40, b.clone())).unwrap();
    // Below its threshold the breaker repeats at once.
    let sink = broadcaster.retrying(Breaker::new(100, SECOND));
    sink.write(&1).unwrap();
    assert_eq!((a.events(), b.attempts()), (vec![1], vec![(1, 41)]));
}

#[test]
fn a_sink_that_refuses_for_good_is_not_asked_again_and_not_forgotten() {
    let asked = Arc::new(AtomicU64::new(0));
    let seen = Recording::new();
    let broadcaster = Broadcaster::new();
    let counts = asked.clone();
    let bad = broadcaster
        .add_required(answering(move || {
            counts.fetch_add(1, Ordering::AcqRel);
            Failure::permanent("bad").into()
        }))
        .unwrap();
    broadcaster.add_required(Failing::first(3, seen.clone())).unwrap();
    let (failure, names) = refused(broadcaster.retrying(Breaker::new(100, SECOND)).write(&1));
    assert_eq!((failure.class(), ids(&names)), (Class::Permanent, vec![bad]));
    assert_eq!((asked.load(Ordering::Acquire), seen.events()), (1, vec![1]));
}

#[test]
fn while_one_is_not_ready_the_ones_that_refused_are_left_alone() {
    let clock = ManualClock::new();
    let (desk, failing) = (Desk::default(), Arc::new(Failing::always(Recording::new())));
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(failing.clone()).unwrap();
    broadcaster.add(desk.clone()).unwrap();
    let (mut answer, mut journey) = offer(&broadcaster, &1, &clock, Journey::default());
    for _ in 0..3 {
        assert!(matches!(answer, Err(WriteError::NotReady(_))), "{answer:?}");
        (answer, journey) = offer(&broadcaster, &1, &clock, journey);
    }
    assert_eq!(failing.failures(), 1);
    desk.serve(1);
    (answer, journey) = offer(&broadcaster, &1, &clock, journey);
    refused(answer);
    assert_eq!((failing.failures(), desk.arrived()), (1, 1));
    failing.set_failing(false);
    (answer, journey) = offer(&broadcaster, &1, &clock, journey);
    answer.unwrap();
    assert!(journey.is_at_start());
    assert_eq!(desk.arrived(), 1);
}

#[test]
fn a_required_sink_that_has_closed_stays_and_fails_each_write_until_it_is_removed() {
    let (gone, other) = (Recording::new(), Recording::new());
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(gone.clone()).unwrap();
    broadcaster.add(other.clone()).unwrap();
    Sink::<u64>::close(&gone, Shutdown::Drain).unwrap();
    for event in 0..3 {
        let (failure, names) = refused(broadcaster.write(&event));
        assert_eq!(failure.class(), Class::Permanent);
        assert!(matches!(names[..], [(id, WriteError::Closed)] if Some(id) == Sink::<u64>::id(&gone)));
    }
    assert_eq!((broadcaster.len(), broadcaster.evictions()), (2, 0));
    assert_eq!(other.events(), [0, 1, 2]);
    assert!(broadcaster.remove(&gone).unwrap());
    broadcaster.write(&3).unwrap();
    assert_eq!(broadcaster.lost().total(), 0);
}

#[test]
fn a_panic_of_a_required_sink_is_an_error_to_the_writer_and_the_others_get_the_event() {
    let (before, after) = (Recording::new(), Recording::new());
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(before.clone()).unwrap();
    let panicking =
        broadcaster.add_required(Panicking::new(|event: &u64| *event == 1, NotReadyYet::new(0, Recording::new())));
    broadcaster.add(after.clone()).unwrap();
    let (failure, names) = refused(broadcaster.clone().retrying(breaker()).write(&1));
    assert_eq!((failure.class(), ids(&names)), (Class::Permanent, vec![panicking.unwrap()]));
    let WriteError::Failed(own) = &names[0].1 else { panic!("{names:?}") };
    assert!(own.cause().is::<SinkPanicked>());
    assert_eq!((before.events(), after.events()), (vec![1], vec![1]));
    assert_eq!(broadcaster.lost().total(), 0, "the writer knows");
    broadcaster.write(&2).unwrap();
}

#[test]
fn a_panic_at_a_later_attempt_is_told_too() {
    let clock = ManualClock::new();
    let seen = Recording::new();
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(Failing::first(1, Panicking::new(|_: &u64| true, Recording::new()))).unwrap();
    broadcaster.add_required(Failing::first(1, seen.clone())).unwrap();
    let (answer, journey) = offer(&broadcaster, &1, &clock, Journey::default());
    assert_eq!(refused(answer).1.len(), 2);
    let (answer, journey) = offer(&broadcaster, &1, &clock, journey);
    assert_eq!(refused(answer).0.class(), Class::Permanent);
    assert!(journey.is_at_start(), "nothing is kept of what nobody repeats");
    assert_eq!(seen.events(), [1]);
}

#[test]
fn removing_the_sink_that_fails_frees_the_event_that_waits_for_it() {
    let (pool, clock) = still_pool();
    let (seen, failing) = (Recording::new(), Arc::new(Failing::always(Recording::new())));
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(seen.clone()).unwrap();
    broadcaster.add_required(failing.clone()).unwrap();
    let queue = Queue::builder(broadcaster.clone().retrying(breaker())).pool(&pool).build().unwrap();
    queue.send(0).unwrap();
    queue.send(1).unwrap();
    pool.wait_idle();
    assert!(!broadcaster.remove_and_wait(&failing, Duration::ZERO).unwrap(), "the event may yet be offered to it");
    clock.advance(SECOND);
    pool.wait_idle();
    assert!(broadcaster.remove_and_wait(&failing, Duration::ZERO).unwrap());
    assert_eq!((seen.events(), failing.failures()), (vec![0, 1], 1));
    assert_ledger(&queue, 2, 2, &[]);
}

#[test]
fn a_full_queue_is_asked_again_and_the_others_are_not() {
    let (pool, _clock) = still_pool();
    let stalled = common::stall(&pool);
    let (full_sees, other) = (Recording::new(), Recording::new());
    let full = Queue::builder(full_sees.clone()).pool(&pool).capacity(1).overflow(Overflow::Reject).build().unwrap();
    full.send(0).unwrap();
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(other.clone()).unwrap();
    broadcaster.add_required(full).unwrap();
    let clock = ManualClock::new();
    let (answer, journey) = offer(&broadcaster, &1, &clock, Journey::default());
    let (failure, names) = refused(answer);
    assert!(matches!(names[..], [(_, WriteError::Full)]));
    assert_eq!(failure.class(), Class::Transient);
    stalled.open();
    pool.wait_idle();
    let (answer, _) = offer(&broadcaster, &1, &clock, journey);
    answer.unwrap();
    pool.wait_idle();
    assert_eq!((full_sees.events(), other.events()), (vec![0, 1], vec![1]));
}

#[test]
fn without_a_retry_the_queue_in_front_counts_the_drop() {
    let (pool, _clock) = still_pool();
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(Failing::first(1, Recording::new())).unwrap();
    broadcaster.add_required(Panicking::new(|event: &u64| *event == 2, Recording::new())).unwrap();
    let queue = Queue::builder(broadcaster).pool(&pool).build().unwrap();
    for event in 1..=3 {
        queue.send(event).unwrap();
    }
    pool.wait_idle();
    assert_ledger(&queue, 3, 1, &[(DropReason::Exhausted, 1), (DropReason::Permanent, 1)]);
}

#[test]
fn a_required_broadcaster_in_a_required_broadcaster_goes_on_where_it_stopped() {
    let clock = ManualClock::new();
    let [a, b, c] = [(); 3].map(|()| Recording::new());
    let (inner, outer) = (Broadcaster::new(), Broadcaster::new());
    inner.add_required(Failing::first(2, NotReadyYet::new(1, a.clone()))).unwrap();
    inner.add_required(b.clone()).unwrap();
    outer.add_required(c.clone()).unwrap();
    // A stage in between with a state of its own.
    outer.add_required(NotReadyYet::new(1, inner)).unwrap();
    let sink = outer.filtered(|_: &u64| true).retrying(breaker());
    let (mut answer, mut journey) = offer(&sink, &1, &clock, Journey::default());
    while answer.is_err() {
        assert!(matches!(answer, Err(WriteError::NotReady(_))), "{answer:?}");
        clock.advance(SECOND);
        (answer, journey) = offer(&sink, &1, &clock, journey);
    }
    for sink in [&a, &b, &c] {
        assert_eq!(sink.events(), [1]);
    }
}

#[test]
fn a_sink_that_is_there_becomes_required_and_stays_so() {
    let broadcaster = Broadcaster::new();
    let failing = Arc::new(Failing::always(Recording::new()));
    let id = broadcaster.add(failing.clone()).unwrap();
    broadcaster.write(&1).unwrap();
    assert_eq!(broadcaster.add_required(failing.clone()).unwrap(), id);
    refused(broadcaster.write(&2));
    broadcaster.add(failing).unwrap();
    refused(broadcaster.write(&3));
    assert_eq!((broadcaster.len(), broadcaster.lost().total()), (1, 1));
    broadcaster.close(Shutdown::Drain).unwrap();
    common::assert_closed(&broadcaster.add_required(Recording::new()));
}

#[test]
fn the_error_tells_the_sinks_and_the_first_cause_and_no_event() {
    let broadcaster = Broadcaster::new();
    let a = broadcaster.add_required(answering(|| WriteError::Full)).unwrap();
    let b = broadcaster.add_required(answering(|| WriteError::Closed)).unwrap();
    let (failure, _) = refused(broadcaster.write(&424_242));
    assert_eq!(failure.to_string(), format!("not taken by the required sinks {a}, {b}"));
    assert_eq!(std::error::Error::source(&failure).unwrap().to_string(), "the sink is full");
    assert!(!format!("{failure:?}").contains("424242"));
}

/// Removes itself when it is written to, and panics when it is dropped.
struct DropsBadly(Broadcaster<u64>, SinkId);

impl Drop for DropsBadly {
    fn drop(&mut self) {
        panic!("told to panic");
    }
}

#[test]
fn the_drop_of_a_sink_that_was_removed_during_a_write_is_no_affair_of_the_writer() {
    for not_ready in [false, true] {
        let clock = ManualClock::new();
        let (broadcaster, after) = (Broadcaster::new(), Recording::new());
        let id = SinkId::unique();
        let bad = DropsBadly(broadcaster.clone(), id);
        let once = AtomicU64::new(0);
        let acting = sink_fn(move |_: &u64| {
            // All of it, so that the sink owns it.
            let DropsBadly(broadcaster, id) = &bad;
            if not_ready && once.fetch_add(1, Ordering::AcqRel) == 0 {
                return Err(WriteError::not_ready_until(std::time::Instant::now()));
            }
            broadcaster.remove_id(*id).map(|_| ())
        });
        broadcaster.add(Named(acting, id)).unwrap();
        broadcaster.add(after.clone()).unwrap();
        let (mut answer, journey) = offer(&broadcaster, &1, &clock, Journey::default());
        if not_ready {
            assert!(matches!(answer, Err(WriteError::NotReady(_))));
            (answer, _) = offer(&broadcaster, &1, &clock, journey);
        }
        answer.unwrap();
        assert_eq!((broadcaster.len(), after.len()), (1, 1));
        assert_eq!(broadcaster.lost().total(), 0);
    }
}

/// A sink with an id that is known before it is made.
struct Named<S>(S, SinkId);

impl<S: Sink<u64>> Sink<u64> for Named<S> {
    fn try_write(&self, event: &u64, delivery: &mut sinkworks::Delivery<'_>) -> Result<(), WriteError> {
        self.0.try_write(event, delivery)
    }
    fn poll_close(
        &self,
        how: Shutdown,
        waker: &std::task::Waker,
    ) -> std::task::Poll<Result<sinkworks::CloseReport, sinkworks::CloseError>> {
        self.0.poll_close(how, waker)
    }
    fn id(&self) -> Option<SinkId> {
        Some(self.1)
    }
}

#[test]
fn a_broadcaster_with_required_sinks_keeps_the_contract() {
    let make = || {
        let broadcaster = Broadcaster::<u64>::new();
        broadcaster.add_required(NotReadyYet::new(2, Recording::new())).unwrap();
        broadcaster.add_required(Queue::new(Recording::new())).unwrap();
        broadcaster
    };
    check_contract(make, &1);
    let failing = || {
        let broadcaster = make();
        broadcaster.add_required(NotReadyYet::new(1, Failing::first(3, Recording::new()))).unwrap();
        broadcaster.retrying(Breaker::new(1, Duration::from_millis(1)))
    };
    check_contract(failing, &1);
}

/// A writer that waits for a sink's room, and nobody will ever make any: taking the sink away lets the writer go.
#[test]
fn a_writer_that_waits_for_a_sink_that_is_removed_goes_on() {
    watched(|| {
        let (pool, _clock) = still_pool();
        let stuck = Queue::builder(Desk::default()).pool(&pool).capacity(1).build().unwrap();
        let seen = Recording::new();
        let broadcaster = Broadcaster::new();
        broadcaster.add(stuck.clone()).unwrap();
        broadcaster.add(seen.clone()).unwrap();
        broadcaster.write(&1_u64).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| broadcaster.write(&2));
            // The others have the event before the writer waits.
            while seen.len() < 2 {
                std::thread::yield_now();
            }
            broadcaster.remove(&stuck).unwrap();
            writer.join().unwrap().unwrap();
        });
        assert_eq!((seen.events(), broadcaster.lost()[DropReason::Abandoned]), (vec![1, 2], 1));
        broadcaster.write(&3).unwrap();
        broadcaster.close(Shutdown::Drain).unwrap();
        assert_eq!(seen.events(), [1, 2, 3]);
    });
}

/// The same for a queue in front, which is woken.
#[test]
fn a_queue_whose_event_waits_for_a_sink_that_is_removed_is_woken() {
    let (pool, _clock) = still_pool();
    let desk = Desk::default();
    let broadcaster = Broadcaster::new();
    let id = broadcaster.add(desk).unwrap();
    let queue = Queue::builder(broadcaster.clone()).pool(&pool).build().unwrap();
    queue.send(1_u64).unwrap();
    pool.wait_idle();
    assert_eq!(queue.ledger().pending, 1);
    broadcaster.remove_id(id).unwrap();
    pool.wait_idle();
    assert_eq!((queue.ledger().delivered, broadcaster.lost()[DropReason::Abandoned]), (1, 1));
}
