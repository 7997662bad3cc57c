//! A recorder that is installed late. In a process of its own, since a global recorder is for good.

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use sinkworks::telemetry::{bucket_bounds, publish};
use sinkworks::{Pool, Queue, Shutdown, Sink, sink_fn};

/// Counter of deliveries, and the values of the histogram of waits since the last look.
fn seen(snapshotter: &Snapshotter) -> (u64, Vec<f64>) {
    let (mut delivered, mut waits) = (0, Vec::new());
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        match (key.key().name(), value) {
            ("sinkworks_queue_delivered_total", DebugValue::Counter(count)) => delivered = count,
            ("sinkworks_queue_wait_seconds", DebugValue::Histogram(values)) => {
                waits.extend(values.iter().map(|value| value.0));
            }
            _ => {}
        }
    }
    (delivered, waits)
}

fn deliver(times: u64) {
    let pool = Pool::dedicated("late").unwrap();
    let queue = Queue::builder(sink_fn(|_: &u64| Ok(()))).name("late").pool(&pool).build().unwrap();
    for event in 0..times {
        // A turn for each, so that each is a sample.
        queue.send(event).unwrap();
        pool.wait_idle();
    }
    queue.close(Shutdown::Drain).unwrap();
    drop(queue);
    // Until the worker has let go of it: one that ends during a reading may count in the next.
    pool.wait_idle();
}

#[test]
fn a_recorder_installed_late_loses_no_counts() {
    deliver(5);
    // Nobody is there to take anything.
    publish();
    deliver(2);
    publish();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    publish();
    let (delivered, waits) = seen(&snapshotter);
    assert_eq!((delivered, waits.len()), (7, 7), "{waits:?}");
    assert!(waits.iter().all(|wait| bucket_bounds().contains(wait)), "{waits:?}");
    publish();
    assert_eq!(seen(&snapshotter).1.len(), 0, "nothing twice");
    deliver(1);
    publish();
    assert_eq!(seen(&snapshotter).1.len(), 1);
}
