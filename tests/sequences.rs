//! Random sequences of operations on one queue or channel, each compared, step by step, with a few lines that say what it should do.

#[path = "common/fuzz.rs"]
mod fuzz;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use fuzz::explore;
use proptest::collection::vec;
use proptest::prelude::*;
use sinkworks::test_util::ManualClock;
use sinkworks::{
    Channel, CloseError, CloseReport, Delivery, DropReason, Failure, Ledger, Overflow, Pool, Queue, RecvError,
    Shutdown, Sink, WriteError,
};

const HOUR: Duration = Duration::from_secs(3600);

const POLICIES: [Overflow; 6] = [
    Overflow::Block,
    Overflow::BlockFor(HOUR),
    Overflow::Reject,
    Overflow::DropNewest,
    Overflow::DropOldest,
    Overflow::Disconnect,
];

fn bounds() -> impl Strategy<Value = Option<(u64, Overflow)>> {
    prop_oneof![1 => Just(None), 6 => (1..4_u64, proptest::sample::select(&POLICIES[..])).prop_map(Some)]
}

/// How a write is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Ok,
    Closed,
    Full,
    NotReady,
}

impl Answer {
    fn of(answer: Result<(), WriteError>) -> Self {
        match answer {
            Ok(()) => Self::Ok,
            Err(WriteError::Closed) => Self::Closed,
            Err(WriteError::Full) => Self::Full,
            Err(WriteError::NotReady(_)) => Self::NotReady,
            Err(other) => panic!("{other}"),
        }
    }
}

/// The books that a model keeps.
#[derive(Debug, Default)]
struct Books {
    accepted: u64,
    delivered: u64,
    dropped: [u64; DropReason::ALL.len()],
    refused: u64,
}

impl Books {
    fn drop(&mut self, reason: DropReason, events: u64) {
        self.dropped[reason as usize] += events;
    }

    #[track_caller]
    fn check(&self, ledger: &Ledger, pending: usize) {
        let dropped = DropReason::ALL.map(|reason| ledger.dropped[reason]);
        let told = (ledger.accepted, ledger.delivered, dropped, ledger.pending);
        assert_eq!(told, (self.accepted, self.delivered, self.dropped, pending as u64), "{ledger:?}");
    }
}

#[derive(Debug, Clone)]
enum Read {
    Write,
    Receive,
    Close,
}

/// What a reader comes to: an event, or a gap.
enum Item {
    Event(u64),
    Gap(u64),
}

#[derive(Default)]
struct ChannelModel {
    items: VecDeque<Item>,
    /// What was taken out before the first item.
    evicted: u64,
    closed: bool,
    cut_off: bool,
    books: Books,
}

impl ChannelModel {
    fn depth(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Item::Event(_))).count()
    }

    fn write(&mut self, event: u64, bounds: Option<(u64, Overflow)>) -> Answer {
        if self.closed {
            self.books.refused += u64::from(self.cut_off);
            return Answer::Closed;
        }
        if let Some((_, policy)) = bounds.filter(|(capacity, _)| self.depth() as u64 >= *capacity) {
            match policy {
                Overflow::Block | Overflow::BlockFor(_) => return Answer::NotReady,
                Overflow::DropNewest => {
                    self.books.accepted += 1;
                    self.books.drop(DropReason::Overflow, 1);
                    match self.items.back_mut() {
                        Some(Item::Gap(missed)) => *missed += 1,
                        _ => self.items.push_back(Item::Gap(1)),
                    }
                    return Answer::Ok;
                }
                Overflow::DropOldest => {
                    self.items.pop_front();
                    self.evicted += 1;
                    self.books.drop(DropReason::Overflow, 1);
                }
                Overflow::Disconnect => {
                    (self.closed, self.cut_off) = (true, true);
                    self.books.refused += 1;
                    return Answer::Closed;
                }
                _ => return Answer::Full,
            }
        }
        self.books.accepted += 1;
        self.items.push_back(Item::Event(event));
        Answer::Ok
    }

    fn receive(&mut self) -> Result<u64, RecvError> {
        if self.evicted > 0 {
            return Err(RecvError::Lagged(std::mem::take(&mut self.evicted)));
        }
        match self.items.pop_front() {
            Some(Item::Event(event)) => {
                self.books.delivered += 1;
                Ok(event)
            }
            Some(Item::Gap(missed)) => Err(RecvError::Lagged(missed)),
            None if self.cut_off => Err(RecvError::CutOff(self.books.refused)),
            None if self.closed => Err(RecvError::Closed),
            None => Err(RecvError::Empty),
        }
    }
}

