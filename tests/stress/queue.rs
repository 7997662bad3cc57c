//! The queue: its policies, the ways of closing it, and its handles.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use fastrand::Rng;
use sinkworks::{Batching, DropReason, Ledger, Overflow, Pool, Queue, Shutdown, Sink};

use crate::accounts::{Accounts, Answers, assert_proper};
use crate::leaf::{Leaf, Manner, Slices};
use crate::scene::{Actor, LONG, Operation, PRELUDE, Scene, event, eventually};

/// One with a single worker and one with two.
pub(crate) static POOLS: LazyLock<[Pool; 2]> =
    LazyLock::new(|| [1, 2].map(|threads| Pool::builder().name("stress").threads(threads).build().unwrap()));

pub(crate) const POLICIES: [Overflow; 6] = [
    Overflow::Block,
    Overflow::BlockFor(Duration::from_micros(50)),
    Overflow::Reject,
    Overflow::DropNewest,
    Overflow::DropOldest,
    Overflow::Disconnect,
];

/// All components have one name: the metrics of those that are gone are kept by name for as long as the process lives.
pub(crate) const NAME: &str = "stress";

pub(crate) struct QueueScene {
    /// Each actor has one. Both may be the last.
    handles: [Mutex<Option<Queue<u64>>>; 2],
    leaf: Arc<Leaf>,
    policy: Option<Overflow>,
    accounts: Accounts,
    /// Closed in a way that may abandon events, or by whoever.
    hurried: AtomicBool,
    closed: AtomicBool,
    /// What closes have reported.
    reports: Mutex<Vec<Ledger>>,
}

impl QueueScene {
    /// Acts on the actor's own handle, if that is still there.
    fn on(&self, actor: &mut Actor, act: impl FnOnce(&Queue<u64>, &mut Actor)) {
        if let Some(queue) = &*self.handles[actor.number].lock().unwrap_or_else(PoisonError::into_inner) {
            act(queue, actor);
        }
    }

    fn close(&self, actor: &mut Actor, how: Shutdown) {
        self.closed.store(true, Ordering::Release);
        if how != Shutdown::Drain {
            self.hurried.store(true, Ordering::Release);
        }
        self.on(actor, |queue, actor| {
            let report = queue.close(how).unwrap();
            let event = actor.event();
            let answer = queue.write(&event);
            self.accounts.note(event, &answer);
            assert!(answer.is_err(), "written after the close");
            let entry = &report.component(queue.id().unwrap()).unwrap().ledger;
            let now = queue.ledger();
            assert!(entry.balances(), "{entry:?}");
            assert_eq!(entry.accepted, now.accepted, "accepted after the report: {entry:?}, {now:?}");
            self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(*entry);
            // All closers get one report: that of whoever was in a hurry, if somebody was.
            let hurried = self.hurried.load(Ordering::Acquire);
            assert!(entry.pending == 0 || hurried, "drained, and yet pending: {entry:?}");
        });
    }
}

fn observe(ledger: &Ledger) {
    assert!(ledger.balances(), "{ledger:?}");
}

