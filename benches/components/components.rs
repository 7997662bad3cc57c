//! What each component takes alone, an event at a time or in batches: `cargo bench -p components`. A few that are tracked; beside peers, the program
//! `compare` measures.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sinkworks::{Breaker, Broadcaster, Channel, Filter, Queue, Shutdown, Sink, SinkExt, sink_fn};

const BATCH: u64 = 10_000;

/// A sink that only counts.
fn counting() -> (impl Sink<u64> + 'static, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let into = count.clone();
    let sink = sink_fn(move |_: &u64| {
        into.store(into.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Ok(())
    });
    (sink, count)
}

/// A queue from the first send of a batch until it is delivered, and the close with it.
fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("send and drain", |bencher| {
        bencher.iter_batched(
            || Queue::new(counting().0),
            |queue| {
                for event in 0..BATCH {
                    queue.send(event).expect("it is open");
                }
                queue.close(Shutdown::Drain).expect("it closes")
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Half of the events pass.
fn filter(criterion: &mut Criterion) {
    let (sink, count) = counting();
    let filter = Filter::new(sink, |event: &u64| event & 1 == 0);
    let mut event = 0;
    criterion.bench_function("filter/write", |bencher| {
        bencher.iter(|| {
            event += 1;
            filter.write(black_box(&event))
        });
    });
    black_box(count);
}

fn broadcaster(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("broadcaster/write");
    for sinks in [1, 10, 100, 1_000] {
        let broadcaster = Broadcaster::new();
        for _ in 0..sinks {
            broadcaster.add(counting().0).expect("it is open");
        }
        group.throughput(Throughput::Elements(sinks));
        group.bench_function(format!("{sinks} sinks"), |bencher| bencher.iter(|| broadcaster.write(black_box(&1))));
    }
    group.finish();
}

/// On one thread, so that nobody is woken.
fn channel(criterion: &mut Criterion) {
    let (channel, receiver) = Channel::unbounded();
    criterion.bench_function("channel/send and receive", |bencher| {
        bencher.iter(|| {
            channel.send(black_box(1_u64)).expect("it is open");
            receiver.try_recv()
        });
    });
}

/// A write that succeeds through a retrying sink with a closed breaker.
fn breaker(criterion: &mut Criterion) {
    let retrying = counting().0.retrying(Breaker::new(5, Duration::from_secs(1)));
    criterion.bench_function("breaker/success", |bencher| bencher.iter(|| retrying.write(black_box(&1))));
}

criterion_group!(components, queue, filter, broadcaster, channel, breaker);
criterion_main!(components);
