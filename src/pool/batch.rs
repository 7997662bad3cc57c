//! Many queues made ready at once.
//!
//! A broadcast to a thousand idle queues would put a thousand mailboxes on the ready list, one by one, chased by the workers that it wakes: each push then
//! fetches the list's cache lines from a worker's core, and looks at who sleeps. So a broadcast collects some mailboxes and puts them on the list together. It
//! collects only while it writes to queues, which do not block unless the event's
//! `Clone` does, and hands over what it has before it calls anything else.

use std::sync::Arc;

use super::{Lane, Pool, Task};
use crate::sync::mutation;

/// How many are collected at most in a model.
#[cfg(sinkworks_loom)]
const FULL: usize = 2;
/// How many are collected at most: enough to spread the costs of a look, and little work for a woken worker that takes the writer's own
/// processor away, which with all thousand at once made the writer wait for all of them.
#[cfg(not(sinkworks_loom))]
const FULL: usize = 32;

/// Mailboxes to be made ready. Dropped, it makes them ready, so that none is forgotten when something panics.
#[derive(Default)]
pub(crate) struct Batch {
    pool: Option<Pool>,
    tasks: Vec<(Arc<dyn Task>, Lane)>,
}

impl Batch {
    /// Adds a mailbox that the caller has the duty to post.
    pub(crate) fn push(&mut self, pool: &Pool, task: Arc<dyn Task>, lane: Lane) {
        if !self.pool.as_ref().is_some_and(|known| known.is(pool)) {
            self.flush();
            self.pool = Some(pool.clone());
        }
        self.tasks.push((task, lane));
        if self.tasks.len() >= FULL {
            self.flush();
        }
    }

    /// Makes ready what was collected.
    fn flush(&mut self) {
        if let Some(pool) = &self.pool {
            pool.post_all(self.tasks.drain(..));
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if mutation!("batch_hands_over_at_its_end") {
            return;
        }
        self.flush();
    }
}
