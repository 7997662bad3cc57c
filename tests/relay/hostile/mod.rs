//! The relay among hostile clients: thousands of requests that are damaged, ambiguous, cut short, too large, never finished or never read, while a crowd of slow senders
//! keeps its connections. It stays up, says what it should, holds no more than its limits let it, and what good clients send arrives, once.
//!
//! `SINKWORKS_HOSTILE_SEED` sets the seed, which every run prints.

mod answers;
mod crowd;
mod good;
mod limits;
mod requests;
mod scarce;
mod sender;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::listening::{Relay, endpoint};
use crate::receiver::Receiver;
use crate::relay::Dir;
use crowd::Crowd;
use good::Good;
use limits::Usage;
use sender::{Sender, Sent};

/// The relay's limit.
const MAX_BODY: usize = 16 * 1024;
/// How many more connections the relay allows than the crowd has.
const SPARE: usize = 64;
/// How long the relay gives a request.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// From one look at the relay to the next.
const LOOK: Duration = Duration::from_millis(20);
/// From one request to the next: in the long run the slow lose their connections several times, and make others.
const PACE: Duration = Duration::from_millis(1);
/// Within which a good event must be taken, although somebody rushes in and takes all places for a while.
const TAKEN: Duration = Duration::from_secs(10);

struct Size {
    requests: u64,
    /// Slow connections, all open at the same time.
    crowd: usize,
    senders: u64,
}

#[test]
fn it_stays_up_among_some_hostile_requests() {
    play(&Size { requests: 800, crowd: 50, senders: 8 });
}

#[test]
#[ignore = "takes half a minute, and measures memory: run in release"]
fn it_stays_up_among_twenty_thousand_hostile_requests_and_a_thousand_connections() {
    play(&Size { requests: 20_000, crowd: 1_000, senders: 16 });
}

/// What everybody got.
struct Outcome {
    sent: Sent,
    crowd: Crowd,
    goods: [Good; 2],
    usage: Usage,
    /// How many were turned away who came all at once.
    rushed: u64,
    took: Duration,
}

