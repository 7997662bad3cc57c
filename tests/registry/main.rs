//! A real Docker registry notifies the relay, and the relay two endpoints, one of which is down for a while: what the registry tells, which is what
//! the client has done, arrives at both, signed.
//!
//! The registry tells a third receiver directly. What it says there is what must arrive. It is Debian's package `docker-registry`, which `ci/registry.sh`
//! installs before it runs this.

#![cfg(unix)]

mod audit;
mod client;
mod destination;
#[path = "../common/listening.rs"]
#[allow(dead_code, reason = "the relay's tests use the rest")]
mod listening;
#[path = "../common/receiver.rs"]
#[allow(dead_code, reason = "the webhook's tests use the rest")]
mod receiver;
#[path = "../common/relay.rs"]
#[allow(dead_code, reason = "the relay's tests use the rest")]
mod relay;
mod server;

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use audit::{Arrived, Signatures, expect_same, expect_steady_ids};
use client::{Client, Told, get};
use destination::{Destination, Request, id};
use listening::{Relay, endpoint};
use relay::Dir;
use server::Registry;

/// The secrets of the endpoint `steady`, which changes from one to the other.
const STEADY: [&str; 2] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
/// That of the endpoint `fickle`.
const FICKLE: [&str; 1] = ["whsec_c2lua3dvcmtzIGFuZCBhIHJlYWwgcmVnaXN0cnk="];

