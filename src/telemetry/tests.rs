//! The registry is one for the process, and tests run side by side: each test has names of its own.

use std::collections::BTreeSet;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ::metrics::with_local_recorder;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use super::{
    MetricKind, Observations, Observe, Publisher, Registration, metrics, names, publish, readings, register, registry,
};
use crate::error::BuildError;
use crate::name::Name;
use crate::sink::SinkId;

/// A component with one counter and one gauge of everything.
struct Fake {
    name: Name,
    count: AtomicU64,
    depth: AtomicU64,
    readings: AtomicU64,
    /// Runs in the next observation, on any thread or on a publisher's own.
    hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    for_publisher: AtomicBool,
    /// Runs when the last handle is gone, before it retires.
    dying: Option<Box<dyn Fn() + Send + Sync>>,
    registration: Registration,
}

impl Fake {
    fn new(name: &str, count: u64, depth: u64) -> Arc<Self> {
        Self::dying(name, count, depth, None)
    }

    fn dying(name: &str, count: u64, depth: u64, dying: Option<Box<dyn Fn() + Send + Sync>>) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            name: Name::given(name).unwrap(),
            count: count.into(),
            depth: depth.into(),
            readings: 0.into(),
            hook: Mutex::default(),
            for_publisher: false.into(),
            dying,
            registration: register(this.clone()),
        })
    }
}

impl Observe for Fake {
    fn observe(&self, out: &mut Observations) {
        self.readings.fetch_add(1, SeqCst);
        out.counter(&names::QUEUE_ACCEPTED, &self.name, None, self.count.load(SeqCst));
        out.counter(&names::QUEUE_DROPPED, &self.name, Some("overflow"), self.count.load(SeqCst));
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        out.gauge(&names::QUEUE_DEPTH, &self.name, None, self.depth.load(SeqCst) as f64);
        if !self.for_publisher.load(SeqCst) || thread::current().name() == Some("sinkworks-publisher") {
            // In a statement of its own, so that the lock is free while the hook runs.
            let hook = self.hook.lock().unwrap().take();
            if let Some(hook) = hook {
                hook();
            }
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(dying) = &self.dying {
            dying();
        }
        mem::take(&mut self.registration).retire(|out| self.observe(out));
    }
}

/// What a recorder has that was installed just now and is published to once: counter, labelled counter, gauge.
fn fresh(name: &str) -> (Option<u64>, Option<u64>, Option<f64>) {
    let recorder = DebuggingRecorder::new();
    with_local_recorder(&recorder, publish);
    seen(&recorder, name)
}

fn seen(recorder: &DebuggingRecorder, name: &str) -> (Option<u64>, Option<u64>, Option<f64>) {
    let mut found = (None, None, None);
    for (key, unit, help, value) in recorder.snapshotter().snapshot().into_vec() {
        let key = key.key();
        if key.labels().any(|label| label.key() == "queue" && label.value() == name) {
            assert!(unit.is_some() && help.is_some(), "{} is described", key.name());
            match value {
                DebugValue::Counter(value) if key.name() == names::QUEUE_DROPPED.name => {
                    assert!(key.labels().any(|label| label.key() == "reason" && label.value() == "overflow"));
                    found.1 = Some(value);
                }
                DebugValue::Counter(value) => found.0 = Some(value),
                DebugValue::Gauge(value) => found.2 = Some(value.0),
                DebugValue::Histogram(_) => unreachable!(),
            }
        }
    }
    found
}

/// The counters are `count` at once; the gauge becomes `depth` as soon as no other test's publishing holds a component that was dropped.
fn assert_settles(name: &str, count: u64, depth: f64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = fresh(name);
        assert_eq!((found.0, found.1), (Some(count), Some(count)));
        if found.2 == Some(depth) {
            return;
        }
        assert!(Instant::now() < deadline, "the gauge is {:?} and not {depth}", found.2);
    }
}

