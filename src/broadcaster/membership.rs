//! Who gets the events: adding, removing, and waiting until a removed sink is out of reach.

use std::sync::Arc;
use std::time::Duration;

use super::Broadcaster;
use super::list::{Gone, NewSink};
use crate::block;
use crate::clock::saturating_add;
use crate::error::WriteError;
use crate::sink::{Sink, SinkId};
use crate::sync::{lock, mutation, now};

impl<E: ?Sized + 'static> Broadcaster<E> {
    /// Adds a best-effort sink, which gets every event from the next write on. A sink with the [id](Sink::id) of one that is there changes
    /// nothing. Returns the id to remove it by, a new one for a sink that has none. Copies the list.
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`].
    pub fn add(&self, sink: impl Sink<E> + 'static) -> Result<SinkId, WriteError> {
        let id = sink.id().unwrap_or_else(SinkId::unique);
        self.insert(&NewSink::new(id, sink))
    }

    /// Adds a sink that must take every event, or the write fails: with [`WriteError::Failed`], whose [cause](crate::Failure::cause) is a
    /// [`RequiredSinkError`](crate::RequiredSinkError). A sink with the [id](Sink::id) of one that is there becomes required. Copies the list.
    ///
    /// - **Class**: [transient](crate::Class::Transient) if one of the sinks that refused the event may take it later, which are those that failed in a transient
    ///   way or are full; else permanent, or exhausted if all of them gave up. [`retry_after`](crate::Failure::retry_after) is the longest that one asked for.
    /// - **Closed**: a required sink that has closed stays, and every write fails until it is removed. Nobody retries it.
    /// - **A panic** is a permanent failure with the cause [`SinkPanicked`](crate::SinkPanicked).
    /// - **Removed** while an event waits to be retried, it is not asked any more, and the event need not reach it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinkworks::{Breaker, Broadcaster, Shutdown, Sink, SinkExt, sink_fn};
    ///
    /// let broadcaster = Broadcaster::new();
    /// broadcaster.add_required(sink_fn(|event: &u64| { println!("to disk: {event}"); Ok(()) }))?;
    /// broadcaster.add(sink_fn(|event: &u64| { println!("to whom it may concern: {event}"); Ok(()) }))?;
    /// // Repeats what the required sink refuses, and to that one only.
    /// let queue = broadcaster.retrying(Breaker::new(5, Duration::from_secs(1))).queued();
    /// queue.send(7)?;
    /// queue.close(Shutdown::within(Duration::from_secs(5)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`WriteError::Closed`].
    pub fn add_required(&self, sink: impl Sink<E> + 'static) -> Result<SinkId, WriteError> {
        let id = sink.id().unwrap_or_else(SinkId::unique);
        let new = NewSink::new(id, sink);
        new.entry.require();
        self.insert(&new)
    }

    fn insert(&self, new: &NewSink<E>) -> Result<SinkId, WriteError> {
        let id = new.entry.id;
        let early = mutation!("broadcaster_add_answers_from_the_step").then(|| self.0.list.load_full());
        let before = if mutation!("broadcaster_add_in_one_step") {
            let before = self.0.list.load_full();
            self.0.list.store(before.with(new));
            before
        } else {
            self.0.list.rcu(|list| list.with(new))
        };
        let before = early.unwrap_or(before);
        if before.closed && !mutation!("broadcaster_add_sees_the_close") {
            return Err(WriteError::Closed);
        }
        if let Some(known) = before.get(id).filter(|_| new.entry.is_required()) {
            known.require();
        }
        Ok(id)
    }

    /// Removes a sink without closing it, and says whether it was there. Returns at once: a write that is under way may still reach it. An event that waits
    /// since the sink was not ready waits no longer; for this sink it is counted as [lost](Self::lost), abandoned.
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
        let before = if mutation!("broadcaster_remove_in_one_step") {
            let before = self.0.list.load_full();
            self.0.list.store(before.without(id));
            before
        } else {
            self.0.list.rcu(|list| list.without(id))
        };
        // A closed list changes no more, so `before` is not its last owner.
        if before.closed && !mutation!("broadcaster_remove_sees_the_close") {
            return Err(WriteError::Closed);
        }
        let gone = before.get(id).map(|entry| Arc::downgrade(entry.leave()));
        let removed = gone.is_some();
        if let Some(gone) = gone.filter(|_| !mutation!("broadcaster_notes_who_leaves")) {
            leaving.retain(|(_, gone)| gone.strong_count() > 0);
            leaving.push((id, gone));
        }
        // Before `before`, which may be the sink's last owner.
        drop(leaving);
        if removed {
            // Needs no fence: both this and `WaitList::register` take the list's lock. If this comes first, who waits for this sink sees that it is gone,
            // otherwise it is woken.
            if !mutation!("broadcaster_remove_wakes") {
                self.0.waiting.wake_all();
            }
        }
        Ok(removed)
    }

    /// Removes a sink and waits until no write can reach it any more, at most for `timeout`. Says whether that is so.
    ///
    /// Called by a sink inside a write of this very broadcaster it cannot be, and the time passes. An event that is held because the sink was not
    /// ready, or required and has refused it, counts as a write until the event is offered again.
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
        let until = saturating_add(now(), timeout);
        let waker = block::thread_waker();
        let all_gone = || leaving.iter().all(|gone| gone.is_gone());
        let too_late = mutation!("broadcaster_waiter_registers_first") && all_gone();
        for gone in &leaving {
            gone.wakers.register(&waker);
        }
        if mutation!("broadcaster_waiter_registers_first") && !too_late {
            block::park(Some(until));
        }
        while !all_gone() && now() < until {
            block::park(Some(until));
        }
        Ok(all_gone())
    }
}
