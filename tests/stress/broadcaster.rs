//! The broadcaster: one sink that stays, one that is removed, and for each actor one that is added.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use fastrand::Rng;
use sinkworks::{Broadcaster, CloseError, CloseReport, Delivery, DropReason, Shutdown, Sink, SinkId, WriteError};

use crate::accounts::{Accounts, assert_ordered};
use crate::leaf::{Leaf, Manner};
use crate::queue::NAME;
use crate::scene::{Actor, LONG, Operation, Scene, eventually};

pub(crate) struct BroadcasterScene {
    handles: [Mutex<Option<Broadcaster<u64>>>; 2],
    /// There from the beginning, and never removed.
    anchor: Arc<Leaf>,
    visitor: Arc<Visitor>,
    guests: [Arc<Leaf>; 2],
    accounts: Accounts,
    /// Added again by somebody, so that it may be reached after all.
    readded: AtomicBool,
    closed: AtomicBool,
    /// How often the visitor was said to have been there when it was removed.
    removals: AtomicU64,
    /// Whether a guest was added.
    added: [AtomicBool; 2],
    /// Whether it was as required.
    required: [AtomicBool; 2],
}

/// A leaf that can be out of reach, and says so if it is reached then.
struct Visitor {
    leaf: Arc<Leaf>,
    gone: AtomicBool,
    reached: AtomicBool,
}

impl Sink<u64> for Visitor {
    fn try_write(&self, event: &u64, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.gone.load(Ordering::Acquire) {
            self.reached.store(true, Ordering::Release);
        }
        self.leaf.try_write(event, delivery)
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.leaf.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.leaf.id)
    }
}

impl BroadcasterScene {
    fn on(&self, actor: &mut Actor, act: impl FnOnce(&Broadcaster<u64>, &mut Actor)) {
        if let Some(broadcaster) = &*self.handles[actor.number].lock().unwrap_or_else(PoisonError::into_inner) {
            act(broadcaster, actor);
        }
    }

    fn close(&self, actor: &mut Actor, how: Shutdown) {
        self.on(actor, |broadcaster, actor| {
            self.closed.store(true, Ordering::Release);
            let report = broadcaster.close(how).unwrap();
            assert!(report.errors().is_empty(), "{report:?}");
            assert!(self.anchor.is_closed(), "closed before its sinks are");
            let event = actor.event();
            let answer = broadcaster.write(&event);
            assert!(matches!(answer, Err(WriteError::Closed)), "after the close: {answer:?}");
            self.accounts.note(event, &answer);
            assert!(broadcaster.is_empty());
        });
    }

    fn removed(&self, removed: Result<bool, WriteError>) {
        match removed {
            Ok(there) => drop(self.removals.fetch_add(u64::from(there), Ordering::AcqRel)),
            Err(error) => self.expect_closed(&error),
        }
    }

    fn expect_closed(&self, error: &WriteError) {
        assert!(matches!(error, WriteError::Closed) && self.closed.load(Ordering::Acquire), "{error:?}");
    }
}

