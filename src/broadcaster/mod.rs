//! Fan-out: every event to every sink, on the writer's thread.
//!
//! The list of sinks is a snapshot in an `ArcSwap`: a broadcast loads it wait-free and never waits for an add or a remove;
//! those copy the list and swap it in, in a loop that repeats when they meet. No lock is held while a sink is called, so a
//! sink may call its own broadcaster.

mod list;

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::block;
use crate::clock::saturating_add;
use crate::contain::contain;
use crate::delivery::{Delivery, Journey};
use crate::error::{BuildError, Class, CloseError, Wait, WriteError};
use crate::ledger::{DropReason, Dropped};
use crate::names;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::telemetry::{Observations, Observe, Registration, as_gauge, names as metric, register};
use list::{Gone, List, Member, Shared};

/// How many sinks' cache lines are fetched together. A write to an idle queue is little more than two cache misses, and its locked instructions keep the
/// processor from fetching the next queue's lines meanwhile; eight at a time took a quarter off a broadcast to a thousand idle queues.
const AHEAD: usize = 8;

/// Has the lines of the next few sinks fetched.
fn warm<E: ?Sized>(members: &[Member<E>]) {
    let answers = members.iter().take(AHEAD).map(|member| usize::from(member.direct.warm()));
    std::hint::black_box(answers.sum::<usize>());
}

/// Writes every event to all of its sinks, one after the other, on the writer's thread. Put a [`Queue`](crate::Queue) before each sink that takes
/// time: then a broadcast costs a push for each.
///
/// - **Errors** of a sink never reach the writer: they are counted in [`lost`](Self::lost). A sink that answers
///   [`Closed`](WriteError::Closed) is removed. A sink that panics is counted, the others get the event.
/// - **Not ready**: if a sink is not ready, the broadcast is not either. Offered again, the event goes only to the sinks that did not
///   take it yet. A sink added meanwhile gets the next event.
/// - **No sinks**: `Ok`.
/// - **A handle**: clones are the same broadcaster.
/// - **Order**: each sink sees the events of one writer in order. Two sinks may see events of *concurrent* writers in different orders, since
///   nobody waits for anybody. For one order everywhere, put the broadcaster behind one queue:
///   `Queue::new(broadcaster)`.
/// - **After [`remove`](Self::remove)** a write that was under way may still reach the sink;
///   [`remove_and_wait`](Self::remove_and_wait) waits until none can.
/// - **Closing** closes all its sinks at the same time. Removing does not close a sink; but if the broadcaster had the last handle of a queue, that
///   queue drains.
///
/// ```
/// use sinkworks::{Broadcaster, Queue, Shutdown, Sink, sink_fn};
///
/// let broadcaster = Broadcaster::new();
/// let queue = Queue::new(sink_fn(|event: &u64| { println!("{event}"); Ok(()) }));
/// broadcaster.add(queue.clone())?;
/// broadcaster.add(queue.clone())?; // has it already
/// assert_eq!(broadcaster.len(), 1);
/// broadcaster.write(&1)?;
/// broadcaster.close(Shutdown::Drain)?;
/// assert_eq!(queue.ledger().delivered, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Broadcaster<E: ?Sized + 'static>(Arc<Inner<E>>);

struct Inner<E: ?Sized> {
    list: ArcSwap<List<E>>,
    id: SinkId,
    name: Arc<str>,
    writes: AtomicU64,
    evictions: AtomicU64,
    lost: Mutex<Dropped>,
    closing: Mutex<Option<Closing<E>>>,
    /// Sinks that were removed and that a write may still reach.
    leaving: Mutex<Vec<(SinkId, Weak<Gone>)>>,
    registration: Registration,
}

/// The sinks that the broadcaster closes, and what they have answered so far.
struct Closing<E: ?Sized> {
    entries: Vec<Shared<E>>,
    answers: Vec<Option<Result<CloseReport, CloseError>>>,
}

/// What is kept of an event that some sinks have not taken: those sinks, each with its part of the journey.
struct Rest<E: ?Sized> {
    sinks: Vec<(Shared<E>, Journey)>,
    /// When the first of them may be ready.
    wait: Option<Wait>,
}

impl<E: ?Sized> Default for Rest<E> {
    fn default() -> Self {
        Self { sinks: Vec::new(), wait: None }
    }
}

