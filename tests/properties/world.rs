//! The components of a case, and what is done to them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use sinkworks::test_util::{ManualClock, Recording, Slow, violations};
use sinkworks::{
    Batching, Breaker, Broadcaster, Channel, CloseReport, DeadLetter, Delivery, EventId, ExponentialBackoff, Failure,
    Fallback, Filter, Journey, Overflow, Pool, Proceed, Queue, Receiver, RecvError, RetryStrategy, RetryingSink,
    Shutdown, Sink, SinkExt, SinkId, TimeLimit, Verdict, WriteError,
};

use crate::leaf::Leaf;
use crate::plan::{How, Mood, Node, Options, Patience, Plan, Policy, Step};
use crate::probe::{Event, Key, Probe, Record};
use crate::slices::OneByOne;

pub(crate) type Stage = Arc<dyn Sink<Event>>;

/// A time in which everything that waits for time gets on.
const WHILE: Duration = Duration::from_millis(500);

/// As many of them as an end may take: deadlines are at most two seconds ahead.
const PATIENCE: usize = 12;

/// A queue's dead letters: their queue, and where they arrive.
type Letters = (Queue<DeadLetter<Event>>, Recording<DeadLetter<Event>>);

pub(crate) struct QueueSite {
    /// None once the handles are dropped.
    pub(crate) queue: Option<Queue<Event>>,
    pub(crate) options: Options,
    pub(crate) above: Arc<Record>,
    pub(crate) below: Arc<Record>,
    pub(crate) letters: Option<Letters>,
}

pub(crate) struct FanSite {
    pub(crate) fan: Option<Broadcaster<Event>>,
    pub(crate) above: Arc<Record>,
    pub(crate) children: Vec<Child>,
}

pub(crate) struct Child {
    id: SinkId,
    sink: Option<Stage>,
    pub(crate) record: Arc<Record>,
    pub(crate) required: bool,
    /// It was there before the first event, and was never removed.
    pub(crate) constant: bool,
    removed: bool,
}

pub(crate) struct ChannelSite {
    pub(crate) channel: Option<Channel<Event>>,
    pub(crate) receiver: Option<Receiver<Event>>,
    pub(crate) above: Arc<Record>,
    /// What was received: events, and how many were missed.
    pub(crate) read: Vec<Result<Key, u64>>,
}

pub(crate) struct FallbackSite {
    /// None once the handles are dropped.
    pub(crate) fallen_over: Option<Box<dyn Fn() -> u64>>,
    pub(crate) above: Arc<Record>,
    pub(crate) first: Arc<Record>,
    pub(crate) second: Arc<Record>,
}

#[derive(Default)]
struct Writer {
    next: u32,
    held: Option<(Event, Journey)>,
}

pub(crate) struct World {
    pub(crate) pool: Pool,
    clock: ManualClock,
    alive: Arc<()>,
    root: Option<Stage>,
    root_queue: Option<(Queue<Event>, Arc<Record>)>,
    pub(crate) leaves: Vec<(Arc<Leaf>, Arc<Record>)>,
    pub(crate) queues: Vec<QueueSite>,
    pub(crate) fans: Vec<FanSite>,
    pub(crate) channels: Vec<ChannelSite>,
    pub(crate) fallbacks: Vec<FallbackSite>,
    writers: [Writer; 3],
    /// Whether events of different writers meet in no certain order.
    pub(crate) threaded: bool,
}

struct Twice;

impl RetryStrategy for Twice {
    type State = u32;

