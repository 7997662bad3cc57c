//! A pipeline that lives through an outage, for a Prometheus to watch: every component of the crate, and every trouble that an alert is
//! about.
//!
//! ```text
//! 150 events a second ─> Broadcaster "relay" ─┬─> Queue "webhook" ─> RetryingSink (Breaker) ─> a receiver that goes down
//!                                             ├─> Queue "archive", 400 events, drops the oldest ─> RetryingSink ─> the same receiver
//!                                             ├─> Queue "mirror", 64 KiB, refuses more ─> a receiver that is slow meanwhile
//!                                             ├─> Channel "console", 50 events ─> a reader that is too slow meanwhile
//!                                             └─> a sink that closes when the receiver goes down
//! Queue "partner" ─> a receiver that never works     Queues "report" on a pool of one thread, which is too few
//! Queue "dead" gets the letters of "webhook" and "archive"; Queue "dead-mirror" has room for one, and loses the others
//! ```
//!
//! It prints `metrics=ADDRESS` and waits for a line on its standard input, so that whoever watches can begin to. It prints `phase=NAME at=UNIX_TIME` when
//! the receiver goes down and comes back, and at the end, when nothing moves any more, what every component has counted for
//! itself, a line each, and `phase=settled`. Then it goes on serving until its standard input ends.

use std::error::Error;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sinkworks::{
    Breaker, BreakerState, Broadcaster, Channel, DeadLetter, ExponentialBackoff, Failure, Overflow, Pool, Queue,
    RecvError, RetryStats, RetryingSink, Shutdown, Sink, WriteError, sink_fn,
};

const PER_SECOND: u32 = 150;
const HEALTHY: Duration = Duration::from_secs(5);
const DOWN: Duration = Duration::from_secs(9);
/// Long enough to catch up.
const AFTER: Duration = Duration::from_secs(5);
/// One event of so many is refused for good.
const BAD: u64 = 40;
/// What an event weighs in the queue that is bounded in bytes.
const WEIGHT: u64 = 512;

/// What is outside the pipeline.
#[derive(Default)]
struct World {
    down: AtomicBool,
    /// What "webhook" has got through, by the receiver's own count.
    arrived: AtomicU64,
}

