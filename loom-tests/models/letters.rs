//! Dead letters: each event that a queue drops reaches the queue of dead letters once, and before anybody sees it counted. Neither queue has a worker of its own: the
//! model's threads give the turns.

use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};

use loom::thread;

use super::queue::Bell;
use super::{Model, mutation};
use crate::clock::Clock;
use crate::dead_letter::DeadLetter;
use crate::error::Failure;
use crate::intake::entrance::Overflow;
use crate::pool::Pool;
use crate::queue::Queue;
use crate::shutdown::Shutdown;
use crate::sink::{Sink, sink_fn};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "letters_evict_against_abort",
        preemptions: Some(3),
        run: evict_against_abort,
        mutations: &[mutation("letter_before_the_eviction")],
    },
    Model {
        name: "letters_turn_against_abort",
        preemptions: Some(3),
        run: turn_against_abort,
        mutations: &[mutation("letter_before_the_count")],
    },
    Model {
        name: "letters_shed_against_the_end",
        preemptions: Some(3),
        run: shed_against_the_end,
        mutations: &[mutation("channel_end_after_the_gaps")],
    },
];

/// A queue that fails with every event, its dead letters, and whose letters have come.
struct Rig {
    pool: Pool,
    queue: Queue<u32>,
    post: Pool,
    letters: Queue<DeadLetter<u32>>,
    come: Arc<std::sync::Mutex<Vec<u32>>>,
}

impl Rig {
    fn new(overflow: Overflow, capacity: u64) -> Self {
        let [pool, post] = [(); 2].map(|()| Pool::for_model(1, Clock::system()));
        let come = Arc::<std::sync::Mutex<Vec<u32>>>::default();
        let into = come.clone();
        let office = sink_fn(move |letter: &DeadLetter<u32>| {
            into.lock().unwrap_or_else(PoisonError::into_inner).push(letter.event);
            Ok(())
        });
        let letters = Queue::builder(office).name("letters").pool(&post).build().unwrap();
        let fails = sink_fn(|_: &u32| Err(Failure::permanent("told to fail").into()));
        let builder = Queue::builder(fails).name("model").pool(&pool).dead_letters(&letters);
        let queue = builder.capacity(capacity).overflow(overflow).build().unwrap();
        Self { pool, queue, post, letters, come }
    }

    /// Who sees a drop counted finds its letter.
    fn check(&self) {
        let dropped = self.queue.ledger().dropped.total();
        let letters = self.letters.ledger().accepted;
        assert!(letters >= dropped, "{dropped} dropped, {letters} letters");
    }

    /// Closes, giving the turns that it waits for.
    fn close<E: Clone + Send + 'static>(queue: &Queue<E>, pool: &Pool, how: Shutdown) {
        let nobody = Waker::from(Arc::new(Bell::default()));
        while let Poll::Pending = queue.poll_close(how, &nobody) {
            pool.work_once();
        }
    }

    /// Each of the events that were accepted has come once.
    fn finish(&self, mut accepted: Vec<u32>) {
        while self.queue.ledger().pending > 0 {
            self.pool.work_once();
        }
        Self::close(&self.letters, &self.post, Shutdown::Drain);
        let mut come = self.come.lock().unwrap_or_else(PoisonError::into_inner).clone();
        come.sort_unstable();
        accepted.sort_unstable();
        assert_eq!(come, accepted);
        assert_eq!(self.queue.dead_letters_lost(), 0);
    }
}

/// A writer takes the oldest event's place while the queue is aborted: each event that was accepted has one letter.
fn evict_against_abort() {
    let rig = Rig::new(Overflow::DropOldest, 1);
    rig.queue.send(1).unwrap();
    let writer = {
        let queue = rig.queue.clone();
        thread::spawn(move || queue.send(2).is_ok())
    };
    rig.check();
    Rig::close(&rig.queue, &rig.pool, Shutdown::Abort);
    rig.check();
    let accepted = if writer.join().unwrap() { vec![1, 2] } else { vec![1] };
    rig.finish(accepted);
}

/// A turn loses its events while the queue is aborted: whoever gives an event up writes its letter, and nobody else.
fn turn_against_abort() {
    let rig = Rig::new(Overflow::Block, 2);
    rig.queue.send(1).unwrap();
    rig.queue.send(2).unwrap();
    let turn = {
        let pool = rig.pool.clone();
        thread::spawn(move || pool.work_once())
    };
    rig.check();
    let nobody = Waker::from(Arc::new(Bell::default()));
    let ended = rig.queue.poll_close(Shutdown::Abort, &nobody).is_ready();
    assert!(ended, "an abort of a queue whose sink closes at once waits for nobody");
    rig.check();
    turn.join().unwrap();
    rig.finish(vec![1, 2]);
}

/// A writer drops its own event while the queue closes: the close ends after its letter.
fn shed_against_the_end() {
    let rig = Rig::new(Overflow::DropNewest, 1);
    rig.queue.send(1).unwrap();
    let writer = {
        let queue = rig.queue.clone();
        thread::spawn(move || queue.send(2).is_ok())
    };
    let nobody = Waker::from(Arc::new(Bell::default()));
    let mut ended = false;
    for _ in 0..2 {
        ended = rig.queue.poll_close(Shutdown::Drain, &nobody).is_ready();
        if ended {
            let dropped = rig.queue.ledger().dropped.total();
            assert_eq!(dropped, rig.letters.ledger().accepted, "ended before a letter");
            break;
        }
        rig.pool.work_once();
    }
    let accepted = if writer.join().unwrap() { vec![1, 2] } else { vec![1] };
    if !ended {
        // It waits for the writer, who is done now.
        Rig::close(&rig.queue, &rig.pool, Shutdown::Drain);
    }
    rig.finish(accepted);
}
