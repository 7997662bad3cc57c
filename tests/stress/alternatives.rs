//! The fallback and the time limit, without a queue: their writers wait themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use fastrand::Rng;
use sinkworks::{Delivery, Fallback, Shutdown, Sink, TimeLimit, WriteError};

use crate::accounts::{Accounts, assert_ordered};
use crate::leaf::{Leaf, Manner};
use crate::queue::NAME;
use crate::scene::{Actor, Operation, Scene};

type Limited = TimeLimit<Arc<Leaf>>;

pub(crate) struct AlternativesScene {
    fallback: Fallback<Arc<Limited>, Arc<Leaf>>,
    limited: Arc<Limited>,
    /// The primary, and the secondary, which takes everything until it is closed.
    leaves: [Arc<Leaf>; 2],
    accounts: Accounts,
    closed: AtomicBool,
}

impl AlternativesScene {
    fn write(&self, actor: &mut Actor, to: &dyn Sink<u64>) {
        let event = actor.event();
        self.accounts.note(event, &to.write(&event));
    }

    fn try_write(&self, actor: &mut Actor, to: &dyn Sink<u64>) {
        let event = actor.event();
        self.accounts.note(event, &to.try_write(&event, &mut Delivery::from_thread()));
    }

    fn close(&self, actor: &mut Actor, how: Shutdown) {
        self.closed.store(true, Ordering::Release);
        self.fallback.close(how).unwrap();
        assert!(self.leaves.iter().all(|leaf| leaf.is_closed()), "closed before what it wraps");
        let answer = self.fallback.write(&actor.event());
        assert!(matches!(answer, Err(WriteError::Closed)), "after the close: {answer:?}");
    }
}

impl Scene for AlternativesScene {
    const NAME: &'static str = "fallback and time limit";
    const SOURCES: &'static [&'static str] = &["src/fallback.rs", "src/time_limit.rs"];
    const OPERATIONS: &'static [Operation<Self>] = &[
        Operation::new("fallback.write", |scene, actor| scene.write(actor, &scene.fallback)),
        Operation::new("fallback.try_write", |scene, actor| scene.try_write(actor, &scene.fallback)),
        Operation::new("fallback.close(drain)", |scene, actor| scene.close(actor, Shutdown::Drain)),
        Operation::new("fallback.close(until)", |scene, actor| {
            let how = actor.until();
            scene.close(actor, how);
        }),
        Operation::new("fallback.close(abort)", |scene, actor| scene.close(actor, Shutdown::Abort)),
        Operation::new("fallback.poll_close", |scene, _| {
            scene.closed.store(true, Ordering::Release);
            assert!(scene.fallback.poll_close(Shutdown::Drain, Waker::noop()).is_ready());
        }),
        Operation::new("fallback.primary", |scene, _| assert!(Arc::ptr_eq(scene.fallback.primary(), &scene.limited))),
        Operation::new("fallback.secondary", |scene, _| assert_eq!(scene.fallback.secondary().id, scene.leaves[1].id)),
        Operation::new("fallback.fallen_over", |scene, _| {
            // Counted when the secondary has taken it.
            let counted = scene.fallback.fallen_over();
            assert!(counted <= scene.leaves[1].seen().len() as u64);
        }),
        Operation::new("fallback.id", |scene, _| assert!(Sink::<u64>::id(&scene.fallback).is_some())),
        Operation::new("fallback.debug", |scene, _| assert!(!format!("{:?}", scene.fallback).is_empty())),
        Operation::new("limit.write", |scene, actor| scene.write(actor, &scene.limited)),
        Operation::new("limit.try_write", |scene, actor| scene.try_write(actor, &scene.limited)),
        Operation::new("limit.close", |scene, _| {
            scene.closed.store(true, Ordering::Release);
            Sink::<u64>::close(&scene.limited, Shutdown::Drain).unwrap();
            assert!(scene.leaves[0].is_closed());
        }),
        Operation::new("limit.get_ref", |scene, _| assert_eq!(scene.limited.get_ref().id, scene.leaves[0].id)),
        Operation::new("limit.reached", |scene, _| assert!(scene.limited.reached() < 10)),
    ];

    fn set(rng: &mut Rng) -> Self {
        let leaves = [Leaf::new(Manner::any(rng)), Leaf::new(Manner::Takes)];
        let limit = Duration::from_micros([0, 5, 10_000_000][rng.usize(..3)]);
        let limited = Arc::new(TimeLimit::named(NAME, leaves[0].clone(), limit).unwrap());
        let fallback = Fallback::named(NAME, limited.clone(), leaves[1].clone()).unwrap();
        Self { fallback, limited, leaves, accounts: Accounts::default(), closed: AtomicBool::new(false) }
    }

    fn settle(self, _: &mut Rng) {
        let (answers, closed) = (self.accounts.read(), self.closed.into_inner());
        let [primary, secondary] = &self.leaves;
        let context = (&answers, primary.seen(), secondary.seen(), primary.manner, closed);
        for leaf in [primary, secondary] {
            assert_ordered(&leaf.seen(), &context);
        }
        // Each event that was accepted is at one of the two.
        let mut seen = [primary.seen(), secondary.seen()].concat();
        seen.sort_unstable();
        let mut taken = answers.ok.clone();
        taken.sort_unstable();
        assert_eq!(seen, taken, "{context:x?}");
        assert_eq!(self.fallback.fallen_over(), secondary.seen().len() as u64, "{context:x?}");
        let ends = matches!(primary.manner, Manner::Ends(_));
        assert!(closed || ends || answers.closed.is_empty(), "{context:x?}");
        drop((self.fallback, self.limited));
        assert!(self.leaves.iter().all(|leaf| Arc::strong_count(leaf) == 1));
    }
}
