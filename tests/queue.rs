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
