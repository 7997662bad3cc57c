//! The pool: built and dropped under way, asked, waited for, and worked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use sinkworks::{Pool, Queue, Shutdown, Sink};

use crate::accounts::{Accounts, assert_proper};
use crate::leaf::{Leaf, Manner};
use crate::queue::NAME;
use crate::scene::{Actor, Operation, Scene, eventually};

pub(crate) struct PoolScene {
    handles: [Mutex<Option<Pool>>; 2],
    /// One that runs on the pool.
    queue: Mutex<Option<Queue<u64>>>,
    leaf: Arc<Leaf>,
    accounts: Accounts,
}

impl PoolScene {
    fn on(&self, actor: &mut Actor, act: impl FnOnce(&Pool, &mut Actor)) {
        if let Some(pool) = &*self.handles[actor.number].lock().unwrap_or_else(PoisonError::into_inner) {
            act(pool, actor);
        }
    }

    fn queue(&self) -> Option<Queue<u64>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send(&self, actor: &mut Actor) {
        if let Some(queue) = self.queue() {
            let event = actor.event();
            self.accounts.note(event, &queue.send(event).map_err(|refused| refused.error));
        }
    }
}

/// That a pool delivers, when it is new or when it is everybody's.
fn deliver(pool: &Pool) {
    let leaf = Leaf::new(Manner::Takes);
    let queue = Queue::builder(leaf.clone()).name(NAME).pool(pool).build().unwrap();
    queue.send(1).unwrap();
    drop(queue);
    eventually(|| leaf.is_closed());
    assert_eq!(leaf.seen(), [1]);
}

impl Scene for PoolScene {
    const NAME: &'static str = "pool";
    const SOURCES: &'static [&'static str] = &["src/pool/mod.rs"];
    const BATCH: usize = 8;
    const OPERATIONS: &'static [Operation<Self>] = &[
        Operation::new("build", |_, actor| {
            let threads = actor.rng.usize(1..3);
            let pool = Pool::builder().name("new").threads(threads).keep_alive(Duration::ZERO).build().unwrap();
            deliver(&pool);
        }),
        Operation::new("dedicated", |_, _| deliver(&Pool::dedicated("own").unwrap())),
        Operation::new("global", |_, _| deliver(Pool::global())),
        Operation::new("wait_idle", |scene, actor| scene.on(actor, |pool, _| pool.wait_idle())),
        Operation::new("stats", |scene, actor| {
            scene.on(actor, |pool, _| {
                let stats = pool.stats();
                assert!(stats.threads <= 3 && stats.idle <= 3, "{stats:?}");
                assert_eq!((stats.panics, stats.spawn_failures), (0, 0));
            });
        }),
        Operation::new("clock", |scene, actor| {
            scene.on(actor, |pool, _| assert!(pool.clock().now() <= pool.clock().now()));
        }),
        Operation::new("name", |scene, actor| scene.on(actor, |pool, _| assert_eq!(pool.name(), "played"))),
        Operation::new("debug", |scene, actor| scene.on(actor, |pool, _| assert!(!format!("{pool:?}").is_empty()))),
        Operation::new("clone", |scene, actor| scene.on(actor, |pool, _| drop(pool.clone()))),
        Operation::new("drop", |scene, actor| {
            scene.handles[actor.number].lock().unwrap_or_else(PoisonError::into_inner).take();
        }),
        Operation::new("drop(the queue)", |scene, _| {
            drop(scene.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        }),
        Operation::new("send", PoolScene::send),
        Operation::new("send(two queues)", |scene, actor| {
            scene.send(actor);
            scene.on(actor, |pool, _| deliver(pool));
        }),
        Operation::new("close(the queue)", |scene, _| {
            if let Some(queue) = scene.queue() {
                queue.close(Shutdown::Drain).unwrap();
            }
        }),
    ];

    fn set(rng: &mut Rng) -> Self {
        let (threads, more) = (rng.usize(1..3), rng.usize(..2));
        let builder = Pool::builder().name("played").threads(threads).max_threads(threads + more);
        let pool = builder.keep_alive(Duration::from_micros(rng.u64(..100))).build().unwrap();
        let leaf = Leaf::new([Manner::Takes, Manner::Slow, Manner::Rings, Manner::Later][rng.usize(..4)]);
        let queue = Queue::builder(leaf.clone()).name(NAME).pool(&pool).build().unwrap();
        let handles = [Mutex::new(Some(pool.clone())), Mutex::new(Some(pool))];
        Self { handles, queue: Mutex::new(Some(queue)), leaf, accounts: Accounts::default() }
    }

    /// The threads of thousands of pools have ended.
    fn leave() {
        eventually(|| crate::watchdog::threads("sinkworks-") < 64);
    }

    /// The queue's work is done, though nobody else holds the pool; then its threads let everything go.
    fn settle(self, _: &mut Rng) {
        let Self { handles, queue, leaf, accounts } = self;
        drop(handles);
        let answers = accounts.read();
        if let Some(queue) = queue.into_inner().unwrap_or_else(PoisonError::into_inner) {
            eventually(|| queue.ledger().pending == 0);
            assert_eq!(queue.ledger().accepted, answers.ok.len() as u64);
        }
        eventually(|| leaf.is_closed());
        assert_proper(&leaf.seen(), &answers.ok, &answers);
        assert!(
            leaf.seen().len() == answers.ok.len() || matches!(leaf.manner, Manner::Rings | Manner::Later),
            "{answers:?}"
        );
        eventually(|| Arc::strong_count(&leaf) == 1);
    }
}
