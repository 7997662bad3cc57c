//! Which components there are, and what those that are gone have counted.
//!
//! A component is in exactly one of these states, and its counts are in exactly one place:
//!
//! | state | its counts |
//! |---|---|
//! | *unborn*: registered while its `Arc` is being built | it has none |
//! | *live*: an `Arc` of it exists | in itself |
//! | *dying*: the last `Arc` is gone, its `Drop` runs | in itself, and nobody can reach them |
//! | *retired*: `Drop` has called [`Registration::retire`] | in the retired base; where it had no name of its own, for [`AFTERLIFE`] |
//!
//! **No component counts twice, and none is lost.** A reading first upgrades all `Weak`s, observes these components, and only
//! then adds the retired base, still holding every `Arc`. A component that it holds cannot die, and retiring consumes a field of it, which
//! only its `Drop` can take out; so it cannot reach the base before the base is read: not twice. A component that retired before the base was read is in the base: not lost. There remains
//! one that was dying during all of this. Its `Drop` calls `retire` first, so this takes microseconds and the reading waits for it;
//! should it take longer than [`DYING`], the reading goes out without it. That is late, not wrong: a counter handed to
//! `Counter::absolute` never falls, and the next reading is complete.
//!
//! **No deadlock.** Dropping an `Arc` may end the component, whose `Drop` calls `retire` and takes the registry's lock, and which may drop a
//! user's sink that does anything at all. So no `Arc` is dropped, no component observed and no foreign code called under the lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::handing_over;
use super::health::Stalled;
use super::histogram::Buckets;
use super::observations::{Observations, Series, add};
use super::topology::Topology;

/// How long a reading waits for components that are dying: far more than the first lines of a `Drop` need, unless their thread
/// has lost its core.
const DYING: Duration = Duration::from_millis(50);

/// How long a gauge without a component is published as 0. Once would do for one recorder; but there may be several, and each must see it.
/// Prometheus forgets what it has not scraped for five minutes, so a recorder that is used at all is published to more often than this.
const AFTERLIFE: Duration = Duration::from_secs(600);

/// How much longer it is known what was handed over of the histograms of a component without a name: a reading that still has them may be under way.
const LATE: Duration = Duration::from_secs(60);

/// Components without a name that are remembered when they have ended.
const NAMELESS: usize = 1000;

/// A component that can say how it is.
pub(crate) trait Observe: Send + Sync {
    /// Reports every series of the component, those at 0 too. It must be quick, and must neither block nor build or drop a component.
    fn observe(&self, out: &mut Observations);

    /// What is wrong with its books, if something is, by counts that do not come from them. At any moment, whatever else goes on.
    #[cfg(feature = "test-util")]
    fn audit(&self) -> Result<(), String> {
        Ok(())
    }

    /// Describes the component and what it writes to. Only what stands between others needs not: it is met on the way.
    fn describe(&self, _: &mut Topology) {}

    /// Looks whether the component makes no progress although it should. Only pools do.
    fn stalled(&self) -> Vec<Stalled> {
        Vec::new()
    }
}

struct Member {
    component: Weak<dyn Observe>,
    /// Whether a reading has held it. If so and it cannot be upgraded, it is dying; otherwise it may be unborn.
    seen: bool,
}

#[derive(Default)]
pub(super) struct Registry {
    /// By a number that is never used again. In order of age, so that a reading walks memory about as it was allocated.
    members: BTreeMap<u64, Member>,
    last: u64,
    retired: HashMap<Series, u64>,
    retired_histograms: HashMap<Series, Buckets>,
    /// Gauges of retired components, and since when they are published as 0, if they have been.
    ended: HashMap<Series, Option<Instant>>,
    /// The last counts of components without a name, and when they ended. No other component will have their series, so these may end too.
    nameless: VecDeque<(Instant, Observations)>,
}

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

fn lock() -> MutexGuard<'static, Registry> {
    // Nothing that runs under the lock leaves the registry half-changed, so a poisoned one is as good as any.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A component's place in the registry, and a field of the component itself. It costs 8 bytes here and some 60 there. The default is that
/// of no component.
#[derive(Debug, Default)]
#[must_use = "dropping it takes the component out of the metrics"]
pub(crate) struct Registration(u64);

const _: () = assert!(size_of::<Registration>() <= 16);

/// Enters a component, once, when it is built. Inside `Arc::new_cyclic` is fine: it is not observed before its `Arc` exists.
pub(crate) fn register(component: Weak<dyn Observe>) -> Registration {
    let mut registry = lock();
    registry.last += 1;
    let key = registry.last;
    registry.members.insert(key, Member { component, seen: false });
    Registration(key)
}

impl Registration {
    /// Ends the component's entry. Its `Drop` does this before anything else, with the last counts: the counters are kept in the retired
    /// base, the gauges end.
    ///
    /// ```text
    /// mem::take(&mut self.registration).retire(|out| self.observe(out));
    /// ```
    ///
    /// It takes the registration by value, and so proves that nobody else has the component: see the top.
    pub(crate) fn retire(mut self, last: impl FnOnce(&mut Observations)) {
        let key = mem::take(&mut self.0);
        if key == 0 {
            return;
        }
        if cfg!(sinkworks_loom) {
            // A model builds its components some hundred thousand times, and nobody reads its metrics.
            lock().members.remove(&key);
            return;
        }
        let mut counts = Observations::default();
        last(&mut counts);
        let mut registry = lock();
        registry.members.remove(&key);
        registry.fold(counts, Instant::now());
    }
}