/// How long what can only be waited for may take. No check measures it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again, since other processes tell nobody when they are done. Whether it came to be.
fn eventually(within: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + within;
    while !done() {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

#[test]
#[ignore = "needs Debian's docker-registry: ci/registry.sh"]
fn nothing_is_lost_while_an_endpoint_is_down_for_ten_seconds() {
    let outage = Duration::from_secs(10);
    let played = play(&Scene { name: "down", outage, images: 60, pushing: Duration::from_secs(12), capacity: 10_000 });
    assert_eq!(played.refused, 0, "the relay refused the registry's requests");
    // It is not held up by the other.
    assert!(played.lag < outage / 2, "the healthy endpoint got an event {:?} late", played.lag);
}

#[test]
#[ignore = "needs Debian's docker-registry: ci/registry.sh"]
fn what_a_full_relay_refuses_is_repeated_by_the_registry_and_nothing_is_lost_either() {
    let (outage, pushing) = (Duration::from_secs(3), Duration::from_secs(4));
    let played = play(&Scene { name: "full", outage, images: 30, pushing, capacity: 15 });
    assert!(played.refused > 0, "the relay's queue was never full");
}

struct Scene {
    name: &'static str,
    /// How long the endpoint `fickle` is down, from the first event that it gets. Then it refuses one envelope of several events more.
    outage: Duration,
    images: u32,
    /// For how long images are pushed, at an even pace.
    pushing: Duration,
    /// How many events the relay keeps for `fickle`.
    capacity: usize,
}

/// In which the scenes differ.
struct Played {
    /// How many requests of the registry the relay refused.
    refused: u64,
    /// The longest time from when the registry told of an event by itself to when the healthy endpoint had it.
    lag: Duration,
}

fn play(scene: &Scene) -> Played {
    let dir = Dir::new();
    let (direct, steady, fickle) = (Destination::up(), Destination::up(), Destination::down_for(scene.outage));
    let config = endpoint("steady", &steady.url(), &format!("format = \"registry\"\nsecret = {STEADY:?}"))
        + &endpoint("fickle", &fickle.url(), &format!("format = \"registry\"\nsecret = {FICKLE:?}"))
        + &format!("queue.capacity = {}\nretry.max_backoff_ms = 500\nbreaker.backoff_ms = 500\n", scene.capacity);
    let relay = Relay::start(&dir.file("relay.toml", &config), &["--metrics", "127.0.0.1:0"]);
    let events = format!("http://{}/events", relay.address);
    let registry = Registry::start(&dir, &events, &direct.url());

    let mut client = Client::new(&registry.url);
    let began = Instant::now();
    for number in 0..scene.images {
        thread::sleep((scene.pushing * number / scene.images).saturating_sub(began.elapsed()));
        client.image(number as usize);
    }
    let due = client.due.len();
    let told = |endpoint| {
        let notified = registry.notified(endpoint);
        notified.pending == 0 && notified.events >= due as u64
    };
    // What may be missing is said below, by name.
    let arrived = eventually(PATIENCE, || {
        steady.taken() >= due && fickle.taken() >= due && direct.taken() >= due && told("relay") && told("direct")
    });
    let notified = [registry.notified("relay"), registry.notified("direct")];
    let opened = opened(relay.metrics.as_ref().unwrap());
    let ended = relay.stop();

    let books = [direct.book(), steady.book(), fickle.book()];
    let [direct, steady, fickle] = books.each_ref().map(|book| Arrived::of(book));
    let said: Vec<Told> = direct.events.iter().map(|(_, event)| Told::by(event)).collect();
    expect_same("told by the registry", &client.due, &said);
    steady.expect(&direct, "the healthy endpoint");
    fickle.expect(&direct, "the failing endpoint");
    assert!(arrived, "{notified:?}\n{ended:?}\n{}", registry.log());
    assert_eq!(steady.duplicates, 0, "the healthy endpoint got events twice");
    for name in ["steady", "fickle"] {
        ended.expect(0, &[&format!("queue={name} accepted={due} delivered={due} dropped=0 pending=0")]);
    }
    for notified in &notified {
        let counts = (notified.pending, notified.events, notified.successes, notified.errors);
        assert_eq!(counts, (0, due as u64, due as u64, 0), "{notified:?}");
    }
    let [relayed, _] = &notified;
    let refused = relayed.statuses["429 Too Many Requests"].as_u64().unwrap_or_default();
    assert_eq!((&relayed.statuses["202 Accepted"], refused), (&due.into(), relayed.failures), "{relayed:?}");

    let [_, steady_book, fickle_book] = &books;
    expect_steady_ids(steady_book, "the healthy endpoint");
    expect_steady_ids(fickle_book, "the failing endpoint");
    let repeated = fickle_book.iter().any(|request| !request.taken && request.events.len() > 1);
    assert!(repeated, "no envelope of several events was refused");
    let mut signatures = Signatures::default();
    signatures.look_at(steady_book, &STEADY, &FICKLE);
    signatures.look_at(fickle_book, &FICKLE, &STEADY);
    assert_eq!((signatures.invalid, signatures.forgeable), (0, 0), "invalid and forgeable, of {}", signatures.valid);

    let outage = Outage::of(fickle_book, scene.outage, &direct, &fickle);
    // Five failures open the breaker, and then a probe goes out every half second.
    let most = 5 + scene.outage.as_millis() / 500 + 2;
    assert!(outage.refused >= 5 && outage.refused as u128 <= most && opened > 0, "{outage:?}, opened {opened} times");
    assert!(outage.waiting > 0 && outage.waiting < due, "{outage:?}: the pushes were not before and after its end");
    assert!(outage.caught_up < Duration::from_secs(5), "{outage:?}");

    let count = |action: &str| said.iter().filter(|told| told.action == action).count();
    let lag =
        direct.events.iter().zip(&steady.events).map(|((told, _), (got, _))| got.at.saturating_duration_since(told.at));
    let played = Played { refused, lag: lag.max().unwrap_or_default() };
    let say = |what: String| println!("registry: {}: {what}", scene.name);
    println!();
    say(format!(
        "{due} events ({} pushes, {} mounts, {} pulls, {} deletes); {refused} requests of the registry refused with 429",
        count("push"),
        count("mount"),
        count("pull"),
        count("delete")
    ));
    say(format!(
        "healthy endpoint: all {due} in order, none twice, in {} requests, at most {:.0?} late",
        steady_book.len(),
        played.lag
    ));
    say(format!(
        "failing endpoint: {} requests refused for {:?}, breaker opened {opened} times; the {} events of that time arrived within {:.1?} after it; \
         all {due} in order, {} twice, in {} requests",
        outage.refused,
        scene.outage,
        outage.waiting,
        outage.caught_up,
        fickle.duplicates,
        fickle_book.len()
    ));
    say(format!(
        "{} signatures valid, {} invalid; relay: dropped=0 pending=0, exit status 0",
        signatures.valid, signatures.invalid
    ));
    played
}

/// How often the breaker before `fickle` has opened.
fn opened(metrics: &str) -> u64 {
    let text = String::from_utf8(get(&format!("http://{metrics}/metrics"))).unwrap();
    let is_it = |line: &&str| {
        let is = |part| line.contains(part);
        is("sinkworks_breaker_transitions_total{") && is("breaker=\"fickle\"") && is("to=\"open\"")
    };
    text.lines().find(is_it).and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// What the failing endpoint's outage did.
#[derive(Debug)]
struct Outage {
    /// How many requests it refused.
    refused: usize,
    /// How many events the registry told of before its end.
    waiting: usize,
    /// How long after its end the last of them arrived.
    caught_up: Duration,
}

impl Outage {
    fn of(book: &[Request], lasts: Duration, direct: &Arrived<'_>, fickle: &Arrived<'_>) -> Self {
        let end = book[0].at + lasts;
        let waiting = direct.events.iter().filter(|(request, _)| request.at < end);
        let waiting: HashSet<&str> = waiting.map(|(_, event)| id(event)).collect();
        let late = fickle.events.iter().filter(|(_, event)| waiting.contains(id(event)));
        Self {
            refused: book.iter().filter(|request| request.at < end).count(),
            waiting: waiting.len(),
            caught_up: late.map(|(request, _)| request.at.saturating_duration_since(end)).max().unwrap_or_default(),
        }
    }
}