#[test]
fn names_are_valid_for_prometheus_and_total_iff_counter() {
    let valid = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !name.contains("__");
    let mut names = BTreeSet::new();
    for metric in metrics() {
        assert!(metric.name.starts_with("sinkworks_") && valid(metric.name), "{}", metric.name);
        assert_eq!(metric.kind == MetricKind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        assert!(metric.kind != MetricKind::Histogram || metric.name.ends_with("_seconds"), "{}", metric.name);
        assert!(matches!(metric.labels.len(), 1 | 2) && metric.labels.iter().all(|label| valid(label)));
        assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\']), "{}", metric.name);
        assert!(names.insert(metric.name), "{} is there twice", metric.name);
    }
}

#[test]
fn components_of_one_name_are_summed_and_retired_counters_stay() {
    let (one, two) = (Fake::new("sum", 3, 10), Fake::new("sum", 4, 20));
    assert_eq!(fresh("sum"), (Some(7), Some(7), Some(30.0)));
    one.count.fetch_add(100, SeqCst);
    drop(one);
    assert_settles("sum", 107, 20.0);
    drop(two);
    assert_settles("sum", 107, 0.0);
    let _three = Fake::new("sum", 1, 1);
    assert_settles("sum", 108, 1.0);
}

#[test]
fn every_series_is_there_from_the_start() {
    let _idle = Fake::new("idle", 0, 0);
    assert_eq!(fresh("idle"), (Some(0), Some(0), Some(0.0)));
}

#[test]
fn a_recorder_installed_late_and_one_per_thread_see_everything() {
    let fake = Fake::new("late", 5, 1);
    publish();
    let first = DebuggingRecorder::new();
    with_local_recorder(&first, publish);
    fake.count.fetch_add(5, SeqCst);
    drop(fake);
    thread::spawn(|| assert_settles("late", 10, 0.0)).join().unwrap();
    assert_eq!(seen(&first, "late"), (Some(5), Some(5), Some(1.0)));
    with_local_recorder(&first, publish);
    assert_eq!(seen(&first, "late").2, Some(0.0), "the end of a gauge reaches each recorder");
}

#[test]
fn two_publishers_to_one_recorder_do_no_harm() {
    let fake = Fake::new("two", 1, 4);
    let recorder = DebuggingRecorder::new();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    fake.count.fetch_add(1, SeqCst);
                    with_local_recorder(&recorder, publish);
                }
            });
        }
    });
    // Each has published after its last count, and an older total does not replace a newer one.
    assert_eq!(seen(&recorder, "two"), (Some(401), Some(401), Some(4.0)));
}

#[test]
fn an_ended_gauge_is_forgotten_after_a_while() {
    let mut registry = registry::Registry::default();
    let mut last = Observations::default();
    last.gauge(&names::QUEUE_DEPTH, &Name::given("ended").unwrap(), None, 3.0);
    registry.fold(last, Instant::now());
    let start = Instant::now();
    let mut gauges_after = |seconds| {
        let mut out = Observations::default();
        registry.add_retired(&mut out, start + Duration::from_secs(seconds));
        out.gauges.into_values().collect::<Vec<_>>()
    };
    // The time counts from the first reading, which therefore always has it.
    assert_eq!(gauges_after(5000), [0.0]);
    assert_eq!(gauges_after(5599), [0.0]);
    assert_eq!(gauges_after(5600), [0.0]);
    assert!(gauges_after(5601).is_empty());
}

/// Nothing will be added to its series, so they end as a whole, and are not kept for ever.
#[test]
fn the_series_of_a_nameless_component_end_after_a_while() {
    let mut registry = registry::Registry::default();
    let start = Instant::now();
    let end = |registry: &mut registry::Registry, name: &Name| {
        let mut last = Observations::default();
        last.counter(&names::QUEUE_ACCEPTED, name, None, 3);
        last.gauge(&names::QUEUE_DEPTH, name, None, 1.0);
        registry.fold(last, start);
    };
    let nameless = || Name::default("queue", SinkId::unique());
    let read = |registry: &mut registry::Registry, seconds| {
        let mut out = Observations::default();
        registry.add_retired(&mut out, start + Duration::from_secs(seconds));
        let sum = |name: fn(&Name) -> bool| {
            out.counters.iter().filter(|(series, _)| name(&series.name)).map(|(_, value)| value).sum::<u64>()
        };
        (sum(|name| !name.is_given()), sum(Name::is_given))
    };
    end(&mut registry, &nameless());
    end(&mut registry, &nameless());
    end(&mut registry, &Name::given("named").unwrap());
    assert_eq!(read(&mut registry, 599), (6, 3));
    assert_eq!(read(&mut registry, 600), (0, 3));
    // However many end in that time, a thousand are remembered.
    (0..2000).for_each(|_| end(&mut registry, &nameless()));
    assert_eq!(read(&mut registry, 599), (3000, 3));
}

