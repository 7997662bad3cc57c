//! The channel and its receiver.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::task::Waker;
use std::time::Duration;

use fastrand::Rng;
use sinkworks::{Channel, Delivery, DropReason, Overflow, Receiver, RecvError, Shutdown, Sink};

use crate::accounts::{Accounts, assert_proper};
use crate::queue::{NAME, POLICIES};
use crate::scene::{Actor, Operation, PRELUDE, Scene, event, eventually};

pub(crate) struct ChannelScene {
    handles: [Mutex<Option<Channel<u64>>>; 2],
    receiver: RwLock<Option<Receiver<u64>>>,
    policy: Option<Overflow>,
    accounts: Accounts,
    /// What each actor has received, and the conductor.
    received: [Mutex<Vec<u64>>; 3],
    /// Whether a writer that waits gets room, rather than the end.
    generous: bool,
    /// Actors that wait to receive.
    readers: AtomicU64,
    /// How many the receivers were told to have missed.
    missed: AtomicU64,
}

const CONDUCTOR: usize = 2;

impl ChannelScene {
    fn on(&self, actor: &mut Actor, act: impl FnOnce(&Channel<u64>, &mut Actor)) {
        if let Some(channel) = &*self.handles[actor.number].lock().unwrap_or_else(PoisonError::into_inner) {
            act(channel, actor);
        }
    }

    fn reading(&self, act: impl FnOnce(&Receiver<u64>)) {
        if let Some(receiver) = &*self.receiver.read().unwrap_or_else(PoisonError::into_inner) {
            act(receiver);
        }
    }

    fn pending(&self) -> u64 {
        let Ok(receiver) = self.receiver.try_read() else { return 0 };
        receiver.as_ref().map_or(0, |receiver| receiver.ledger().pending)
    }

    /// On behalf of the conductor.
    fn receive_one(&self) -> bool {
        let Ok(receiver) = self.receiver.try_read() else { return false };
        receiver.as_ref().is_some_and(|receiver| self.goes_on(CONDUCTOR, receiver.try_recv()))
    }

    fn note(&self, by: usize, answer: Result<u64, RecvError>) {
        self.goes_on(by, answer);
    }

    /// Notes it too. `false` at the end, or if nothing is there.
    fn goes_on(&self, by: usize, answer: Result<u64, RecvError>) -> bool {
        match answer {
            Ok(event) => self.received[by].lock().unwrap_or_else(PoisonError::into_inner).push(event),
            Err(RecvError::Lagged(missed)) => {
                assert_ne!(missed, 0);
                self.missed.fetch_add(missed, Ordering::AcqRel);
            }
            Err(_) => return false,
        }
        true
    }

    fn close(&self, actor: &mut Actor, how: Shutdown) {
        self.on(actor, |channel, actor| {
            let report = channel.close(how).unwrap();
            let event = actor.event();
            let answer = channel.write(&event);
            assert!(answer.is_err(), "written after the close");
            self.accounts.note(event, &answer);
            let entry = report.component(channel.id().unwrap()).unwrap().ledger;
            assert!(entry.balances(), "{entry:?}");
            assert_eq!(entry.accepted, channel.ledger().accepted, "accepted after the report");
        });
    }
}