impl Scene for BroadcasterScene {
    const NAME: &'static str = "broadcaster";
    const SOURCES: &'static [&'static str] = &["src/broadcaster/mod.rs", "src/broadcaster/membership.rs"];
    const OPERATIONS: &'static [Operation<Self>] = &[
        Operation::new("write", |scene, actor| {
            scene.on(actor, |broadcaster, actor| {
                for _ in 0..actor.rng.u8(1..4) {
                    let event = actor.event();
                    scene.accounts.note(event, &broadcaster.write(&event));
                }
            });
        }),
        Operation::new("try_write", |scene, actor| {
            scene.on(actor, |broadcaster, actor| {
                let event = actor.event();
                scene.accounts.note(event, &broadcaster.try_write(&event, &mut Delivery::from_thread()));
            });
        }),
        Operation::new("add", |scene, actor| {
            scene.on(actor, |broadcaster, actor| {
                let guest = &scene.guests[actor.number];
                match broadcaster.add(guest.clone()) {
                    Ok(id) => {
                        assert_eq!(id, guest.id);
                        scene.added[actor.number].store(true, Ordering::Release);
                    }
                    Err(error) => scene.expect_closed(&error),
                }
            });
        }),
        // Nobody else touches this guest: no change of the list undoes another.
        Operation::new("add(and remove)", |scene, actor| {
            scene.on(actor, |broadcaster, actor| {
                let guest = &scene.guests[actor.number];
                for _ in 0..10 {
                    match (broadcaster.add(guest.clone()), broadcaster.remove_id(guest.id)) {
                        (Ok(_), Ok(there)) => assert!(there || guest.refused() > 0, "added, and not there"),
                        (_, Err(error)) | (Err(error), _) => return scene.expect_closed(&error),
                    }
                }
            });
        }),
        Operation::new("add(again)", |scene, actor| {
            scene.on(actor, |broadcaster, _| {
                scene.readded.store(true, Ordering::Release);
                let answers = [broadcaster.add(scene.anchor.clone()), broadcaster.add(scene.visitor.clone())];
                answers.iter().filter_map(|answer| answer.as_ref().err()).for_each(|error| scene.expect_closed(error));
            });
        }),
        Operation::new("add_required", |scene, actor| {
            scene.on(actor, |broadcaster, actor| {
                scene.required[actor.number].store(true, Ordering::Release);
                if let Err(error) = broadcaster.add_required(scene.guests[actor.number].clone()) {
                    scene.expect_closed(&error);
                }
            });
        }),
        Operation::new("remove", |scene, actor| {
            scene.on(actor, |broadcaster, _| scene.removed(broadcaster.remove(&scene.visitor)));
        }),
        Operation::new("remove_id", |scene, actor| {
            scene.on(actor, |broadcaster, _| scene.removed(broadcaster.remove_id(scene.visitor.leaf.id)));
        }),
        Operation::new("remove_and_wait", |scene, actor| {
            scene.on(actor, |broadcaster, _| match broadcaster.remove_and_wait(&scene.visitor, LONG) {
                Ok(gone) => {
                    assert!(gone, "a removed sink did not get out of reach");
                    scene.visitor.gone.store(true, Ordering::Release);
                }
                Err(error) => scene.expect_closed(&error),
            });
        }),
        Operation::new("close(drain)", |scene, actor| scene.close(actor, Shutdown::Drain)),
        Operation::new("close(until)", |scene, actor| {
            let how = actor.until();
            scene.close(actor, how);
        }),
        Operation::new("close(abort)", |scene, actor| scene.close(actor, Shutdown::Abort)),
        Operation::new("poll_close", |scene, actor| {
            scene.on(actor, |broadcaster, _| {
                scene.closed.store(true, Ordering::Release);
                drop(broadcaster.poll_close(Shutdown::Drain, Waker::noop()));
            });
        }),
        Operation::new("lost", |scene, actor| {
            scene.on(actor, |broadcaster, _| {
                let before = broadcaster.lost().total();
                assert!(before <= broadcaster.lost().total());
            });
        }),
        Operation::new("len", |scene, actor| scene.on(actor, |broadcaster, _| assert!(broadcaster.len() <= 4))),
        Operation::new("is_empty", |scene, actor| {
            scene.on(actor, |broadcaster, _| {
                let empty = broadcaster.is_empty();
                assert!(!empty || scene.closed.load(Ordering::Acquire), "the anchor is gone");
            });
        }),
        Operation::new("evictions", |scene, actor| {
            scene.on(actor, |broadcaster, _| assert!(broadcaster.evictions() <= 3));
        }),
        Operation::new("writes", |scene, actor| {
            scene.on(actor, |broadcaster, _| {
                let before = broadcaster.writes();
                assert!(before <= broadcaster.writes());
            });
        }),
        Operation::new("name", |scene, actor| {
            scene.on(actor, |broadcaster, _| assert!(!broadcaster.name().is_empty()));
        }),
        Operation::new("id", |scene, actor| scene.on(actor, |broadcaster, _| assert!(broadcaster.id().is_some()))),
        Operation::new("debug", |scene, actor| {
            scene.on(actor, |broadcaster, _| assert!(!format!("{broadcaster:?}").is_empty()));
        }),
        Operation::new("clone", |scene, actor| scene.on(actor, |broadcaster, _| drop(broadcaster.clone()))),
        Operation::new("drop", |scene, actor| {
            scene.handles[actor.number].lock().unwrap_or_else(PoisonError::into_inner).take();
        }),
    ];

    fn set(rng: &mut Rng) -> Self {
        let manner = [Manner::Takes, Manner::Slow, Manner::Rings, Manner::Later][rng.usize(..4)];
        let anchor = Leaf::new(manner);
        let leaf = Leaf::new(Manner::any(rng));
        let visitor = Arc::new(Visitor { leaf, gone: AtomicBool::new(false), reached: AtomicBool::new(false) });
        let broadcaster = Broadcaster::named(NAME).unwrap();
        broadcaster.add(anchor.clone()).unwrap();
        broadcaster.add(visitor.clone()).unwrap();
        let handles = [Mutex::new(Some(broadcaster.clone())), Mutex::new(Some(broadcaster))];
        Self {
            handles,
            anchor,
            visitor,
            guests: [Manner::Takes, Manner::any(rng)].map(Leaf::new),
            accounts: Accounts::default(),
            readded: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            removals: AtomicU64::new(0),
            added: Default::default(),
            required: Default::default(),
        }
    }

    fn settle(self, _: &mut Rng) {
        let Self { handles, anchor, visitor, guests, accounts, readded, closed, removals, added, required } = self;
        let answers = accounts.read();
        let [a, b] = handles.map(|handle| handle.into_inner().unwrap_or_else(PoisonError::into_inner));
        let removals = removals.into_inner();
        let (readded, closed) = (readded.into_inner(), closed.into_inner());
        let context =
            (&answers, anchor.seen(), visitor.leaf.seen(), anchor.manner, visitor.leaf.manner, readded, closed);
        for leaf in [&anchor, &visitor.leaf, &guests[0], &guests[1]] {
            assert_ordered(&leaf.seen(), &context);
        }
        let missed = answers.ok.iter().filter(|event| !anchor.seen().contains(event)).count() as u64;
        assert!(closed || missed == 0, "{context:x?}");
        assert!(
            readded || !visitor.reached.load(Ordering::Acquire),
            "written to after it was out of reach: {context:x?}"
        );
        assert!(readded || removals <= 1, "removed twice: {context:x?}");
        let required = required.map(AtomicBool::into_inner);
        assert!(answers.failed.is_empty() || required[0] || required[1], "{context:x?}");
        if let Some(broadcaster) = a.or(b) {
            // No change of the list has undone another.
            match broadcaster.remove_id(visitor.leaf.id) {
                Ok(there) => assert!(!closed && (readded || removals == 0 || !there), "it came back: {context:x?}"),
                Err(_) => assert!(closed, "{context:x?}"),
            }
            for (guest, added) in guests.iter().zip(added.map(AtomicBool::into_inner)) {
                let there = broadcaster.remove_id(guest.id);
                assert!(!added || guest.refused() > 0 || there.unwrap_or(true), "it was added: {context:x?}");
            }
            let refused = |leaf: &Leaf, required: bool| if required { 0 } else { leaf.refused() };
            let lost = anchor.refused()
                + visitor.leaf.refused()
                + refused(&guests[0], required[0])
                + refused(&guests[1], required[1]);
            // An event that waited for a sink which was then removed.
            let abandoned = broadcaster.lost()[DropReason::Abandoned];
            assert_eq!(broadcaster.lost().total() - abandoned, lost, "{context:x?}");
            assert!(missed <= lost + abandoned, "neither taken nor lost: {context:x?}");
            let written = answers.ok.len() + answers.failed.len() + answers.left.len();
            let unanswered = answers.closed.len();
            let writes = usize::try_from(broadcaster.writes()).unwrap();
            assert!((written..=written + unanswered).contains(&writes), "{writes} writes: {context:x?}");
        }
        let all = [&anchor, &visitor.leaf, &guests[0], &guests[1]];
        drop(context);
        eventually(|| {
            Arc::strong_count(&visitor) == 1 && [all[0], all[2], all[3]].iter().all(|leaf| Arc::strong_count(leaf) == 1)
        });
    }
}