/// A component whose building failed after it was registered has counted nothing; its entry must not stay.
impl Drop for Registration {
    fn drop(&mut self) {
        if self.0 != 0 {
            lock().members.remove(&self.0);
        }
    }
}

/// Reads all components and adds what the retired ones have counted. Takes the lock twice, for about 20 ns a component and for about 100 ns
/// a retired series.
pub(super) fn read() -> Observations {
    let mut out = Observations::default();
    let held = Held::all();
    for component in &held.components {
        component.observe(&mut out);
    }
    await_retirement(&held.dying);
    lock().add_retired(&mut out, Instant::now());
    // Only now: see the top.
    drop(held);
    out
}

/// Audits every component that is alive, and says what is wrong.
#[cfg(feature = "test-util")]
pub(crate) fn audit_all() -> Vec<String> {
    Held::all().components.iter().filter_map(|component| component.audit().err()).collect()
}

/// Calls `look` for each component that lives, in order of age, without the lock. Where the reading had the last `Arc` of one, that ends here.
pub(super) fn visit(mut look: impl FnMut(&dyn Observe)) {
    for component in &Held::all().components {
        look(&**component);
    }
}

/// Every component that lives. While it is held none of them ends, whoever drops the last handle; where this is the last `Arc`, the component ends with
/// it, on this thread, and nothing is locked.
#[derive(Default)]
struct Held {
    components: Vec<Arc<dyn Observe>>,
    /// The keys of those that could not be held any more.
    dying: Vec<u64>,
}

impl Held {
    fn all() -> Self {
        #[cfg(any(test, feature = "test-util"))]
        under_way::BEGUN.fetch_add(1, under_way::ORDER);
        // Before the lock, and so dropped after it: not even a panic in here drops a component under it.
        let mut held = Self::default();
        let mut registry = lock();
        held.components.reserve(registry.members.len());
        for (key, member) in &mut registry.members {
            match member.component.upgrade() {
                Some(component) => {
                    member.seen = true;
                    held.components.push(component);
                }
                None if member.seen => held.dying.push(*key),
                None => {}
            }
        }
        drop(registry);
        held
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Drop for Held {
    fn drop(&mut self) {
        self.components.clear();
        under_way::ENDED.fetch_add(1, under_way::ORDER);
    }
}

/// For tests, which want to know that nobody else holds the components that they have dropped.
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod under_way {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// `AcqRel`, with the Acquire of `readings`: who sees that a reading has ended sees that it has let its components go.
    pub(super) const ORDER: Ordering = Ordering::AcqRel;
    pub(super) static BEGUN: AtomicU64 = AtomicU64::new(0);
    pub(super) static ENDED: AtomicU64 = AtomicU64::new(0);

    /// How many readings there were. `None` while there is one: then a component may outlive its last handle.
    pub(crate) fn readings() -> Option<u64> {
        // In this order: as many had ended as had begun at the second look, at the latest. Acquire keeps the order, and shows what the readings did.
        let ended = ENDED.load(Ordering::Acquire);
        let begun = BEGUN.load(Ordering::Acquire);
        (begun == ended).then_some(begun)
    }
}

fn await_retirement(dying: &[u64]) {
    let began = Instant::now();
    while dying.iter().any(|key| lock().members.contains_key(key)) && began.elapsed() < DYING {
        // A sleep and not a yield: the thread it waits for may need this core.
        thread::sleep(Duration::from_micros(50));
    }
}

impl Registry {
    /// Takes the last counts of a component that ends into the retired base.
    pub(super) fn fold(&mut self, last: Observations, now: Instant) {
        if last.is_nameless() {
            self.nameless.push_back((now, last));
            if self.nameless.len() > NAMELESS {
                self.forget_oldest();
            }
            return;
        }
        for (series, value) in last.counters {
            add(&mut self.retired, series, value);
        }
        for (series, buckets) in last.histograms {
            self.retired_histograms.entry(series).or_default().add(&buckets);
        }
        self.ended.extend(last.gauges.into_keys().map(|series| (series, None)));
    }

    fn forget_oldest(&mut self) {
        if let Some((_, last)) = self.nameless.pop_front() {
            handing_over::forget(last.histograms.keys());
        }
    }

    /// Adds the retired base to a reading.
    pub(super) fn add_retired(&mut self, out: &mut Observations, now: Instant) {
        let age = |ended: &Instant| now.saturating_duration_since(*ended);
        while self.nameless.front().is_some_and(|(ended, _)| age(ended) >= AFTERLIFE + LATE) {
            self.forget_oldest();
        }
        for (_, last) in self.nameless.iter().filter(|(ended, _)| age(ended) < AFTERLIFE) {
            out.add_ended(last);
        }
        for (series, value) in &self.retired {
            out.add_counter(series.clone(), *value);
        }
        for (series, buckets) in &self.retired_histograms {
            out.add_histogram(series.clone(), buckets);
        }
        self.ended.retain(|series, since| {
            // Another component of the name may be live, whose value counts.
            out.gauges.entry(series.clone()).or_insert(0.0);
            now.duration_since(*since.get_or_insert(now)) < AFTERLIFE
        });
    }
}