#[test]
fn a_channel_does_what_a_deque_does() {
    let step = prop_oneof![8 => Just(Read::Write), 8 => Just(Read::Receive), 1 => Just(Read::Close)];
    explore("channel", &(bounds(), vec(step, 0..40), any::<bool>()), |(bounds, steps, leave)| {
        let mut builder = Channel::builder();
        if let Some((capacity, policy)) = bounds {
            builder = builder.capacity(capacity).overflow(policy);
        }
        let (channel, receiver) = builder.name("model").build().unwrap();
        let mut model = ChannelModel::default();
        for (event, step) in (0..).zip(steps) {
            match step {
                Read::Write => {
                    let answer = Answer::of(channel.try_write(&event, &mut Delivery::from_thread()));
                    assert_eq!(answer, model.write(event, bounds));
                }
                Read::Receive => assert_eq!(receiver.try_recv(), model.receive()),
                Read::Close => {
                    channel.close(Shutdown::Drain).unwrap();
                    model.closed = true;
                }
            }
            model.books.check(&channel.ledger(), model.depth());
        }
        if leave {
            drop(receiver);
            let left = model.depth() as u64;
            model.books.drop(DropReason::DestinationClosed, left);
            model.books.check(&channel.ledger(), 0);
            assert_eq!(Answer::of(channel.try_write(&0, &mut Delivery::from_thread())), Answer::Closed);
        }
    });
}

/// What a destination does with the event it is offered next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Take,
    Fail,
    Refuse,
    Panic,
    End,
}

/// A destination at which events wait for their outcome.
#[derive(Default)]
struct Script {
    outcomes: VecDeque<Outcome>,
    waiting: Option<Waker>,
    taken: Vec<u64>,
    closed: bool,
}

struct Scripted(Arc<Mutex<Script>>);

impl Sink<u64> for Scripted {
    fn try_write(&self, event: &u64, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let mut script = self.0.lock().unwrap();
        match script.outcomes.pop_front() {
            Some(Outcome::Take) => script.taken.push(*event),
            Some(Outcome::Fail) => return Err(Failure::transient("told to").into()),
            Some(Outcome::Refuse) => return Err(Failure::permanent("told to").into()),
            Some(Outcome::Panic) => {
                drop(script);
                // Without the hook's report: there are thousands of them.
                std::panic::resume_unwind(Box::new("told to"));
            }
            Some(Outcome::End) => return Err(WriteError::Closed),
            None => {
                script.waiting = Some(delivery.waker());
                delivery.save(());
                return Err(WriteError::not_ready_until_woken());
            }
        }
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.lock().unwrap().closed = true;
        Poll::Ready(Ok(CloseReport::new()))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Send,
    Serve(Outcome),
    Close(Shutdown),
}

#[derive(Default)]
struct QueueModel {
    /// Offered and waiting at the destination.
    held: Option<u64>,
    inside: VecDeque<u64>,
    outcomes: VecDeque<Outcome>,
    taken: Vec<u64>,
    closed: Option<Shutdown>,
    cut_off: bool,
    /// The destination has said that it is closed.
    ended: bool,
    books: Books,
}

impl QueueModel {
    fn pending(&self) -> usize {
        self.inside.len() + usize::from(self.held.is_some())
    }

    fn send(&mut self, event: u64, bounds: Option<(u64, Overflow)>) -> Answer {
        if self.closed.is_some() {
            self.books.refused += u64::from(self.cut_off);
            return Answer::Closed;
        }
        if let Some((_, policy)) = bounds.filter(|(capacity, _)| self.pending() as u64 >= *capacity) {
            match policy {
                Overflow::DropOldest if !self.inside.is_empty() => {
                    self.inside.pop_front();
                    self.books.drop(DropReason::Overflow, 1);
                }
                Overflow::DropNewest | Overflow::DropOldest => {
                    self.books.accepted += 1;
                    self.books.drop(DropReason::Overflow, 1);
                    return Answer::Ok;
                }
                Overflow::Disconnect => {
                    self.books.refused += 1;
                    self.cut_off = true;
                    self.close(Shutdown::Drain);
                    return Answer::Closed;
                }
                _ => {
                    self.books.refused += 1;
                    return Answer::Full;
                }
            }
        }
        self.books.accepted += 1;
        self.inside.push_back(event);
        self.run();
        Answer::Ok
    }