    fn proceed(&self, _: &mut u32, _: &Delivery<'_>) -> Proceed {
        Proceed::Now
    }
    fn success(&self, _: &mut u32, _: &Delivery<'_>) {}
    fn failure(&self, failed: &mut u32, _: &Delivery<'_>, _: &Failure) -> Verdict {
        *failed += 1;
        if *failed < 2 { Verdict::Retry } else { Verdict::GiveUp }
    }
}

fn breaker() -> Breaker {
    Breaker::new(2, Duration::from_millis(300))
}

fn backoff(seed: u64) -> ExponentialBackoff {
    let wait = Duration::from_millis(50);
    ExponentialBackoff::builder().factor(wait).max(4 * wait).seed(seed).build().unwrap()
}

fn overflow(policy: Policy) -> Overflow {
    match policy {
        Policy::Block => Overflow::Block,
        Policy::BlockFor => Overflow::BlockFor(Duration::from_millis(5)),
        Policy::Reject => Overflow::Reject,
        Policy::DropNewest => Overflow::DropNewest,
        Policy::DropOldest => Overflow::DropOldest,
        Policy::Disconnect => Overflow::Disconnect,
    }
}

impl World {
    fn new(plan: &Plan, threads: usize) -> Self {
        let clock = ManualClock::new();
        let pool = Pool::builder().threads(threads).max_threads(threads).clock(clock.clock()).build().unwrap();
        let mut world = Self {
            pool,
            clock,
            alive: Arc::default(),
            root: None,
            root_queue: None,
            leaves: Vec::new(),
            queues: Vec::new(),
            fans: Vec::new(),
            channels: Vec::new(),
            fallbacks: Vec::new(),
            writers: Default::default(),
            threaded: threads > 1,
        };
        let (root, record) = world.build(&plan.root);
        world.root = Some(root);
        if matches!(plan.root, Node::Queue(..)) {
            // The topmost is built last.
            world.root_queue = world.queues.last().and_then(|site| site.queue.clone()).map(|queue| (queue, record));
        }
        world
    }

    /// Builds a stage with everything below it.
    fn build(&mut self, node: &Node) -> (Stage, Arc<Record>) {
        let record: Arc<Record> = Arc::default();
        let stage: Stage = match node {
            Node::Leaf => {
                let leaf: Arc<Leaf> = Arc::default();
                self.leaves.push((leaf.clone(), record.clone()));
                probed(leaf, &record)
            }
            Node::Channel { capacity, policy } => {
                let mut builder = Channel::builder().overflow(overflow(*policy));
                if let Some(capacity) = capacity {
                    builder = builder.capacity(*capacity);
                }
                let (channel, receiver) = builder.build().unwrap();
                let stage = probed(channel.clone(), &record);
                let (channel, receiver) = (Some(channel), Some(receiver));
                self.channels.push(ChannelSite { channel, receiver, above: record.clone(), read: Vec::new() });
                stage
            }
            Node::Queue(options, below) => self.build_queue(options, below, &record),
            Node::Retry(strategy, below) => {
                let (below, _) = self.build(below);
                match strategy {
                    Patience::Breaker => probed(RetryingSink::new(below, breaker()), &record),
                    Patience::Backoff(seed) => probed(RetryingSink::new(below, backoff(*seed)), &record),
                    Patience::Both(seed) => probed(RetryingSink::new(below, (backoff(*seed), breaker())), &record),
                    Patience::Twice => probed(RetryingSink::new(below, Twice), &record),
                }
            }
            Node::Filter(below) => {
                let (below, _) = self.build(below);
                probed(Filter::new(below, |event: &Event| event.key.1 % 3 != 2), &record)
            }
            Node::Slow(below) => {
                let (below, _) = self.build(below);
                probed(Slow::new(Duration::from_millis(100), below), &record)
            }
            Node::Limit(ms, below) => {
                let (below, _) = self.build(below);
                probed(TimeLimit::new(below, Duration::from_millis(*ms)), &record)
            }
            Node::Fallback { primary, secondary, permanent_too } => {
                let (primary, first) = self.build(primary);
                let (secondary, second) = self.build(secondary);
                let fallback = Fallback::new(primary, secondary);
                let fallback = Arc::new(if *permanent_too { fallback.permanent_too() } else { fallback });
                let stage = probed(fallback.clone(), &record);
                let fallen_over: Box<dyn Fn() -> u64> = Box::new(move || fallback.fallen_over());
                self.fallbacks.push(FallbackSite {
                    fallen_over: Some(fallen_over),
                    above: record.clone(),
                    first,
                    second,
                });
                stage
            }
            Node::Fan { best_effort, required } => {
                let fan = Broadcaster::new();
                let mut children = Vec::new();
                for (node, required) in
                    best_effort.iter().map(|node| (node, false)).chain(required.iter().map(|node| (node, true)))
                {
                    children.push(self.build_child(&fan, node, required, true).expect("it is open"));
                }
                let stage = probed(fan.clone(), &record);
                self.fans.push(FanSite { fan: Some(fan), above: record.clone(), children });
                stage
            }
        };
        (stage, record)
    }

