//! The stand-ins' own contracts.

use std::sync::Arc;

use loom::thread;

use super::{Model, mutation};
use crate::clock::ManualTime;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{ArcSwap, OnceLock, RealSeat, Seat, SegQueue, TryMutex, Unparker, now, park, random};

pub(super) const MODELS: &[Model] = &[
    Model { name: "segqueue_each_value_once", preemptions: None, run: each_value_once, mutations: &[] },
    Model { name: "segqueue_fifo_per_producer", preemptions: None, run: fifo_per_producer, mutations: &[] },
    Model { name: "seat_keeps_a_token", preemptions: None, run: seat_keeps_a_token, mutations: &[] },
    Model { name: "thread_keeps_a_token", preemptions: None, run: thread_keeps_a_token, mutations: &[] },
    Model {
        name: "seat_sit_against_unpark",
        preemptions: None,
        run: sit_against_unpark,
        mutations: &[mutation("seat_sit")],
    },
    Model {
        name: "seat_sit_after_another",
        preemptions: None,
        run: sit_after_another,
        mutations: &[mutation("seat_sit")],
    },
    Model {
        name: "arcswap_no_update_is_lost",
        preemptions: None,
        run: no_update_is_lost,
        mutations: &[mutation("arcswap_compares")],
    },
    Model { name: "arcswap_reads_a_version", preemptions: None, run: reads_a_version, mutations: &[] },
    Model { name: "try_mutex_excludes", preemptions: None, run: try_mutex_excludes, mutations: &[] },
    Model { name: "once_lock_makes_one_value", preemptions: None, run: once_lock_makes_one_value, mutations: &[] },
    Model { name: "clock_never_goes_back", preemptions: None, run: clock_never_goes_back, mutations: &[] },
];

/// Two producers and a consumer: nothing is lost, nothing comes twice.
fn each_value_once() {
    let queue = Arc::new(SegQueue::new());
    let producers: Vec<_> = (0..2)
        .map(|value| {
            let queue = queue.clone();
            thread::spawn(move || queue.push(value))
        })
        .collect();
    let early = queue.pop();
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    let mut all: Vec<_> = early.into_iter().chain(std::iter::from_fn(|| queue.pop())).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1]);
    assert!(queue.is_empty());
}

/// One producer, two consumers: each sees its values in the order they were pushed.
fn fifo_per_producer() {
    let queue = Arc::new(SegQueue::new());
    let consumer = {
        let queue = queue.clone();
        thread::spawn(move || [queue.pop(), queue.pop()])
    };
    queue.push(1);
    queue.push(2);
    let [first, second] = consumer.join().unwrap();
    assert!(!matches!((first, second), (Some(2), Some(_))), "{first:?} {second:?}");
}

/// An unpark before the park is not lost.
fn seat_keeps_a_token() {
    let seat = Arc::new(Seat::default());
    let other = {
        let seat = seat.clone();
        thread::spawn(move || seat.unpark())
    };
    seat.park(None);
    other.join().unwrap();
}

/// The same for a thread that parks by itself.
fn thread_keeps_a_token() {
    let unparker = Unparker::new();
    let other = thread::spawn(move || unparker.unpark());
    park(None);
    other.join().unwrap();
}

/// The real seat: a thread sits down, and looks before it parks, while another has something for it and unparks whoever sits there. It learns of it, although
/// nobody sat there.
fn sit_against_unpark() {
    sit_and_wait(&Arc::default());
}

/// The same where somebody sat there who is gone.
fn sit_after_another() {
    let seat = Arc::new(RealSeat::default());
    let before = seat.clone();
    thread::spawn(move || before.sit()).join().unwrap();
    sit_and_wait(&seat);
}

fn sit_and_wait(seat: &Arc<RealSeat>) {
    let done = Arc::new(AtomicUsize::new(0));
    let waker = {
        let (seat, done) = (seat.clone(), done.clone());
        thread::spawn(move || {
            done.store(1, Ordering::Relaxed);
            seat.unpark();
        })
    };
    seat.sit();
    while done.load(Ordering::Relaxed) == 0 {
        seat.park(None);
    }
    waker.join().unwrap();
}

/// Two updates and a reader: both updates are in the end, and what was replaced is let go.
fn no_update_is_lost() {
    let list = Arc::new(ArcSwap::from_pointee(Vec::new()));
    let with = |list: &ArcSwap<Vec<u32>>, value| {
        list.rcu(|list| {
            let mut list = list.to_vec();
            list.push(value);
            list
        })
    };
    let other = {
        let list = list.clone();
        thread::spawn(move || drop(with(&list, 1)))
    };
    drop(with(&list, 2));
    other.join().unwrap();
    let mut values = list.load_full().to_vec();
    values.sort_unstable();
    assert_eq!(values, [1, 2]);
}

/// A reader gets what was there or what has come, with all that its writer did before, and does not keep others from being let go.
fn reads_a_version() {
    let list = Arc::new(ArcSwap::from_pointee(0));
    let done = Arc::new(AtomicUsize::new(0));
    let old = Arc::downgrade(&list.load_full());
    let writer = {
        let (list, done) = (list.clone(), done.clone());
        thread::spawn(move || {
            done.store(1, Ordering::Relaxed);
            list.store(Arc::new(1));
        })
    };
    let (first, second) = (list.load_full(), list.load_full());
    assert!(*second >= *first, "a thread sees an older version after a newer one");
    if *second == 1 {
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }
    drop((first, second));
    writer.join().unwrap();
    assert!(old.upgrade().is_none());
    assert_eq!(**list.load(), 1);
}

/// One waits for the mutex and one tries it: never have both, and who has it sees what was done under it. Nobody who has let it go keeps it.
fn try_mutex_excludes() {
    let mutex = Arc::new(TryMutex::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let other = {
        let (mutex, done) = (mutex.clone(), done.clone());
        thread::spawn(move || {
            let mut count = mutex.lock().unwrap();
            done.store(1, Ordering::Relaxed);
            *count += 1;
        })
    };
    let tried = mutex.try_lock().map(|mut count| {
        assert_eq!(done.load(Ordering::Relaxed), *count);
        *count += 1;
    });
    let tried = usize::from(tried.is_ok());
    other.join().unwrap();
    assert_eq!(*mutex.try_lock().ok().unwrap(), 1 + tried);
}

/// Two threads want a value: one makes it, both see what was done before. Who takes it out has it whole.
fn once_lock_makes_one_value() {
    let (lock, made) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let want = |lock: &OnceLock<usize>, made: &AtomicUsize| {
        let value = *lock.get_or_init(|| made.fetch_add(1, Ordering::Relaxed) + 1);
        assert_eq!((value, made.load(Ordering::Relaxed)), (1, 1));
    };
    let other = {
        let (lock, made) = (lock.clone(), made.clone());
        thread::spawn(move || want(&lock, &made))
    };
    want(&lock, &made);
    other.join().unwrap();
    let mut lock = Arc::into_inner(lock).unwrap();
    assert_eq!((lock.take(), lock.take()), (Some(1), None));
}

/// Time stands still but where a manual clock is advanced; a thread never sees it go back. Random numbers come again in each execution.
fn clock_never_goes_back() {
    let time = ManualTime::new();
    let clock = time.clock();
    let other = thread::spawn(move || time.advance(std::time::Duration::from_secs(1)));
    let (first, second) = (clock.now(), clock.now());
    assert!(second >= first);
    other.join().unwrap();
    assert_eq!(clock.now(), now() + std::time::Duration::from_secs(1));
    assert_eq!(random().u64(..), random().u64(..));
}