impl World {
    fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    fn receive(&self, event: u64) -> Result<(), WriteError> {
        if self.is_down() {
            return Err(Failure::transient("down").into());
        }
        if event % BAD == BAD - 1 {
            return Err(Failure::permanent("not acceptable").into());
        }
        // One request of ten, as real receivers do.
        if fastrand::u8(..) < 26 {
            return Err(Failure::transient("busy").into());
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let world = Arc::new(World::default());
    let pipeline = Pipeline::build(&world)?;
    let _process = watch_process();
    let partner = pipeline.partner.clone();
    (0..20).try_for_each(|event| partner.send(event))?;
    let reports = pipeline.reports.clone();
    thread::spawn(move || keep_busy(&reports));
    // So that the first scrape finds its pool busy.
    thread::sleep(Duration::from_millis(300));
    let server = sinkworks::telemetry::serve("127.0.0.1:0")?;
    println!("metrics={}", server.local_addr());
    io::stdin().read_line(&mut String::new())?;

    thread::scope(|scope| {
        scope.spawn(|| pipeline.feed(HEALTHY + DOWN + AFTER));
        thread::sleep(HEALTHY);
        phase("down");
        world.down.store(true, Ordering::Relaxed);
        thread::sleep(DOWN);
        world.down.store(false, Ordering::Relaxed);
        phase("up");
    });
    pipeline.close();
    pipeline.print_accounts();
    println!("arrived={}", world.arrived.load(Ordering::Relaxed));
    phase("settled");
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(server);
    Ok(())
}

fn phase(name: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    println!("phase={name} at={now:.3}");
}

/// The standard metrics of a process, which the crate leaves to others.
fn watch_process() -> thread::JoinHandle<()> {
    let collector = metrics_process::Collector::default();
    thread::spawn(move || {
        loop {
            collector.describe();
            collector.collect();
            thread::sleep(Duration::from_millis(200));
        }
    })
}

/// Never lets the queues become empty, even if this thread gets no processor for a second or two.
fn keep_busy(reports: &[Queue<u64>]) {
    loop {
        for queue in reports {
            while queue.ledger().pending < 100 {
                if queue.send(0).is_err() {
                    return;
                }
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

type Stats = Box<dyn Fn() -> RetryStats + Send + Sync>;

struct Pipeline {
    relay: Broadcaster<u64>,
    webhook: Queue<u64>,
    archive: Queue<u64>,
    mirror: Queue<u64>,
    partner: Queue<u64>,
    /// Three of one name, which are one series.
    reports: Vec<Queue<u64>>,
    dead: Queue<DeadLetter<u64>>,
    dead_mirror: Queue<DeadLetter<u64>>,
    console: Channel<u64>,
    breakers: [Breaker; 2],
    retrying: Vec<(&'static str, Stats)>,
}

impl Pipeline {
    fn build(world: &Arc<World>) -> Result<Self, Box<dyn Error>> {
        let backoff =
            || ExponentialBackoff::builder().factor(Duration::from_millis(50)).max(Duration::from_millis(500)).build();
        let dead = Queue::builder(sink_fn(|_: &DeadLetter<u64>| Ok(()))).name("dead").build()?;
        let stuck = RetryingSink::named("dead-mirror", sink_fn(|_: &DeadLetter<u64>| refuse()), backoff()?)?;
        let dead_mirror = Queue::builder(stuck).name("dead-mirror").capacity(1).overflow(Overflow::Reject).build()?;

        let breaker = Breaker::builder().name("webhook").threshold(5).backoff(Duration::from_millis(200)).build()?;
        let receiver = {
            let world = world.clone();
            sink_fn(move |event: &u64| {
                world.receive(*event)?;
                world.arrived.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        };
        let receiver = Arc::new(RetryingSink::named("webhook", receiver, breaker.clone())?);
        let webhook = Queue::builder(receiver.clone()).name("webhook").dead_letters(&dead).build()?;

        let store = world.clone();
        let store = sink_fn(move |event: &u64| store.receive(*event));
        let store = Arc::new(RetryingSink::named("archive", store, backoff()?)?);
        let archive = Queue::builder(store.clone()).name("archive").capacity(400).overflow(Overflow::DropOldest);
        let archive = archive.dead_letters(&dead).build()?;

        let slow = world.clone();
        let slow = sink_fn(move |event: &u64| {
            thread::sleep(Duration::from_millis(if slow.is_down() { 50 } else { 1 }));
            if event.is_multiple_of(BAD) { Err(Failure::permanent("not acceptable").into()) } else { Ok(()) }
        });
        let mirror = Queue::builder(slow).name("mirror").capacity_bytes(64 * 1024, |_| WEIGHT);
        let mirror = mirror.overflow(Overflow::Reject).dead_letters(&dead_mirror).build()?;

        // Its probes hang, so that this breaker is half-open for longer than it is open.
        let silent = sink_fn(|_: &u64| {
            thread::sleep(Duration::from_millis(400));
            refuse()
        });
        let lonely = Breaker::builder().name("partner").threshold(2).backoff(Duration::from_millis(200)).build()?;
        let silent = Arc::new(RetryingSink::named("partner", silent, lonely.clone())?);
        let partner = Queue::builder(silent.clone()).name("partner").build()?;

        let narrow = Pool::builder().name("narrow").threads(1).max_threads(1).build()?;
        let report = || {
            let work = sink_fn(|_: &u64| {
                // Some of it is real work, for the panel of the processor.
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(3) {
                    std::hint::spin_loop();
                }
                thread::sleep(Duration::from_millis(7));
                Ok(())
            });
            Queue::builder(work).name("report").pool(&narrow).build()
        };
        let reports = vec![report()?, report()?, report()?];

        let (console, samples) =
            Channel::builder().name("console").capacity(50).overflow(Overflow::DropOldest).build()?;
        let busy = world.clone();
        thread::spawn(move || {
            // That it has missed some does not end it.
            while samples.recv() != Err(RecvError::Closed) {
                thread::sleep(Duration::from_millis(if busy.is_down() { 12 } else { 3 }));
            }
        });
        let ending = world.clone();
        let ending = sink_fn(move |_: &u64| if ending.is_down() { Err(WriteError::Closed) } else { Ok(()) });

        let relay = Broadcaster::named("relay")?;
        for queue in [&webhook, &archive, &mirror] {
            relay.add(queue.clone())?;
        }
        relay.add(console.clone())?;
        relay.add(ending)?;
        let retrying: Vec<(&str, Stats)> = vec![
            ("webhook", Box::new(move || receiver.stats())),
            ("archive", Box::new(move || store.stats())),
            ("partner", Box::new(move || silent.stats())),
        ];
        Ok(Self {
            relay,
            webhook,
            archive,
            mirror,
            partner,
            reports,
            dead,
            dead_mirror,
            console,
            breakers: [breaker, lonely],
            retrying,
        })
    }

    fn feed(&self, how_long: Duration) {
        let interval = Duration::from_secs(1) / PER_SECOND;
        let began = Instant::now();
        for event in 0.. {
            // By the schedule, so that a machine that is busy elsewhere changes nothing in the long run.
            let due = began + interval * u32::try_from(event).unwrap_or(u32::MAX);
            if due > began + how_long {
                return;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let _ = self.relay.write(&event);
        }
    }

    fn close(&self) {
        let _ = self.relay.close(Shutdown::within(Duration::from_secs(3)));
        let stopped = || self.reports.iter().chain([&self.partner]);
        for queue in stopped() {
            let _ = queue.close(Shutdown::Abort);
        }
        for queue in [&self.dead, &self.dead_mirror] {
            let _ = queue.close(Shutdown::Drain);
        }
        // An abort does not wait for the write that is under way.
        let began = Instant::now();
        while stopped().any(|queue| queue.ledger().pending > 0) && began.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn print_accounts(&self) {
        for queue in [&self.webhook, &self.archive, &self.mirror, &self.partner] {
            print_queue(queue);
        }
        print_queue(&self.dead);
        print_queue(&self.dead_mirror);
        for (name, stats) in &self.retrying {
            let RetryStats { ok, transient, permanent, closed, retries, .. } = stats();
            println!(
                "sink={name} ok={ok} transient={transient} permanent={permanent} closed={closed} retries={retries}"
            );
        }
        for breaker in &self.breakers {
            let [closed, open, half_open] = [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen]
                .map(|state| breaker.transitions_to(state));
            println!("breaker={} closed={closed} open={open} half_open={half_open}", breaker.name());
        }
        let (writes, evictions) = (self.relay.writes(), self.relay.evictions());
        println!("broadcaster={} writes={writes} evictions={evictions}", self.relay.name());
        let lagged = self.console.ledger().dropped.total();
        println!("channel={} lagged={lagged}", self.console.name());
    }
}

fn print_queue<E: Clone + Send + Sync + 'static>(queue: &Queue<E>) {
    let (refused, lost) = (queue.refused(), queue.dead_letters_lost());
    println!("queue={} {} refused={refused} letters_lost={lost}", queue.name(), queue.ledger());
}

/// What a receiver does that never works.
fn refuse() -> Result<(), WriteError> {
    Err(Failure::transient("no answer").into())
}
