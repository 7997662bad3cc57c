//! Posting many tasks at once.
//!
//! A broadcast makes one queue after the other ready. If it posted each at once, the first would wake a worker, which would then chase the writer through the
//! ready list and take the cache lines that the writer needs next. So the posts of a broadcast are kept back, per thread, and made together at its end, with one
//! look at who sleeps. They are also made before the writer calls a sink that may block, and before it parks.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Lane, Pool, Task};

thread_local! {
    static BATCH: RefCell<Batch> = const { RefCell::new(Batch { open: 0, pool: None, tasks: Vec::new() }) };
}

struct Batch {
    /// Broadcasts that this thread is in, one inside the other.
    open: u32,
    pool: Option<Pool>,
    tasks: Vec<(Arc<dyn Task>, Lane)>,
}

/// Keeps the posts of this thread back until it is dropped.
pub(crate) struct Guard(());

/// Begins to keep posts back.
pub(crate) fn begin() -> Guard {
    BATCH.with_borrow_mut(|batch| batch.open += 1);
    Guard(())
}

impl Drop for Guard {
    fn drop(&mut self) {
        let last = BATCH.with_borrow_mut(|batch| {
            batch.open -= 1;
            batch.open == 0
        });
        if last {
            flush();
        }
    }
}

/// Keeps a post back, or gives the task back if there is no batch.
pub(super) fn keep(pool: &Pool, task: Arc<dyn Task>, lane: Lane) -> Option<Arc<dyn Task>> {
    let other = BATCH.with_borrow_mut(|batch| {
        if batch.open == 0 {
            return Err(task);
        }
        let other = match &batch.pool {
            Some(kept) if kept.is(pool) => None,
            _ => batch.take(),
        };
        if batch.pool.is_none() {
            batch.pool = Some(pool.clone());
        }
        batch.tasks.push((task, lane));
        Ok(other)
    });
    match other {
        Err(task) => return Some(task),
        Ok(Some((pool, tasks))) => pool.post_all(tasks),
        Ok(None) => {}
    }
    None
}

/// Makes the posts that were kept back.
pub(crate) fn flush() {
    if let Some((pool, tasks)) = BATCH.with_borrow_mut(Batch::take) {
        pool.post_all(tasks);
    }
}

impl Batch {
    fn take(&mut self) -> Option<(Pool, Vec<(Arc<dyn Task>, Lane)>)> {
        let pool = self.pool.take()?;
        Some((pool, std::mem::take(&mut self.tasks)))
    }
}
