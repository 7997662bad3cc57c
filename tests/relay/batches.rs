//! Endpoints that get several events in one request.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use sinkworks::webhook::signature::{Secret, Verifier};

use super::listen::SECRETS;
use super::listening::{Relay, endpoint};
use super::receiver::{Posted, Receiver};
use super::relay::Dir;

const ENVELOPE: &str = "application/vnd.docker.distribution.events.v1+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// Answers 503 to the first five requests: what comes meanwhile gathers behind them.
fn busy_at_first() -> Receiver {
    let requests = AtomicU32::new(0);
    Receiver::new(move |_: &Posted| {
        let status = if requests.fetch_add(1, Ordering::Relaxed) < 5 { 503 } else { 200 };
        (status, Vec::new(), String::new())
    })
}

fn envelope(ids: &[&str]) -> String {
    let event = |id: &&str| format!(r#"{{"id":"{id}","action":"push","target":{{"repository":"library/alpine"}}}}"#);
    format!("{{\"events\":[{}]}}", ids.iter().map(event).collect::<Vec<_>>().join(","))
}

/// The ids of the events in each request that was answered with 200.
fn taken(receiver: &Receiver, events: &str) -> Vec<Vec<String>> {
    let ids = |posted: &Posted| {
        let body: Value = serde_json::from_str(&posted.body).unwrap();
        let events = body.pointer(events).and_then(Value::as_array).unwrap();
        events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    };
    receiver.posts()[5..].iter().map(ids).collect()
}

fn header<'a>(posted: &'a Posted, name: &str) -> &'a str {
    posted.header(name).first().copied().unwrap()
}

#[test]
fn what_gathers_while_an_endpoint_is_busy_is_one_envelope_signed_and_with_an_id_of_its_own() {
    let (dir, receiver) = (Dir::new(), busy_at_first());
    let more = format!(
        "format = \"registry\"\nsecret = \"{}\"\nbatch = {{ max_events = 3 }}\nretry = {{ backoff_ms = 20, max_backoff_ms = 20 }}\nbreaker.threshold = 100",
        SECRETS[0]
    );
    let relay = Relay::start(&dir.file("relay.toml", &endpoint("registry", &receiver.url("/"), &more)), &[]);
    // One request is one step into the queue, or the worker may come in between: so each batch is full, but for the last.
    assert_eq!(relay.post(ENVELOPE, &envelope(&["a", "b", "c"])).0, 202);
    assert_eq!(relay.post(ENVELOPE, &envelope(&["d", "e", "f", "g"])).0, 202);
    relay.stop().expect(0, &["queue=registry accepted=7 delivered=7 dropped=0 pending=0"]);

    let posts = receiver.posts();
    assert!(posts.iter().all(|posted| header(posted, "content-type") == ENVELOPE));
    let verifier = Verifier::new(SECRETS[0].parse::<Secret>().unwrap());
    for posted in &posts {
        verifier.verify(|name| posted.header(name).first().copied(), posted.body.as_bytes()).unwrap();
    }
    let first = (&posts[0].body, header(&posts[0], "webhook-id"));
    assert!(posts[..6].iter().all(|posted| (&posted.body, header(posted, "webhook-id")) == first));
    let taken = taken(&receiver, "/events");
    assert!(taken.iter().all(|batch| batch.len() <= 3) && taken.len() < 7, "{taken:?}");
    assert_eq!(taken.concat(), ["a", "b", "c", "d", "e", "f", "g"]);
    let ids: std::collections::HashSet<_> = posts[5..].iter().map(|posted| header(posted, "webhook-id")).collect();
    assert_eq!(ids.len(), taken.len(), "each message has an id of its own");
}

#[test]
fn a_batch_has_no_more_bytes_than_the_file_says() {
    let (dir, receiver) = (Dir::new(), busy_at_first());
    // An event counts with 256 bytes more than its JSON has: two do not fit.
    let more = "format = \"registry\"\nbatch = { max_bytes = 600 }\nretry = { backoff_ms = 20, max_backoff_ms = 20 }\nbreaker.threshold = 100";
    let relay = Relay::start(&dir.file("relay.toml", &endpoint("registry", &receiver.url("/"), more)), &[]);
    assert_eq!(relay.post(ENVELOPE, &envelope(&["a", "b", "c"])).0, 202);
    relay.stop().expect(0, &["queue=registry accepted=3 delivered=3 dropped=0 pending=0"]);
    assert_eq!(taken(&receiver, "/events"), [["a"], ["b"], ["c"]]);
}

#[test]
fn cloud_events_come_in_batches_where_the_file_asks_for_it() {
    let (dir, receiver) = (Dir::new(), busy_at_first());
    let more = "format = \"cloudevents-structured\"\nbatch = {}\nretry = { backoff_ms = 20, max_backoff_ms = 20 }\nbreaker.threshold = 100";
    let relay = Relay::start(&dir.file("relay.toml", &endpoint("cloud", &receiver.url("/"), more)), &[]);
    assert_eq!(relay.post(ENVELOPE, &envelope(&["a", "b"])).0, 202);
    assert_eq!(relay.post("application/json", "[1,2,3]").0, 202);
    relay.stop().expect(0, &["queue=cloud accepted=5 delivered=5 dropped=0 pending=0"]);
    assert!(receiver.posts().iter().all(|posted| header(posted, "content-type") == BATCH));
    let taken = taken(&receiver, "");
    assert!(taken.len() < 5, "{taken:?}");
    let distinct: std::collections::HashSet<_> = taken.concat().into_iter().collect();
    assert_eq!(distinct.len(), 5);
}