impl<E: ?Sized + 'static> Clone for Broadcaster<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: ?Sized + 'static> Default for Broadcaster<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: ?Sized + 'static> Broadcaster<E> {
    /// A broadcaster without sinks.
    #[must_use]
    pub fn new() -> Self {
        let id = SinkId::unique();
        Self::assemble(id, names::default("broadcaster", id))
    }

    /// The same with a name, for metrics and `Debug`.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn named(name: &str) -> Result<Self, BuildError> {
        names::check(name)?;
        Ok(Self::assemble(SinkId::unique(), name.into()))
    }

    fn assemble(id: SinkId, name: Arc<str>) -> Self {
        Self(Arc::new_cyclic(|this: &Weak<Inner<E>>| Inner {
            list: ArcSwap::from_pointee(List::empty()),
            id,
            name,
            writes: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            lost: Mutex::default(),
            closing: Mutex::new(None),
            leaving: Mutex::default(),
            registration: register(this.clone()),
        }))
    }

    /// Adds a sink, which gets every event from the next write on. A sink with the [id](Sink::id) of one that is there changes
    /// nothing. Returns the id to remove it by, a new one for a sink that has none. Copies the list.
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`].
    pub fn add(&self, sink: impl Sink<E> + 'static) -> Result<SinkId, WriteError> {
        let id = sink.id().unwrap_or_else(SinkId::unique);
        let member = Member::new(id, sink);
        let before = self.0.list.rcu(|list| list.with(&member));
        if before.closed { Err(WriteError::Closed) } else { Ok(id) }
    }

    /// Removes a sink without closing it, and says whether it was there. Returns at once: a write that is under way may still reach it.
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`].
    pub fn remove(&self, sink: &impl Sink<E>) -> Result<bool, WriteError> {
        sink.id().map_or(Ok(false), |id| self.remove_id(id))
    }

    /// Removes the sink that [`add`](Self::add) gave this id.
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`].
    pub fn remove_id(&self, id: SinkId) -> Result<bool, WriteError> {
        // Taken out and noted as leaving in one step for whoever waits for that.
        let mut leaving = lock(&self.0.leaving);
        let before = self.0.list.rcu(|list| list.without(id));
        let gone = before.get(id).filter(|_| !before.closed).map(|entry| Arc::downgrade(&entry.gone));
        let removed = gone.is_some();
        if let Some(gone) = gone {
            leaving.retain(|(_, gone)| gone.strong_count() > 0);
            leaving.push((id, gone));
        }
        // Before `before`, which may be the sink's last owner.
        drop(leaving);
        if before.closed { Err(WriteError::Closed) } else { Ok(removed) }
    }

    /// Removes a sink and waits until no write can reach it any more, at most for `timeout`. Says whether that is so.
    ///
    /// Called by a sink inside a write of this very broadcaster it cannot be, and the time passes. An event that is held because the sink was not
    /// ready counts as a write.
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`].
    pub fn remove_and_wait(&self, sink: &impl Sink<E>, timeout: Duration) -> Result<bool, WriteError> {
        let Some(id) = sink.id() else { return Ok(true) };
        self.remove_id(id)?;
        // Also what an earlier call has removed.
        let leaving: Vec<Arc<Gone>> = lock(&self.0.leaving)
            .iter()
            .filter(|(left, _)| *left == id)
            .filter_map(|(_, gone)| gone.upgrade())
            .collect();
        let until = saturating_add(Instant::now(), timeout);
        let waker = block::thread_waker();
        for gone in &leaving {
            gone.wakers.register(&waker);
        }
        let all_gone = || leaving.iter().all(|gone| gone.is_gone());
        while !all_gone() && Instant::now() < until {
            block::park(Some(until));
        }
        Ok(all_gone())
    }

    /// How many sinks it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no sinks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events that one of its sinks did not take, by reason; an event that two sinks did not take counts twice. What a sink below a queue
    /// loses, the queue counts.
    #[must_use]
    pub fn lost(&self) -> Dropped {
        *lock(&self.0.lost)
    }

    /// Sinks that were removed since they had closed.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.0.evictions.load(Ordering::Relaxed)
    }

    /// Events written to it.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }

    /// The name given at build time.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Offers an event to sinks that have not seen it. One catch for all of them: what it costs is instructions between one sink's cache misses
    /// and the next one's, which the processor then cannot fetch at the same time.
    fn offer_first(&self, members: &[Member<E>], event: &E, delivery: &mut Delivery<'_>) -> Rest<E> {
        let mut rest = Rest::default();
        let mut next = 0;
        while next < members.len() {
            let offer = || {
                // Fresh for each: what a sink leaves in it is taken out below.
                delivery.fork(&mut Journey::default(), |delivery| {
                    while let Some(Member { direct, entry, is_queue }) = members.get(next) {
                        if next % AHEAD == 0 {
                            warm(&members[next..]);
                        }
                        next += 1;
                        if *is_queue {
                            delivery.begin_batch();
                        } else {
                            delivery.end_batch();
                        }
                        let answer = direct.try_write(event, delivery);
                        if answer.is_err() || !delivery.is_fresh() {
                            self.note(entry, answer, delivery.take_journey(), &mut rest);
                        }
                    }
                });
            };
            if contain(offer).is_none() {
                self.lose(DropReason::Panicked);
            }
        }
        delivery.end_batch();
        rest
    }

    /// Offers an event again to the sinks that were not ready.
    #[cold]
    fn offer_again(&self, saved: Rest<E>, event: &E, delivery: &mut Delivery<'_>) -> Rest<E> {
        let mut rest = Rest::default();
        for (entry, mut journey) in saved.sinks {
            let write = || delivery.fork(&mut journey, |delivery| entry.sink.try_write(event, delivery));
            match contain(write) {
                Some(answer) => self.note(&entry, answer, journey, &mut rest),
                None => self.lose(DropReason::Panicked),
            }
        }
        rest
    }

    /// What one sink has answered.
    #[cold]
    fn note(&self, entry: &Shared<E>, answer: Result<(), WriteError>, journey: Journey, rest: &mut Rest<E>) {
        match answer {
            Ok(()) => {}
            Err(WriteError::NotReady(wait)) => {
                rest.wait = Some(rest.wait.map_or(wait, |other| other.earlier(wait)));
                rest.sinks.push((entry.clone(), journey));
            }
            Err(error) => self.lose(self.refused(entry.id, &error)),
        }
    }

    fn lose(&self, reason: DropReason) {
        lock(&self.0.lost).add(reason, 1);
    }

    #[cold]
    fn refused(&self, id: SinkId, error: &WriteError) -> DropReason {
        match error {
            WriteError::Closed => {
                // Only the one who really takes it out counts it.
                if matches!(self.remove_id(id), Ok(true)) {
                    self.0.evictions.fetch_add(1, Ordering::Relaxed);
                }
                DropReason::DestinationClosed
            }
            WriteError::Failed(failure) if failure.class() == Class::Permanent => DropReason::Permanent,
            WriteError::Failed(_) => DropReason::Exhausted,
            WriteError::Full | WriteError::NotReady(_) => DropReason::Overflow,
        }
    }
}

