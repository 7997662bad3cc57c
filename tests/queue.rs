use sinkworks::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

#[test]
fn million_from_four_writers() {
    let seen = Arc::new(Mutex::new([0u64; 4]));
    let into = seen.clone();
    let queue = Queue::new(sink_fn(move |&(writer, n): &(usize, u64)| {
        let mut seen = into.lock().unwrap();
        assert_eq!(seen[writer], n);
        seen[writer] = n + 1;
        Ok(())
    }));
    let t = std::time::Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let queue = queue.clone();
            scope.spawn(move || (0..250_000).for_each(|n| queue.send((writer, n)).unwrap()));
        }
    });
    let report = queue.close(Shutdown::Drain).unwrap();
    println!("{:?} {report:?} {:?}", t.elapsed(), Pool::global());
    assert_eq!(*seen.lock().unwrap(), [250_000; 4]);
    assert!(queue.ledger().balances());
    assert_eq!(queue.ledger().delivered, 1_000_000);
}

#[test]
fn idle_wakes() {
    let sum = Arc::new(AtomicU64::new(0));
    let into = sum.clone();
    let queue = Queue::new(sink_fn(move |_: &u64| {
        into.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }));
    for n in 0..20_000 {
        queue.send(n).unwrap();
        while sum.load(Ordering::Relaxed) <= n {
            std::hint::spin_loop()
        }
    }
}

#[test]
fn breaker_opens_and_probes() {
    use sinkworks::test_util::*;
    use std::time::Duration;
    let clock = ManualClock::new();
    let pool = Pool::builder().clock(clock.clock()).threads(1).build().unwrap();
    let seen = Recording::new();
    let breaker = Breaker::new(3, Duration::from_secs(10));
    let queue = Queue::builder(Failing::first(4, seen.clone()).retrying(breaker.clone())).pool(&pool).build().unwrap();
    queue.send("event").unwrap();
    pool.wait_idle();
    assert_eq!(breaker.state(), BreakerState::Open);
    clock.advance(Duration::from_secs(10));
    pool.wait_idle();
    assert_eq!(breaker.state(), BreakerState::Open);
    clock.advance(Duration::from_secs(10));
    pool.wait_idle();
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(seen.attempts(), [("event", 5)]);
}

#[test]
fn contracts() {
    use sinkworks::test_util::*;
    use std::time::Duration;
    check_contract(|| Queue::new(Recording::new()), &1u32);
    check_contract(|| Recording::new().filtered(|_: &u32| true), &1u32);
    check_contract(|| NotReadyYet::new(2, Recording::new()).retrying(Breaker::new(1, Duration::from_millis(1))), &1u32);
    check_contract(
        || Failing::first(3, NotReadyYet::new(2, Recording::new())).retrying(Breaker::new(1, Duration::from_millis(1))),
        &1u32,
    );
    check_contract(
        || {
            Failing::first(3, NotReadyYet::new(2, Recording::new())).retrying(ExponentialBackoff::new(
                Duration::ZERO,
                Duration::from_millis(1),
                Duration::from_millis(5),
            ))
        },
        &1u32,
    );
    check_contract(
        || {
            let b = Broadcaster::new();
            b.add(Failing::first(2, Recording::new()).retrying(Breaker::new(1, Duration::from_millis(1)))).unwrap();
            b.add(NotReadyYet::new(2, Recording::new())).unwrap();
            b
        },
        &1u32,
    );
}