impl Scene for QueueScene {
    const NAME: &'static str = "queue";
    const SOURCES: &'static [&'static str] = &["src/queue/mod.rs"];
    const OPERATIONS: &'static [Operation<Self>] = &[
        Operation::new("send", |scene, actor| {
            scene.on(actor, |queue, actor| {
                for _ in 0..actor.rng.u8(1..4) {
                    let event = actor.event();
                    scene.accounts.note(event, &queue.send(event).map_err(|refused| refused.error));
                }
            });
        }),
        // Each comes when the turn before it is about to end: none may be left lying.
        Operation::new("send(when empty)", |scene, actor| {
            scene.on(actor, |queue, actor| {
                for _ in 0..8 {
                    let event = actor.event();
                    scene.accounts.note(event, &queue.send(event).map_err(|refused| refused.error));
                    eventually(|| queue.ledger().pending == 0);
                    actor.dawdle();
                }
            });
        }),
        Operation::new("try_send", |scene, actor| {
            scene.on(actor, |queue, actor| {
                let event = actor.event();
                let answer = queue.try_send(event).map_err(|refused| {
                    assert_eq!(refused.event, event, "another event came back");
                    refused.error
                });
                scene.accounts.note(event, &answer);
            });
        }),
        Operation::new("write", |scene, actor| {
            scene.on(actor, |queue, actor| {
                let event = actor.event();
                scene.accounts.note(event, &queue.write(&event));
            });
        }),
        Operation::new("try_write", |scene, actor| {
            scene.on(actor, |queue, actor| {
                let event = actor.event();
                scene.accounts.note(event, &queue.try_write(&event, &mut sinkworks::Delivery::from_thread()));
            });
        }),
        Operation::new("close(drain)", |scene, actor| scene.close(actor, Shutdown::Drain)),
        Operation::new("close(until)", |scene, actor| {
            let how = actor.until();
            scene.close(actor, how);
        }),
        Operation::new("close(abort)", |scene, actor| scene.close(actor, Shutdown::Abort)),
        Operation::new("poll_close", |scene, actor| {
            scene.closed.store(true, Ordering::Release);
            scene.on(actor, |queue, _| drop(queue.poll_close(Shutdown::Drain, Waker::noop())));
        }),
        Operation::new("ledger", |scene, actor| {
            scene.on(actor, |queue, _| {
                let before = queue.ledger();
                let after = queue.ledger();
                observe(&before);
                assert!(queue.capacity().is_none_or(|capacity| before.pending <= capacity), "{before:?}");
                observe(&after);
                assert!(before.accepted <= after.accepted && before.delivered <= after.delivered);
            });
        }),
        Operation::new("is_closed", |scene, actor| {
            scene.on(actor, |queue, _| assert!(!queue.is_closed() || queue.send(0).is_err()));
        }),
        Operation::new("high_water", |scene, actor| {
            scene.on(actor, |queue, _| {
                let most = queue.high_water();
                assert!(queue.capacity().is_none_or(|capacity| most <= capacity), "{most}");
            });
        }),
        Operation::new("capacity", |scene, actor| {
            scene.on(actor, |queue, _| assert_eq!(queue.capacity().is_some(), scene.policy.is_some()));
        }),
        Operation::new("bytes", |scene, actor| {
            scene.on(actor, |queue, _| assert!(queue.bytes().is_none_or(|bytes| bytes <= 64)));
        }),
        Operation::new("refused", |scene, actor| scene.on(actor, |queue, _| assert!(queue.refused() < 10))),
        Operation::new("dead_letters_lost", |scene, actor| {
            scene.on(actor, |queue, _| assert_eq!(queue.dead_letters_lost(), 0));
        }),
        Operation::new("name", |scene, actor| scene.on(actor, |queue, _| assert!(!queue.name().is_empty()))),
        Operation::new("id", |scene, actor| scene.on(actor, |queue, _| assert!(queue.id().is_some()))),
        Operation::new("debug", |scene, actor| scene.on(actor, |queue, _| assert!(!format!("{queue:?}").is_empty()))),
        Operation::new("clone", |scene, actor| scene.on(actor, |queue, _| drop(queue.clone()))),
        Operation::new("drop", |scene, actor| {
            scene.handles[actor.number].lock().unwrap_or_else(PoisonError::into_inner).take();
        }),
        Operation::new("drop(last)", |scene, actor| {
            // Also the other actor's, unless that is busy with it.
            for number in [1 - actor.number, actor.number] {
                if let Ok(mut handle) = scene.handles[number].try_lock() {
                    handle.take();
                }
            }
        }),
    ];

    fn set(rng: &mut Rng) -> Self {
        let leaf = Leaf::new(Manner::any(rng));
        let policy = rng.bool().then(|| POLICIES[rng.usize(..POLICIES.len())]);
        let batch = if leaf.takes_batches() && rng.bool() { rng.usize(1..=3) } else { 0 };
        let linger = Duration::from_micros([0, 0, 50][rng.usize(..3)]);
        let builder = match batch {
            0 => Queue::builder(leaf.clone()),
            events => Queue::batching(Slices(leaf.clone()), Batching::new(events, linger)),
        };
        let mut builder = builder.name(NAME).pool(&POOLS[rng.usize(..2)]);
        if let Some(policy) = policy {
            let least = batch.max(1) as u64;
            builder = builder.capacity(rng.u64(least..least + 3)).overflow(policy);
            if rng.u8(..4) == 0 {
                builder = builder.capacity_bytes(rng.u64(8..=64), |_| 8);
            }
        }
        if rng.u8(..4) == 0 {
            builder = builder.stamped();
        }
        let queue = builder.build().unwrap();
        let accounts = Accounts::default();
        for number in 0..rng.u64(..3) {
            let event = event(PRELUDE, number);
            accounts.note(event, &queue.try_send(event).map_err(|refused| refused.error));
        }
        let handles = [Mutex::new(Some(queue.clone())), Mutex::new(Some(queue))];
        Self {
            handles,
            leaf,
            policy,
            accounts,
            hurried: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            reports: Mutex::default(),
        }
    }

    fn settle(self, rng: &mut Rng) {
        let Self { handles, leaf, policy, accounts, hurried, closed, reports } = self;
        let answers = accounts.read();
        let [a, b] = handles.map(|handle| handle.into_inner().unwrap_or_else(PoisonError::into_inner));
        let hurried = hurried.into_inner();
        if let Some(queue) = a.or(b) {
            if rng.bool() {
                queue.close(Shutdown::within(LONG)).unwrap();
            }
            eventually(|| queue.ledger().pending == 0);
            let closed = closed.into_inner() || policy == Some(Overflow::Disconnect);
            check_books(&queue.ledger(), &answers, &leaf, policy, hurried || closed);
            assert_eq!(queue.bytes().unwrap_or(0), 0, "bytes of nothing");
            let most = queue.high_water();
            assert!(queue.capacity().is_none_or(|capacity| most <= capacity), "{most} were pending");
            for report in reports.into_inner().unwrap_or_else(PoisonError::into_inner) {
                check_report(&report, &queue.ledger());
            }
        } else {
            eventually(|| leaf.is_closed());
            let lossless = !hurried && policy.is_none() && matches!(leaf.manner, Manner::Takes | Manner::Slow);
            assert!(!lossless || leaf.seen().len() == answers.ok.len(), "lost: {:x?}, {answers:x?}", leaf.seen());
        }
        assert_proper(&leaf.seen(), &answers.ok, &answers);
        assert!(!leaf.overlapped(), "two writes at a time");
        // Nothing holds the queue any more.
        eventually(|| Arc::strong_count(&leaf) == 1);
    }
}