#[test]
fn a_component_that_loses_its_last_handle_while_it_is_observed_counts_once() {
    let fake = Fake::new("observed", 9, 2);
    let slot = Arc::new(Mutex::new(None));
    let last = Arc::clone(&slot);
    *fake.hook.lock().unwrap() = Some(Box::new(move || drop(last.lock().unwrap().take())));
    *slot.lock().unwrap() = Some(fake);
    // The reading now has the last handle; whether this one or another test's publishing ends the component, it counts once.
    assert_eq!(fresh("observed").0, Some(9));
    assert!(slot.lock().unwrap().is_none());
    assert_eq!(fresh("observed").0, Some(9));
}

#[test]
fn a_reading_waits_for_a_component_that_is_dying() {
    // A loaded machine may hold the dying thread up for longer than a reading waits; without the wait, no round would succeed.
    let complete = (0..20).any(|round| {
        let name = format!("dying-{round}");
        let (is_dying, wait) = mpsc::sync_channel(0);
        let dying = move || {
            is_dying.send(()).unwrap();
            thread::sleep(Duration::from_millis(1));
        };
        let fake = Fake::dying(&name, 4, 0, Some(Box::new(dying)));
        assert_eq!(fresh(&name).0, Some(4));
        let death = thread::spawn(move || drop(fake));
        wait.recv().unwrap();
        let reading = fresh(&name).0;
        death.join().unwrap();
        assert_eq!(fresh(&name).0, Some(4));
        reading == Some(4)
    });
    assert!(complete);
}

#[test]
fn components_dropped_while_two_threads_publish_count_exactly_once() {
    const ROUNDS: u64 = 1000;
    let (promised, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        promised.fetch_add(7, SeqCst);
                        let fake = Fake::new("churn", 0, 1);
                        fake.count.fetch_add(7, SeqCst);
                        drop(fake);
                        ended.fetch_add(7, SeqCst);
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let least = ended.load(SeqCst);
                    // A reading may be late by a component that takes too long to die, but then the next has it.
                    let mut total = 0;
                    for _ in 0..100 {
                        total = fresh("churn").0.unwrap_or(0);
                        if total >= least {
                            break;
                        }
                    }
                    assert!(total >= least, "{total} of at least {least}: lost");
                    let most = promised.load(SeqCst);
                    assert!(total <= most, "{total} of at most {most}: counted twice");
                }
            });
        }
        // The publishers must stop before a writer's panic is passed on, or the scope would wait for them for ever.
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stop.store(true, SeqCst);
        assert!(ended.iter().all(Result::is_ok));
    });
    assert_settles("churn", 2 * 7 * ROUNDS, 0.0);
}

#[test]
fn an_abandoned_registration_leaves_nothing() {
    let never: Weak<Fake> = Weak::new();
    drop(register(never));
    Registration::default().retire(|_| unreachable!());
}

/// One test with publishers at a time.
static PUBLISHERS: Mutex<()> = Mutex::new(());

#[test]
fn a_publisher_publishes_on_its_tick_and_stops_at_once() {
    let _alone = PUBLISHERS.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(Publisher::start(Duration::ZERO).unwrap_err(), BuildError::Zero { option: "every" });
    let fake = Fake::new("tick", 0, 0);
    let publisher = Publisher::start(Duration::from_millis(1)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while fake.readings.load(SeqCst) < 5 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(fake.readings.load(SeqCst) >= 5);
    drop(publisher);

    let began = Instant::now();
    drop(Publisher::start(Duration::MAX).unwrap());
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_publisher_dropped_by_its_own_thread_does_not_wait_for_itself() {
    let _alone = PUBLISHERS.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, wait) = mpsc::channel();
    let fake = Fake::new("own", 0, 0);
    fake.for_publisher.store(true, SeqCst);
    let publisher = Publisher::start(Duration::from_millis(1)).unwrap();
    let hook = move || {
        drop(publisher);
        done.send(()).unwrap();
    };
    *fake.hook.lock().unwrap() = Some(Box::new(hook));
    assert_eq!(wait.recv_timeout(Duration::from_secs(20)), Ok(()));
}

/// What `Pool::wait_idle` asks: the last handle is gone, and the reading has the component still.
#[test]
fn a_reading_is_under_way_until_what_it_held_has_ended() {
    let (tell, told) = mpsc::channel();
    let ending = move || tell.send(readings()).unwrap();
    let held = Fake::dying("held by a reading", 1, 0, Some(Box::new(ending)));
    let hooked = Fake::new("drops another", 1, 0);
    *hooked.hook.lock().unwrap() = Some(Box::new(move || drop(held)));
    publish();
    assert_eq!(told.recv(), Ok(None));
}
