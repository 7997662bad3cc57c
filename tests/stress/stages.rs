//! The retrying sink and the filter, without a queue: their writers wait themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use fastrand::Rng;
use sinkworks::{
    Delivery, ExponentialBackoff, Filter, RetryLimit, RetryStrategy, RetryingSink, Shutdown, Sink, WriteError,
};

use crate::accounts::{Accounts, assert_ordered};
use crate::leaf::{Leaf, Manner};
use crate::queue::NAME;
use crate::scene::{Actor, Operation, Scene};

type Retrying = RetryingSink<Arc<Leaf>, (RetryLimit, ExponentialBackoff)>;

pub(crate) struct StagesScene {
    retry: Arc<Retrying>,
    /// Before it: passes on the events that are odd.
    filter: Filter<Arc<Retrying>, fn(&u64) -> bool>,
    leaf: Arc<Leaf>,
    accounts: Accounts,
    closed: AtomicBool,
}

impl StagesScene {
    fn write(&self, actor: &mut Actor, to: &dyn Sink<u64>) {
        let event = actor.event() << 1 | 1;
        self.accounts.note(event, &to.write(&event));
    }

    fn try_write(&self, actor: &mut Actor, to: &dyn Sink<u64>) {
        let event = actor.event() << 1 | 1;
        self.accounts.note(event, &to.try_write(&event, &mut Delivery::from_thread()));
    }

    fn close(&self, actor: &mut Actor, closes: &dyn Sink<u64>, how: Shutdown) {
        self.closed.store(true, Ordering::Release);
        closes.close(how).unwrap();
        assert!(self.leaf.is_closed(), "closed before what it wraps");
        // An event that the filter does not want, too.
        for event in [actor.event() << 1, actor.event() << 1 | 1] {
            let answer = closes.write(&event);
            assert!(matches!(answer, Err(WriteError::Closed)), "after the close: {answer:?}");
        }
    }
}

impl Scene for StagesScene {
    const NAME: &'static str = "retry and filter";
    const SOURCES: &'static [&'static str] = &["src/retry/mod.rs", "src/filter.rs"];
    const OPERATIONS: &'static [Operation<Self>] = &[
        Operation::new("retry.write", |scene, actor| scene.write(actor, &scene.retry)),
        Operation::new("retry.try_write", |scene, actor| scene.try_write(actor, &scene.retry)),
        Operation::new("retry.close(drain)", |scene, actor| scene.close(actor, &scene.retry, Shutdown::Drain)),
        Operation::new("retry.close(until)", |scene, actor| {
            let how = actor.until();
            scene.close(actor, &scene.retry, how);
        }),
        Operation::new("retry.close(abort)", |scene, actor| scene.close(actor, &scene.retry, Shutdown::Abort)),
        Operation::new("retry.poll_close", |scene, _| {
            scene.closed.store(true, Ordering::Release);
            assert!(Sink::<u64>::poll_close(&scene.retry, Shutdown::Drain, Waker::noop()).is_ready());
        }),
        Operation::new("retry.stats", |scene, _| assert!(!format!("{:?}", scene.retry.stats()).is_empty())),
        Operation::new("retry.get_ref", |scene, _| assert_eq!(scene.retry.get_ref().id, scene.leaf.id)),
        Operation::new("retry.id", |scene, _| assert!(Sink::<u64>::id(&scene.retry).is_some())),
        Operation::new("retry.debug", |scene, _| assert!(!format!("{:?}", scene.retry).is_empty())),
        Operation::new("filter.write", |scene, actor| scene.write(actor, &scene.filter)),
        Operation::new("filter.write(not wanted)", |scene, actor| {
            let answer = scene.filter.write(&(actor.event() << 1));
            assert!(answer.is_ok() || scene.closed.load(Ordering::Acquire), "{answer:?}");
        }),
        Operation::new("filter.try_write", |scene, actor| scene.try_write(actor, &scene.filter)),
        Operation::new("filter.close(drain)", |scene, actor| scene.close(actor, &scene.filter, Shutdown::Drain)),
        Operation::new("filter.close(abort)", |scene, actor| scene.close(actor, &scene.filter, Shutdown::Abort)),
        Operation::new("filter.poll_close", |scene, _| {
            scene.closed.store(true, Ordering::Release);
            assert!(scene.filter.poll_close(Shutdown::Drain, Waker::noop()).is_ready());
        }),
        Operation::new("filter.id", |scene, _| assert!(scene.filter.id().is_some())),
        Operation::new("filter.debug", |scene, _| assert!(!format!("{:?}", scene.filter).is_empty())),
    ];

    fn set(rng: &mut Rng) -> Self {
        let leaf = Leaf::new(Manner::any(rng));
        let most = Duration::from_micros(rng.u64(1..200));
        let backoff = ExponentialBackoff::builder().factor(Duration::from_micros(1)).max(most).build().unwrap();
        let strategy = backoff.limited(RetryLimit::attempts(rng.u32(1..6)));
        let retry = Arc::new(RetryingSink::named(NAME, leaf.clone(), strategy).unwrap());
        let filter = Filter::new(retry.clone(), (|event| event & 1 == 1) as fn(&u64) -> bool);
        Self { retry, filter, leaf, accounts: Accounts::default(), closed: AtomicBool::new(false) }
    }

    fn settle(self, _: &mut Rng) {
        let (answers, mut seen) = (self.accounts.read(), self.leaf.seen());
        let (stats, closed) = (self.retry.stats(), self.closed.into_inner());
        let context = (&answers, &seen.clone(), stats, self.leaf.manner, closed);
        assert!(seen.iter().all(|event| event & 1 == 1), "not wanted: {context:x?}");
        assert_ordered(&seen.iter().map(|event| event >> 1).collect::<Vec<_>>(), &context);
        seen.sort_unstable();
        let mut taken = answers.ok.clone();
        taken.sort_unstable();
        assert_eq!(seen, taken, "{context:x?}");
        let ends = matches!(self.leaf.manner, Manner::Ends(_));
        assert!(closed || ends || answers.closed.is_empty(), "{context:x?}");
        assert!(answers.failed.is_empty() || self.leaf.manner == Manner::Stumbles, "{context:x?}");
        assert_eq!(stats.ok, answers.ok.len() as u64, "{context:x?}");
        let (taking, leaf) = ((self.retry, self.filter), self.leaf);
        drop(taking);
        assert_eq!(Arc::strong_count(&leaf), 1);
    }
}
