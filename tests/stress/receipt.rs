//! Receipts: the end of an event is told once, when its last clone is gone, with everything that was acknowledged before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use fastrand::Rng;
use sinkworks::{
    Acknowledged, Delivery, Outcome, Queue, Receipt, ReceiptError, Shutdown, Sink, SinkExt, SinkFn, Tracked,
    WriteError, sink_fn,
};

use crate::queue::NAME;
use crate::scene::{Actor, LONG, Operation, Scene};

type Taking = fn(&u64) -> Result<(), WriteError>;

pub(crate) struct ReceiptScene {
    clones: [Mutex<Option<Tracked<u64>>>; 2],
    receipt: Receipt,
    stage: Acknowledged<SinkFn<Taking>>,
    acknowledged: AtomicU64,
}

impl ReceiptScene {
    fn on(&self, actor: &mut Actor, act: impl FnOnce(&Tracked<u64>, &mut Actor)) {
        if let Some(event) = &*self.clones[actor.number].lock().unwrap_or_else(PoisonError::into_inner) {
            act(event, actor);
        }
    }

    /// Gives up the actor's clone, as everybody must who waits for the receipt.
    fn let_go(&self, actor: &Actor) {
        let event = self.clones[actor.number].lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(event);
    }

    fn final_is(&self, outcome: &Outcome) {
        let names = ["one", "other", "sink"].into_iter().filter(|name| outcome.has(name));
        assert!(outcome.has_all(names));
        let times: u64 = outcome.acknowledgements().iter().map(|known| known.times).sum();
        assert_eq!(times, self.acknowledged.load(Ordering::Acquire), "{outcome:?}");
    }
}

impl Scene for ReceiptScene {
    const NAME: &'static str = "receipt";
    const SOURCES: &'static [&'static str] = &["src/receipt.rs"];
    const OPERATIONS: &'static [Operation<Self>] = &[
        Operation::new("acknowledge", |scene, actor| {
            scene.on(actor, |event, actor| {
                scene.acknowledged.fetch_add(1, Ordering::AcqRel);
                event.acknowledge(if actor.rng.bool() { "one" } else { "other" });
            });
        }),
        Operation::new("write(acknowledged)", |scene, actor| {
            scene.on(actor, |event, _| {
                scene.acknowledged.fetch_add(1, Ordering::AcqRel);
                scene.stage.write(event).unwrap();
            });
        }),
        Operation::new("try_write(acknowledged)", |scene, actor| {
            scene.on(actor, |event, _| {
                scene.acknowledged.fetch_add(1, Ordering::AcqRel);
                scene.stage.try_write(event, &mut Delivery::from_thread()).unwrap();
            });
        }),
        Operation::new("close(acknowledged)", |_, _| {
            let stage = sink_fn(|_: &u64| Ok(())).acknowledged("other");
            let closed = stage.poll_close(Shutdown::Drain, Waker::noop());
            assert!(closed.is_ready() && stage.close(Shutdown::Abort).is_ok());
        }),
        Operation::new("poll_close(untracked)", |_, _| {
            let stage = sink_fn(|_: &u64| Ok(())).untracked();
            assert!(stage.poll_close(Shutdown::Drain, Waker::noop()).is_ready());
        }),
        Operation::new("id", |scene, _| assert!(scene.stage.id().is_some())),
        Operation::new("write(untracked, queued)", |scene, actor| {
            scene.on(actor, |event, _| {
                let queue = Queue::builder(sink_fn(|_: &u64| Ok(()))).name(NAME).build().unwrap();
                queue.untracked().write(event).unwrap();
            });
        }),
        Operation::new("clone", |scene, actor| scene.on(actor, |event, _| drop(event.clone()))),
        Operation::new("deref", |scene, actor| scene.on(actor, |event, _| assert_eq!(**event, 7))),
        Operation::new("debug", |scene, actor| scene.on(actor, |event, _| assert!(!format!("{event:?}").is_empty()))),
        Operation::new("drop", |scene, actor| scene.let_go(actor)),
        Operation::new("wait", |scene, actor| {
            scene.let_go(actor);
            scene.final_is(&scene.receipt.wait().unwrap());
        }),
        Operation::new("wait_timeout", |scene, actor| {
            if actor.rng.bool() {
                scene.let_go(actor);
                scene.final_is(&scene.receipt.wait_timeout(LONG).unwrap());
            } else {
                match scene.receipt.wait_timeout(Duration::from_micros(20)) {
                    Ok(outcome) => scene.final_is(&outcome),
                    Err(error) => assert_eq!(error, ReceiptError::TimedOut),
                }
            }
        }),
        Operation::new("try_outcome", |scene, _| {
            if let Some(outcome) = scene.receipt.try_outcome() {
                scene.final_is(&outcome);
            }
        }),
        Operation::new("Receipt::debug", |scene, _| assert!(!format!("{:?}", scene.receipt).is_empty())),
    ];

    fn set(_: &mut Rng) -> Self {
        let (event, receipt) = Tracked::new(7);
        let clones = [Mutex::new(Some(event.clone())), Mutex::new(Some(event))];
        let taking: Taking = |_| Ok(());
        let stage = sink_fn(taking).acknowledged("sink");
        Self { clones, receipt, stage, acknowledged: AtomicU64::new(0) }
    }

    fn release(&self) {
        self.clones.iter().filter_map(|event| event.try_lock().ok()).for_each(|mut event| drop(event.take()));
    }

    fn settle(self, _: &mut Rng) {
        let held = self.clones.iter().any(|event| event.lock().unwrap_or_else(PoisonError::into_inner).is_some());
        assert!(!held || self.receipt.try_outcome().is_none(), "the end was told before it came");
        self.clones.iter().for_each(|event| drop(event.lock().unwrap_or_else(PoisonError::into_inner).take()));
        let outcome = self.receipt.try_outcome().expect("nobody has the event any more");
        self.final_is(&outcome);
    }
}