    fn build_queue(&mut self, options: &Options, below: &Node, above: &Arc<Record>) -> Stage {
        let (stage, below) = self.build(below);
        let mut builder = match options.batch {
            None => Queue::builder(stage),
            Some((events, patience)) => {
                let batching = Batching::new(events, Duration::from_millis(100));
                let sink = OneByOne(stage);
                match patience {
                    Patience::Breaker => Queue::batching(sink.retrying(breaker()), batching),
                    Patience::Backoff(seed) => Queue::batching(sink.retrying(backoff(seed)), batching),
                    Patience::Both(seed) => Queue::batching(sink.retrying((backoff(seed), breaker())), batching),
                    Patience::Twice => Queue::batching(sink.retrying(Twice), batching),
                }
            }
        };
        builder = builder.pool(&self.pool).overflow(overflow(options.policy));
        if let Some(capacity) = options.capacity {
            builder = builder.capacity(capacity);
        }
        if let Some(bytes) = options.bytes {
            builder = builder.capacity_bytes(bytes, Event::size);
        }
        if options.stamped {
            builder = builder.stamped();
        }
        let letters = options.dead_letters.then(|| {
            let seen = Recording::new();
            (Queue::builder(seen.clone()).pool(&self.pool).build().unwrap(), seen)
        });
        if let Some((dead, _)) = &letters {
            builder = builder.dead_letters(dead);
        }
        let queue = builder.build().unwrap();
        let stage = probed(queue.clone(), above);
        let (queue, options) = (Some(queue), options.clone());
        self.queues.push(QueueSite { queue, options, above: above.clone(), below, letters });
        stage
    }

    /// None if the broadcaster has closed.
    fn build_child(&mut self, fan: &Broadcaster<Event>, node: &Node, required: bool, constant: bool) -> Option<Child> {
        let (sink, record) = self.build(node);
        let id = add(fan, &sink, required)?;
        Some(Child { id, sink: Some(sink), record, required, constant, removed: false })
    }

    fn event(&mut self, writer: usize) -> Event {
        let next = &mut self.writers[writer].next;
        *next += 1;
        Event { key: (u8::try_from(writer).unwrap(), *next - 1), _alive: self.alive.clone() }
    }

    /// One offer. False if the writer has to wait.
    fn write(&mut self, writer: usize, owned: bool) -> bool {
        let held = self.writers[writer].held.take();
        let Some(root) = self.root.clone() else { return false };
        if let (None, true, Some((queue, record))) = (&held, owned, self.root_queue.clone()) {
            let event = self.event(writer);
            let key = event.key;
            record.note(key, &queue.try_send(event).map_err(|refused| refused.error));
            return true;
        }
        let (event, journey) = held.unwrap_or_else(|| (self.event(writer), Journey::default()));
        let clock = self.clock.clock();
        let mut delivery = Delivery::resume_with(Waker::noop(), &clock, EventId(u64::from(event.key.1)), journey);
        // Where no queue and no broadcaster is in between, a leaf's panic comes out here.
        let answer = catch_unwind(AssertUnwindSafe(|| root.try_write(&event, &mut delivery)));
        let waits = matches!(answer, Ok(Err(WriteError::NotReady(_))));
        if waits {
            self.writers[writer].held = Some((event, delivery.into_journey()));
        }
        !waits
    }