impl Scene for ChannelScene {
    const NAME: &'static str = "channel";
    const SOURCES: &'static [&'static str] = &["src/channel/mod.rs", "src/channel/receiver.rs"];
    const OPERATIONS: &'static [Operation<Self>] = &[
        Operation::new("send", |scene, actor| {
            scene.on(actor, |channel, actor| {
                for _ in 0..actor.rng.u8(1..4) {
                    let event = actor.event();
                    scene.accounts.note(event, &channel.send(event).map_err(|refused| refused.error));
                }
            });
        }),
        // Each comes when a reader that has emptied the channel is about to park.
        Operation::new("send(when empty)", |scene, actor| {
            scene.on(actor, |channel, actor| {
                for _ in 0..8 {
                    let event = actor.event();
                    scene.accounts.note(event, &channel.send(event).map_err(|refused| refused.error));
                    let empty = || channel.ledger().pending == 0 || scene.readers.load(Ordering::Acquire) == 0;
                    eventually(empty);
                    actor.dawdle();
                }
            });
        }),
        Operation::new("write", |scene, actor| {
            scene.on(actor, |channel, actor| {
                let event = actor.event();
                scene.accounts.note(event, &channel.write(&event));
            });
        }),
        Operation::new("try_write", |scene, actor| {
            scene.on(actor, |channel, actor| {
                let event = actor.event();
                scene.accounts.note(event, &channel.try_write(&event, &mut Delivery::from_thread()));
            });
        }),
        Operation::new("close(drain)", |scene, actor| scene.close(actor, Shutdown::Drain)),
        Operation::new("close(abort)", |scene, actor| scene.close(actor, Shutdown::Abort)),
        Operation::new("poll_close", |scene, actor| {
            scene.on(actor, |channel, _| assert!(channel.poll_close(Shutdown::Drain, Waker::noop()).is_ready()));
        }),
        Operation::new("ledger", |scene, actor| {
            scene.on(actor, |channel, _| {
                let (before, after) = (channel.ledger(), channel.ledger());
                assert!(before.balances() && after.balances(), "{before:?} {after:?}");
                assert!(before.accepted <= after.accepted && before.delivered <= after.delivered);
            });
        }),
        Operation::new("name", |scene, actor| scene.on(actor, |channel, _| assert!(!channel.name().is_empty()))),
        Operation::new("id", |scene, actor| scene.on(actor, |channel, _| assert!(channel.id().is_some()))),
        Operation::new("debug", |scene, actor| {
            scene.on(actor, |channel, _| assert!(!format!("{channel:?}").is_empty()));
        }),
        Operation::new("clone", |scene, actor| scene.on(actor, |channel, _| drop(channel.clone()))),
        Operation::new("drop", |scene, actor| {
            scene.handles[actor.number].lock().unwrap_or_else(PoisonError::into_inner).take();
        }),
        Operation::new("drop(last)", |scene, actor| {
            for number in [1 - actor.number, actor.number] {
                if let Ok(mut handle) = scene.handles[number].try_lock() {
                    handle.take();
                }
            }
        }),
        Operation::new("recv", |scene, actor| {
            scene.reading(|receiver| {
                scene.readers.fetch_add(1, Ordering::AcqRel);
                scene.note(actor.number, receiver.recv());
                scene.readers.fetch_sub(1, Ordering::AcqRel);
            });
        }),
        Operation::new("recv(many)", |scene, actor| {
            scene.reading(|receiver| {
                scene.readers.fetch_add(1, Ordering::AcqRel);
                for _ in 0..6 {
                    scene.note(actor.number, receiver.recv());
                }
                scene.readers.fetch_sub(1, Ordering::AcqRel);
            });
        }),
        Operation::new("try_recv", |scene, actor| {
            scene.reading(|receiver| scene.note(actor.number, receiver.try_recv()));
        }),
        Operation::new("recv_timeout", |scene, actor| {
            let timeout = Duration::from_micros(actor.rng.u64(..100));
            scene.reading(|receiver| scene.note(actor.number, receiver.recv_timeout(timeout)));
        }),
        Operation::new("iter", |scene, actor| {
            // It passes over what was missed, and tells nobody.
            let tells = !matches!(scene.policy, Some(Overflow::DropNewest | Overflow::DropOldest));
            scene.reading(|receiver| {
                for event in receiver.iter().take(if tells { 2 } else { 0 }) {
                    scene.note(actor.number, Ok(event));
                }
            });
        }),
        Operation::new("Receiver::ledger", |scene, _| scene.reading(|receiver| assert!(receiver.ledger().balances()))),
        Operation::new("Receiver::debug", |scene, _| {
            scene.reading(|receiver| assert!(!format!("{receiver:?}").is_empty()));
        }),
        Operation::new("Receiver::drop", |scene, _| {
            let receiver = scene.receiver.write().unwrap_or_else(PoisonError::into_inner).take();
            drop(receiver);
        }),
    ];

    fn set(rng: &mut Rng) -> Self {
        let policy = rng.bool().then(|| POLICIES[rng.usize(..POLICIES.len())]);
        let mut builder = Channel::builder().name(NAME);
        if let Some(policy) = policy {
            builder = builder.capacity(rng.u64(1..4)).overflow(policy);
        }
        let (channel, receiver) = builder.build().unwrap();
        let accounts = Accounts::default();
        for number in 0..rng.u64(..3) {
            let event = event(PRELUDE, number);
            accounts.note(event, &channel.try_write(&event, &mut Delivery::from_thread()));
        }
        Self {
            handles: [Mutex::new(Some(channel.clone())), Mutex::new(Some(channel))],
            receiver: RwLock::new(Some(receiver)),
            policy,
            accounts,
            received: Default::default(),
            generous: rng.bool(),
            readers: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }

    /// Makes room for writers that wait, and closes for readers that do. Or closes at once, which must free the writers too.
    fn release(&self) {
        // A reader that waits takes by itself what is there, or this is the hang that the watchdog looks for.
        if self.readers.load(Ordering::Acquire) > 0 && self.pending() > 0 {
            return;
        }
        if self.generous && self.receive_one() {
            return;
        }
        let mut closed = false;
        for handle in &self.handles {
            if let Ok(handle) = handle.try_lock() {
                if let Some(channel) = &*handle {
                    channel.close(Shutdown::Drain).unwrap();
                    closed = true;
                }
            }
        }
        // The writer that waits has the only handle.
        if !closed {
            self.receive_one();
        }
    }

    fn settle(self, rng: &mut Rng) {
        let is_read = self.receiver.read().unwrap_or_else(PoisonError::into_inner).is_some();
        self.reading(|receiver| while self.goes_on(CONDUCTOR, receiver.try_recv()) {});
        let answers = self.accounts.read();
        let received = self.received.map(|list| list.into_inner().unwrap_or_else(PoisonError::into_inner));
        let [a, b] = self.handles.map(|handle| handle.into_inner().unwrap_or_else(PoisonError::into_inner));
        let context = (&answers, &received, self.policy, is_read);
        // Each reader sees a writer's events in order; together they see none twice.
        for seen in &received {
            assert_proper(seen, &answers.ok, &context);
        }
        let mut seen = received.concat();
        let count = seen.len() as u64;
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len() as u64, count, "twice: {context:x?}");
        let missed = self.missed.into_inner();
        let reader = self.receiver.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ledger = reader.as_ref().map(Receiver::ledger).or(a.as_ref().or(b.as_ref()).map(Channel::ledger));
        let Some(ledger) = ledger else { return };
        assert!(ledger.balances(), "{ledger:?}: {context:x?}");
        assert_eq!((ledger.accepted, ledger.pending), (answers.ok.len() as u64, 0), "{ledger:?}: {context:x?}");
        assert_eq!(ledger.delivered, count, "{ledger:?}: {context:x?}");
        let lost = ledger.dropped[DropReason::Overflow];
        if reader.is_some() {
            assert_eq!(ledger.dropped.total(), lost, "{ledger:?}: {context:x?}");
            assert_eq!(missed, lost, "{ledger:?}: {context:x?}");
        }
        // Closed at the end in every way that ends it.
        if let (Some(reader), Some(channel)) = (reader, a.or(b)) {
            if rng.bool() {
                channel.close(Shutdown::Abort).unwrap();
            }
            drop(channel);
            let end = reader.recv();
            assert!(matches!(end, Err(RecvError::Closed | RecvError::CutOff(_))), "{end:?}");
        }
    }
}