/// What a report said stays true: only what was in flight was still to be decided.
#[track_caller]
fn check_report(report: &Ledger, end: &Ledger) {
    assert_eq!(report.accepted, end.accepted, "accepted after the report: {report:?}, {end:?}");
    let decided = end.delivered - report.delivered;
    assert!(decided <= report.pending, "given up, and yet delivered: {report:?}, {end:?}");
    let lost = DropReason::ALL.iter().all(|reason| report.dropped[*reason] <= end.dropped[*reason]);
    assert!(lost, "dropped, and yet not: {report:?}, {end:?}");
}

#[track_caller]
fn check_books(ledger: &Ledger, answers: &Answers, leaf: &Leaf, policy: Option<Overflow>, closed: bool) {
    let context = (ledger, answers, leaf.manner, policy, closed);
    assert!(ledger.balances(), "{context:x?}");
    assert_eq!(ledger.accepted, answers.ok.len() as u64, "{context:x?}");
    assert_eq!(ledger.delivered, leaf.seen().len() as u64, "{context:x?}");
    let possible = |reason| match reason {
        DropReason::Overflow => matches!(policy, Some(Overflow::DropNewest | Overflow::DropOldest)),
        DropReason::Exhausted => leaf.manner == Manner::Stumbles,
        DropReason::DestinationClosed => closed || matches!(leaf.manner, Manner::Ends(_)),
        DropReason::Abandoned => closed,
        _ => false,
    };
    for reason in DropReason::ALL {
        assert!(possible(reason) || ledger.dropped[reason] == 0, "{reason}: {context:x?}");
    }
    if !closed && leaf.manner == Manner::Stumbles {
        assert_eq!(ledger.dropped[DropReason::Exhausted], leaf.refused(), "{context:x?}");
    }
    let full = matches!(policy, Some(Overflow::Reject | Overflow::BlockFor(_) | Overflow::Block));
    assert!(full || answers.full.is_empty(), "{context:x?}");
    assert!(answers.failed.is_empty(), "{context:x?}");
}