    fn close(&mut self, how: Shutdown) {
        self.closed = Some(self.closed.map_or(how, |before| before.escalate(how)));
        self.run();
    }

    /// Offers what is there, until an event must wait.
    fn run(&mut self) {
        if self.closed == Some(Shutdown::Abort) {
            let left = self.pending() as u64;
            self.books.drop(DropReason::Abandoned, left);
            (self.held, self.inside) = (None, VecDeque::new());
        }
        while let Some(event) = self.held.take().or_else(|| self.inside.pop_front()) {
            if self.ended {
                self.books.drop(DropReason::DestinationClosed, 1);
                continue;
            }
            match self.outcomes.pop_front() {
                Some(Outcome::Take) => {
                    self.taken.push(event);
                    self.books.delivered += 1;
                }
                Some(Outcome::Fail) => self.books.drop(DropReason::Exhausted, 1),
                Some(Outcome::Refuse) => self.books.drop(DropReason::Permanent, 1),
                Some(Outcome::Panic) => self.books.drop(DropReason::Panicked, 1),
                Some(Outcome::End) => {
                    self.books.drop(DropReason::DestinationClosed, 1);
                    self.ended = true;
                    self.closed = self.closed.or(Some(Shutdown::Drain));
                }
                None if self.closed == Some(Shutdown::Drain) => self.books.drop(DropReason::Abandoned, 1),
                None => {
                    self.held = Some(event);
                    return;
                }
            }
        }
    }
}

#[test]
fn a_queue_does_what_a_deque_does() {
    let outcomes = [Outcome::Take, Outcome::Take, Outcome::Take, Outcome::Fail, Outcome::Refuse, Outcome::Panic];
    let outcome = prop_oneof![20 => proptest::sample::select(outcomes.to_vec()), 1 => Just(Outcome::End)];
    let clock = ManualClock::new();
    let pool = Pool::builder().threads(1).max_threads(1).clock(clock.clock()).build().unwrap();
    let until = Shutdown::Until(clock.clock().now() + HOUR);
    let close = proptest::sample::select(vec![Shutdown::Drain, until, Shutdown::Abort]).prop_map(Step::Close);
    let step = prop_oneof![10 => Just(Step::Send), 8 => outcome.prop_map(Step::Serve), 1 => close];
    explore("queue", &(bounds(), vec(step, 0..30)), |(bounds, steps)| {
        let script = Arc::new(Mutex::new(Script::default()));
        let mut builder = Queue::builder(Scripted(script.clone())).name("model").pool(&pool);
        if let Some((capacity, policy)) = bounds {
            builder = builder.capacity(capacity).overflow(policy);
        }
        let queue = builder.build().unwrap();
        let mut model = QueueModel::default();
        for (event, step) in (0..).zip(steps) {
            match step {
                Step::Send => {
                    let answer = Answer::of(queue.try_send(event).map_err(|refused| refused.error));
                    assert_eq!(answer, model.send(event, bounds));
                }
                Step::Serve(outcome) => {
                    let waiting = {
                        let mut script = script.lock().unwrap();
                        script.outcomes.push_back(outcome);
                        script.waiting.take()
                    };
                    waiting.into_iter().for_each(Waker::wake);
                    model.outcomes.push_back(outcome);
                    model.run();
                }
                Step::Close(how) => {
                    drop(queue.poll_close(how, Waker::noop()));
                    model.close(how);
                }
            }
            pool.wait_idle();
            model.books.check(&queue.ledger(), model.pending());
            assert_eq!(
                (queue.is_closed(), queue.refused()),
                (model.closed.is_some(), expected_refusals(&model, bounds))
            );
            let script = script.lock().unwrap();
            assert_eq!((&script.taken, &script.outcomes), (&model.taken, &model.outcomes));
            assert_eq!(script.closed, model.closed.is_some() && model.pending() == 0);
        }
    });
}

/// A queue without a bound refuses nothing for want of room.
fn expected_refusals(model: &QueueModel, bounds: Option<(u64, Overflow)>) -> u64 {
    bounds.map_or(0, |_| model.books.refused)
}