fn play(size: &Size) {
    let seed = std::env::var("SINKWORKS_HOSTILE_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("SINKWORKS_HOSTILE_SEED must be a number"));
    println!("hostile: SINKWORKS_HOSTILE_SEED={seed}");
    limits::allow_files(size.crowd as u64 + 500);
    let connections = size.crowd + SPARE;
    let (dir, all, cloud, good) = (Dir::new(), Receiver::status(200), Receiver::status(200), Receiver::status(200));
    // The last one's filter makes the relay look into everything that it accepts.
    let config = endpoint("all", &all.url("/"), "queue.capacity = 1000000")
        + &endpoint("cloud", &cloud.url("/"), "format = \"cloudevents-binary\"\nqueue.capacity = 1000000")
        + &endpoint("good", &good.url("/"), "filter = { field = \"/good\", is = true }");
    let numbers = [connections, MAX_BODY, usize::try_from(REQUEST_TIME.as_secs()).unwrap()].map(|n| n.to_string());
    let [places, body, time] = &numbers;
    let args = ["--connections", places, "--max-body", body, "--request-time", time, "--grace", "60"];
    let mut relay = Relay::start(&dir.file("relay.toml", &config), &args);
    let first = Usage::of(relay.id());
    let outcome = storm(&relay, size, seed);
    assert!(relay.is_up());
    // The crowd's connections are open.
    let ended = relay.stop();

    let bodies = |receiver: &Receiver| receiver.posts().into_iter().map(|posted| posted.body).collect::<Vec<_>>();
    let (arrived, mut good) = (bodies(&all), bodies(&good));
    let (total, taken) = (arrived.len() as u64, good.len() as u64);
    let (threads, memory) = allowed(&first, connections);
    println!(
        "{} {threads} threads and {memory} KiB were allowed; {total} events arrived, {taken} good",
        outcome.told(size)
    );
    ended.expect(
        0,
        &[
            &format!("queue=all accepted={total} delivered={total} dropped=0 pending=0"),
            &format!("queue=cloud accepted={total} delivered={total} dropped=0 pending=0"),
            &format!("queue=good accepted={taken} delivered={taken} dropped=0 pending=0"),
        ],
    );
    assert!(!ended.err.contains("panicked"), "{ended:?}");
    assert_eq!(cloud.posts().len() as u64, total);
    let Outcome { sent, crowd, goods, usage, rushed, took } = outcome;
    let mut expected: Vec<_> = goods.iter().flat_map(Good::taken).collect();
    expected.sort();
    good.sort();
    assert!(expected == good, "{taken} good events arrived of {}, or not those that were taken", expected.len());
    let unread = arrived.iter().filter(|body| body.contains(requests::UNREAD)).count() as u64;
    assert_eq!(sent.accepted + taken + unread, total, "what was said to be accepted is not what arrived");
    assert!(
        !arrived.iter().any(|body| body.contains(requests::SMUGGLED)),
        "what stands behind a refused request was read"
    );
    assert_eq!(sent.reset, 0, "answers were lost");
    assert!(goods.iter().all(|good| good.within(1.0) < TAKEN), "{goods:?}");
    assert!(rushed > 0, "nobody was turned away");
    let late = crowd.sent.statuses.get(&408).copied().unwrap_or(0);
    assert!(took < REQUEST_TIME * 2 || late >= size.crowd as u64, "{late} slow senders were told so in {took:?}");
    assert!(usage.threads >= size.crowd as u64, "the crowd was not there: {} threads", usage.threads);
    assert!(usage.threads <= threads, "{} threads, and {threads} are allowed", usage.threads);
    assert!(usage.memory <= memory, "{} KiB, and {memory} are allowed", usage.memory);
}

/// When the crowd is there, hostile and good clients come; and once, so many at the same time that there is no place for all.
fn storm(relay: &Relay, size: &Size, seed: u64) -> Outcome {
    let (over, next, address) = (&AtomicBool::new(false), &AtomicU64::new(0), relay.address.as_str());
    let (mut usage, mut rushed) = (Usage::default(), None);
    thread::scope(|scope| {
        let crowd = scope.spawn(|| Crowd::play(address, size.crowd, over));
        while !crowd.is_finished() && usage.threads < size.crowd as u64 {
            usage.look(relay.id());
            thread::sleep(LOOK);
        }
        let began = Instant::now();
        let goods = [true, false].map(|keeps| scope.spawn(move || Good::play(address, keeps, over)));
        let play = move || {
            let mut sender = Sender::new(address);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= size.requests {
                    return sender.sent;
                }
                let due = began + PACE * u32::try_from(number).unwrap();
                thread::sleep(due.saturating_duration_since(Instant::now()));
                sender.play(&requests::request(seed, number), number);
            }
        };
        let senders: Vec<_> = (0..size.senders).map(|_| scope.spawn(play)).collect();
        while senders.iter().any(|sender| !sender.is_finished()) {
            usage.look(relay.id());
            if rushed.is_none() && next.load(Ordering::Relaxed) > size.requests / 2 {
                rushed = Some(sender::rush(address, 2 * SPARE));
            }
            thread::sleep(LOOK);
        }
        let took = began.elapsed();
        over.store(true, Ordering::Relaxed);
        let sent = senders.into_iter().map(|sender| sender.join().unwrap()).reduce(Sent::and).unwrap();
        let (crowd, goods) = (crowd.join().unwrap(), goods.map(|good| good.join().unwrap()));
        usage.look(relay.id());
        Outcome { sent, crowd, goods, usage, rushed: rushed.unwrap_or(0), took }
    })
}

/// How many threads the relay may have, and how much memory, in KiB.
///
/// A thread for each connection, and some for the pool. A connection holds a body, in a buffer that doubles as it grows; 8 KiB that have been read from the
/// socket; and of its stack what has been touched. Beside them there is what the relay had at first, and events wait in the queues.
fn allowed(first: &Usage, connections: usize) -> (u64, u64) {
    let connection = 2 * MAX_BODY / 1024 + 8 + 12;
    (connections as u64 + 16, first.memory + (4 * 1024 + connections * connection) as u64)
}

impl Outcome {
    /// What is said of it.
    fn told(&self, size: &Size) -> String {
        let Self { sent, crowd, goods, usage, rushed, took } = self;
        let goods = goods.each_ref().map(|good| {
            let [half, most, all] = [0.5, 0.99, 1.0].map(|share| good.within(share));
            let (events, waits, unanswered) = (good.took.len(), good.told_to_wait, good.unanswered);
            format!(
                "{events} good events of a client that {}: p50 {half:.1?}, p99 {most:.1?}, max {all:.1?}, {waits} times told to wait, {unanswered} times not answered",
                good.name
            )
        });
        format!(
            "hostile: {} requests and {} connections of {} slow senders in {took:.1?}: {:?}, {} times no answer, {} reset, {} turned away; the slow: {:?}, {} times \
             no answer; {}; at most {} threads and {} KiB;",
            size.requests,
            crowd.opened,
            size.crowd,
            sent.statuses,
            sent.silent,
            sent.reset,
            sent.turned_away + rushed + crowd.sent.turned_away,
            crowd.sent.statuses,
            crowd.sent.silent,
            goods.join("; "),
            usage.threads,
            usage.memory,
        )
    }
}