impl<E: ?Sized> Inner<E> {
    fn len(&self) -> usize {
        let list = self.list.load();
        if list.closed { 0 } else { list.members.len() }
    }
}

impl<E: ?Sized> Observe for Inner<E> {
    fn observe(&self, out: &mut Observations) {
        out.gauge(&metric::BROADCASTER_SINKS, &self.name, None, as_gauge(self.len() as u64));
        out.counter(&metric::BROADCASTER_WRITES, &self.name, None, self.writes.load(Ordering::Relaxed));
        out.counter(&metric::BROADCASTER_EVICTIONS, &self.name, None, self.evictions.load(Ordering::Relaxed));
        let lost = *lock(&self.lost);
        for reason in DropReason::ALL {
            out.counter(&metric::BROADCASTER_DROPPED, &self.name, Some(reason.as_str()), lost[reason]);
        }
    }
}

impl<E: ?Sized> Drop for Inner<E> {
    fn drop(&mut self) {
        std::mem::take(&mut self.registration).retire(|out| self.observe(out));
    }
}

impl<E: ?Sized + 'static> Sink<E> for Broadcaster<E> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let rest = if let Some(saved) = delivery.resume() {
            self.offer_again(saved, event, delivery)
        } else {
            let list = self.0.list.load();
            if list.closed {
                return Err(WriteError::Closed);
            }
            self.0.writes.fetch_add(1, Ordering::Relaxed);
            self.offer_first(&list.members, event, delivery)
        };
        match rest.wait {
            None => Ok(()),
            Some(wait) => {
                delivery.save(rest);
                Err(WriteError::NotReady(wait))
            }
        }
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        let pending: Vec<(usize, Shared<E>)> = {
            let mut closing = lock(&self.0.closing);
            let closing = closing.get_or_insert_with(|| {
                let list = self.0.list.rcu(|list| list.sealed());
                let entries: Vec<_> = list.members.iter().map(|member| member.entry.clone()).collect();
                Closing { answers: entries.iter().map(|_| None).collect(), entries }
            });
            let open = |(index, _): &(usize, &Shared<E>)| closing.answers[*index].is_none();
            closing.entries.iter().enumerate().filter(open).map(|(index, entry)| (index, entry.clone())).collect()
        };
        // No lock is held while sinks are called.
        for (index, entry) in pending {
            let poll = || entry.sink.poll_close(how, waker);
            let answer = contain(poll).unwrap_or(Poll::Ready(Err(CloseError::Panicked)));
            if let (Poll::Ready(answer), Some(closing)) = (answer, &mut *lock(&self.0.closing)) {
                closing.answers[index].get_or_insert(answer);
            }
        }
        let closing = lock(&self.0.closing);
        let Some(closing) = &*closing else { return Poll::Pending };
        if closing.answers.iter().any(Option::is_none) {
            return Poll::Pending;
        }
        let mut report = CloseReport::new();
        for (entry, answer) in closing.entries.iter().zip(&closing.answers) {
            report.absorb(Some(entry.id), answer.clone().unwrap_or(Err(CloseError::Panicked)));
        }
        Poll::Ready(Ok(report))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.0.id)
    }
}

impl<E: ?Sized + 'static> fmt::Debug for Broadcaster<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcaster")
            .field("name", &self.0.name)
            .field("sinks", &self.len())
            .field("writes", &self.writes())
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}