    fn when(&self, how: How) -> Shutdown {
        match how {
            How::Drain => Shutdown::Drain,
            How::Until(ms) => Shutdown::Until(self.clock.clock().now() + Duration::from_millis(ms)),
            How::Abort => Shutdown::Abort,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { writer, events, owned } => {
                for _ in 0..*events {
                    if !self.write(usize::from(*writer), *owned) {
                        break;
                    }
                }
            }
            Step::GiveUp { writer } => self.writers[usize::from(*writer)].held = None,
            Step::Mood { leaf, mood } => {
                if let Some((leaf, _)) = pick(&mut self.leaves, *leaf) {
                    leaf.set(*mood);
                }
            }
            Step::Advance(ms) => self.clock.advance(Duration::from_millis(*ms)),
            Step::Rest => self.pool.wait_idle(),
            Step::Receive { channel, events } => {
                if let Some(channel) = pick(&mut self.channels, *channel) {
                    (0..*events).for_each(|_| channel.receive());
                }
            }
            Step::DropReceiver { channel } => {
                if let Some(channel) = pick(&mut self.channels, *channel) {
                    channel.receiver = None;
                }
            }
            Step::Add { fan, node, required } => {
                let Some(site) = pick(&mut self.fans, *fan) else { return };
                let broadcaster = site.fan.clone().expect("handles are dropped at the end");
                let id = broadcaster.id();
                if let Some(child) = self.build_child(&broadcaster, node, *required, false) {
                    // The fan may have moved in the list.
                    let site = self.fans.iter_mut().find(|site| site.fan.as_ref().and_then(Sink::id) == id);
                    site.expect("it is there").children.push(child);
                }
            }
            Step::Remove { fan, child } => self.remove(*fan, *child),
            Step::AddAgain { fan, child } => {
                let Some(FanSite { fan: Some(fan), children, .. }) = pick(&mut self.fans, *fan) else { return };
                if let Some(child) = pick(children, *child) {
                    // What has no id would be added twice.
                    if child.removed {
                        if let Some(id) = add(fan, child.sink.as_ref().unwrap(), child.required) {
                            (child.id, child.removed) = (id, false);
                        }
                    }
                }
            }
            Step::CloseQueue { queue, how } => {
                let how = self.when(*how);
                if let Some(QueueSite { queue: Some(queue), .. }) = pick(&mut self.queues, *queue) {
                    let _begun = queue.poll_close(how, Waker::noop());
                }
            }
            Step::CloseRoot(how) => {
                let _begun = self.root.as_ref().unwrap().poll_close(self.when(*how), Waker::noop());
            }
        }
    }

    fn remove(&mut self, fan: usize, child: usize) {
        let Some(FanSite { fan: Some(fan), children, .. }) = pick(&mut self.fans, fan) else { return };
        let len = fan.len();
        if let Some(child) = pick(children, child) {
            child.constant = false;
            match fan.remove_id(child.id) {
                Ok(was_there) => {
                    child.removed |= was_there;
                    assert!(self.threaded || !was_there || fan.len() < len);
                }
                Err(error) => assert!(matches!(error, WriteError::Closed), "{error:?}"),
            }
        }
    }

    /// Closes a sink, letting time pass until it has.
    fn close(&self, sink: &dyn Sink<Event>, how: Shutdown) -> CloseReport {
        for _ in 0..PATIENCE {
            let answer = sink.poll_close(how, Waker::noop());
            self.pool.wait_idle();
            if let Poll::Ready(answer) = answer {
                let report = answer.expect("no sink here fails to close");
                assert!(report.errors().is_empty(), "{:?}", report.errors());
                return report;
            }
            self.clock.advance(WHILE);
        }
        panic!("not closed after {PATIENCE} times {WHILE:?}: {how:?}");
    }

    /// Ends everything, from the top down, and looks at the books.
    fn finish(mut self, plan: &Plan) {
        if plan.recovering {
            self.leaves.iter().for_each(|(leaf, _)| leaf.set(Mood::Take));
        }
        let report = match plan.end {
            Some(how) => Some(self.close(&*self.root.clone().unwrap(), self.when(how))),
            None if self.threaded => Some(self.close(&*self.root.clone().unwrap(), Shutdown::Drain)),
            None => None,
        };
        // Who still holds an event is told.
        for writer in 0..self.writers.len() {
            if self.writers[writer].held.is_some() {
                self.write(writer, false);
            }
            self.writers[writer].held = None;
        }
        if report.is_some() {
            // What was removed, and what is below.
            for queue in self.queues.iter().filter_map(|site| site.queue.as_ref()) {
                self.close(queue, Shutdown::Drain);
            }
            for fan in self.fans.iter().filter_map(|site| site.fan.as_ref()) {
                self.close(fan, Shutdown::Drain);
            }
            for channel in self.channels.iter().filter_map(|site| site.channel.as_ref()) {
                self.close(channel, Shutdown::Drain);
            }
        } else {
            self.drop_handles();
        }
        for (dead, _) in self.queues.iter().filter_map(|site| site.letters.as_ref()) {
            let _begun = dead.poll_close(Shutdown::Drain, Waker::noop());
        }
        self.pool.wait_idle();
        self.channels.iter_mut().for_each(ChannelSite::receive_all);
        self.check(report.as_ref());

        let (pool, alive) = (self.pool.clone(), self.alive.clone());
        drop(self);
        pool.wait_idle();
        // The keeper may have a queue in its hands for a moment, which is no turn.
        let began = Instant::now();
        while Arc::strong_count(&alive) > 1 && began.elapsed() < Duration::from_secs(5) {
            thread::yield_now();
        }
        assert_eq!(Arc::strong_count(&alive), 1, "clones of events are left");
    }

    fn drop_handles(&mut self) {
        self.root = None;
        self.root_queue = None;
        for site in &mut self.fans {
            site.fan = None;
            site.children.iter_mut().for_each(|child| child.sink = None);
        }
        self.queues.iter_mut().for_each(|site| site.queue = None);
        self.fallbacks.iter_mut().for_each(|site| site.fallen_over = None);
        self.channels.iter_mut().for_each(|site| site.channel = None);
        // A drain needs no time; what was closed before may have a deadline.
        for _ in 0..PATIENCE {
            self.pool.wait_idle();
            self.clock.advance(WHILE);
        }
        self.pool.wait_idle();
    }
}

impl ChannelSite {
    fn receive(&mut self) {
        match self.receiver.as_ref().map(Receiver::try_recv) {
            Some(Ok(event)) => self.read.push(Ok(event.key)),
            Some(Err(RecvError::Lagged(missed))) => self.read.push(Err(missed)),
            _ => {}
        }
    }

    fn receive_all(&mut self) {
        let mut before = usize::MAX;
        while before != self.read.len() {
            before = self.read.len();
            self.receive();
        }
        if let Some(receiver) = &self.receiver {
            let end = receiver.try_recv().map(|event| event.key);
            assert!(matches!(end, Err(RecvError::Closed | RecvError::CutOff(_))), "{end:?}");
        }
    }
}

fn probed(sink: impl Sink<Event> + 'static, record: &Arc<Record>) -> Stage {
    Arc::new(Probe { sink, record: record.clone() })
}

fn add(fan: &Broadcaster<Event>, sink: &Stage, required: bool) -> Option<SinkId> {
    let added = if required { fan.add_required(sink.clone()) } else { fan.add(sink.clone()) };
    added.inspect_err(|error| assert!(matches!(error, WriteError::Closed), "{error:?}")).ok()
}

/// The one of that number, modulo how many there are.
fn pick<T>(of: &mut [T], number: usize) -> Option<&mut T> {
    let len = of.len();
    of.get_mut(number.checked_rem(len)?)
}

/// One worker, and all steps on one thread.
pub(crate) fn in_steps(plan: &Plan) {
    let mut world = World::new(plan, 1);
    for step in &plan.steps {
        world.step(step);
        if plan.resting {
            world.pool.wait_idle();
        }
        world.check_now(plan.resting);
    }
    world.finish(plan);
    assert_eq!(violations(), [""; 0]);
}

/// Two workers, a thread for each writer, and one for the other steps.
pub(crate) fn with_threads(plan: &Plan) {
    let mut world = World::new(plan, 2);
    let root = world.root.clone().unwrap();
    thread::scope(|scope| {
        for (writer, events) in (0_u8..).zip(&plan.writers) {
            let (root, queue, alive) = (root.clone(), world.root_queue.clone(), world.alive.clone());
            scope.spawn(move || {
                for number in 0..u32::from(*events) {
                    let event = Event { key: (writer, number), _alive: alive.clone() };
                    // An answer is noted, and that is all that a writer does about it.
                    match &queue {
                        Some((queue, record)) if number % 2 == 0 => {
                            record.note(event.key, &queue.send(event).map_err(|refused| refused.error));
                        }
                        _ => drop(root.write(&event)),
                    }
                }
            });
        }
        for step in &plan.steps {
            if !matches!(step, Step::Write { .. } | Step::GiveUp { .. }) {
                world.step(step);
            }
            world.check_now(false);
            thread::yield_now();
        }
        // Frees the writers.
        let how = world.when(plan.end.unwrap_or(How::Drain));
        let _begun = root.poll_close(how, Waker::noop());
    });
    drop(root);
    world.finish(plan);
    assert_eq!(violations(), [""; 0]);
}
