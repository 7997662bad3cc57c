//! `relay --listen`: what is posted arrives, what cannot be used is refused with its reason, and a stop loses nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver as Inbox, Sender};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sinkworks::webhook::signature::{Secret, Verifier};

pub(crate) use super::listening::{Relay, answer, endpoint};
use super::receiver::{Answer, Posted, Receiver};
use super::relay::{Dir, run};

pub(crate) const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];

fn bodies(receiver: &Receiver) -> Vec<Value> {
    receiver.posts().iter().map(|posted| serde_json::from_str(&posted.body).unwrap()).collect()
}

/// Answers 200 to what comes as soon as the test lets it: a receiver, what says that a request has come, and what lets one go.
pub(crate) fn gated() -> (Receiver, Inbox<String>, Sender<()>) {
    let (came, arrivals) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let receiver = Receiver::new(move |posted: &Posted| -> Answer {
        came.send(posted.body.clone()).unwrap();
        // If the test is over, everything may go.
        let _ = gate.recv();
        (200, Vec::new(), String::new())
    });
    (receiver, arrivals, go)
}

pub(crate) const CLOUD_EVENT: &str = r#"{"specversion":"1.0","id":"c1","source":"/s","type":"t","data":{"n":4}}"#;
pub(crate) const ENVELOPE: &str =
    r#"{"events":[{"id":"r1","action":"push","target":{"repository":"library/alpine"}}]}"#;

#[test]
fn what_is_posted_arrives_signed_at_two_endpoints_in_their_formats() {
    let (dir, plain, cloud, registry) =
        (Dir::new(), Receiver::status(200), Receiver::status(204), Receiver::status(200));
    let secrets = format!("secret = [\"{}\", \"{}\"]", SECRETS[0], SECRETS[1]);
    let config = endpoint("plain", &plain.url("/a"), &format!("secret = \"{}\"", SECRETS[0]))
        + &endpoint("cloud", &cloud.url("/b"), &format!("{secrets}\nformat = \"cloudevents-binary\"\nsource = \"/x\""))
        + &endpoint("registry", &registry.url("/c"), "format = \"registry\"");
    let relay = Relay::start(&dir.file("relay.toml", &config), &[]);
    let accepted = [
        relay.post("application/x-ndjson", "{\"n\":1}\n\n{\"n\":2}"),
        relay.post("application/json; charset=utf-8", "[{\"n\":3}]"),
        relay.post("Application/CloudEvents+JSON", CLOUD_EVENT),
        relay.post("application/cloudevents-batch+json", &format!("[{}]", CLOUD_EVENT.replace("c1", "c2"))),
        relay.post_with(
            "content-type: text/plain\r\nce-specversion: 1.0\r\nce-id: c3\r\nce-source: /s\r\nce-type: t\r\n",
            "hello",
        ),
        relay.post("application/vnd.docker.distribution.events.v1+json", ENVELOPE),
    ];
    let counts = accepted.map(|(status, text)| (status, text.lines().last().unwrap().to_owned()));
    let counts: Vec<_> = counts.iter().map(|(status, text)| (*status, text.as_str())).collect();
    let one = (202, "{\"accepted\":1}");
    assert_eq!(counts, [(202, "{\"accepted\":2}"), one, one, one, one, one]);
    let ended = relay.stop();
    ended.expect(0, &["queue=plain accepted=7 delivered=7 dropped=0 pending=0", "queue=cloud accepted=7 delivered=7"]);
    ended.expect(0, &["queue=registry accepted=1 delivered=1"]);

    let got = bodies(&plain);
    assert_eq!(got[..3], [json!({"n": 1}), json!({"n": 2}), json!({"n": 3})]);
    assert_eq!((&got[3]["id"], &got[4]["id"], &got[5]["data"]), (&json!("c1"), &json!("c2"), &json!("hello")));
    assert_eq!(got[6]["target"]["repository"], "library/alpine");
    assert_eq!(bodies(&registry)[0]["events"][0]["id"], "r1");
    let header = |n: usize, name: &str| cloud.posts()[n].header(name).join("|");
    assert_eq!((header(0, "ce-source"), header(0, "ce-type")), ("/x".to_owned(), "relay.event".to_owned()));
    assert_eq!((header(3, "ce-id"), header(3, "ce-source")), ("c1".to_owned(), "/s".to_owned()));
    assert_eq!((header(5, "content-type"), cloud.posts()[5].body.as_str()), ("text/plain".to_owned(), "hello"));
    assert_eq!(
        (header(6, "ce-type"), header(6, "ce-subject")),
        ("registry.push".to_owned(), "library/alpine".to_owned())
    );

    for (receiver, secrets) in [(&plain, &SECRETS[..1]), (&cloud, &SECRETS[..])] {
        for posted in receiver.posts() {
            for secret in secrets {
                let verifier = Verifier::new(secret.parse::<Secret>().unwrap());
                verifier.verify(|name| posted.header(name).first().copied(), posted.body.as_bytes()).unwrap();
            }
        }
    }
    assert!(registry.posts()[0].header("webhook-signature").is_empty());
}

#[test]
fn a_filter_lets_pass_what_has_one_of_its_values() {
    let (dir, receiver) = (Dir::new(), Receiver::status(200));
    let filter = "filter = { field = \"/target/tag\", is = [\"a\", 3, true] }";
    let relay = Relay::start(&dir.file("relay.toml", &endpoint("some", &receiver.url("/"), filter)), &[]);
    let tags = ["\"a\"", "\"b\"", "3", "3.5", "true", "false", "null", "[\"a\"]"];
    let lines = tags.map(|tag| format!("{{\"target\":{{\"tag\":{tag}}}}}\n")).concat();
    assert_eq!(relay.post("application/x-ndjson", &(lines + "7\n")).0, 202);
    relay.stop().expect(0, &["queue=some accepted=3 delivered=3"]);
    let tags: Vec<_> = bodies(&receiver).iter().map(|body| body["target"]["tag"].clone()).collect();
    assert_eq!(tags, [json!("a"), json!(3), json!(true)]);
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    let (dir, receiver) = (Dir::new(), Receiver::status(200));
    let config = endpoint("only", &receiver.url("/"), "queue = { capacity = 5, capacity_bytes = 4000 }");
    let relay = Relay::start(&dir.file("relay.toml", &config), &["--max-body", "5000", "--request-time", "0.5"]);
    let head = "POST /events HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\n";
    let (too_long, too_many) = (format!("\"{}\"", "x".repeat(5000)), "1\n".repeat(6));
    let cases = [
        (relay.post("application/json", "{\"a\":"), 400, "not JSON: line 1, column 5"),
        (relay.post("application/json", "[1, 2"), 400, "not JSON"),
        (relay.post("application/json", "[1] 2"), 400, "not JSON"),
        (relay.post("application/json", ""), 400, "not JSON"),
        (relay.post("application/x-ndjson", "1\n\n{\n"), 400, "line 3 is not JSON"),
        (relay.post("application/cloudevents+json", "{\"specversion\":\"1.0\"}"), 400, "id"),
        (relay.post("application/cloudevents-batch+json", &format!("[{CLOUD_EVENT},{{}}]")), 400, "index 1"),
        (relay.post("application/vnd.docker.distribution.events.v1+json", "{}"), 400, "has no events"),
        (
            relay.post(
                "application/vnd.docker.distribution.events.v1+json",
                r#"{"events":[{"id":"1","action":"pull"},{"id":"2","action":"pull","target":{"repository":"a\u0001b"}}]}"#,
            ),
            400,
            "the event at index 1: the value of subject",
        ),
        (
            relay.post(
                "application/vnd.docker.distribution.events.v1+json",
                r#"{"events":[{"id":"1","action":"pu\u0000ll"}]}"#,
            ),
            400,
            "the value of type",
        ),
        (relay.post_with("ce-specversion: 0.3\r\n", "x"), 400, "version"),
        (relay.post("application/json", &too_long), 413, "more than 5000 bytes"),
        (relay.post("application/json", &too_long[..4500]), 400, "not JSON"),
        (
            relay.post("application/json", &format!("\"{}\"", "x".repeat(4500))),
            413,
            "more than the queue of only holds",
        ),
        (relay.post("application/x-ndjson", &too_many), 413, "more than the queue of only holds"),
        (relay.raw(format!("{head}content-length: 99999999999999999999999\r\n\r\n").as_bytes()), 413, "5000 bytes"),
        (relay.raw(format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n").as_bytes()), 413, "5000"),
        (
            relay.raw(
                format!("{head}transfer-encoding: chunked\r\n\r\n{0}{0}", format!("bb8\r\n{}\r\n", "x".repeat(3000)))
                    .as_bytes(),
            ),
            413,
            "5000",
        ),
        (relay.post("text/plain", "1"), 415, "none of those"),
        (relay.post_with("", "1"), 415, "accept-post: application/x-ndjson"),
        (relay.post_with("content-type: application/json\r\ncontent-encoding: gzip\r\n", "1"), 415, "content-encoding"),
        (
            relay.post_with(
                "content-type: application/json\r\ncontent-encoding: identity\r\ncontent-encoding: gzip\r\n",
                "1",
            ),
            415,
            "content-encoding",
        ),
        (relay.raw(b"GET /events HTTP/1.1\r\nhost: relay\r\n\r\n"), 405, "allow: POST"),
        (relay.raw(b"POST / HTTP/1.1\r\nhost: relay\r\ncontent-length: 0\r\n\r\n"), 404, "/events"),
        (relay.raw(format!("{head}\r\n").as_bytes()), 411, "neither"),
        (relay.raw(format!("{head}content-length: 1\r\ncontent-length: 1\r\n\r\n1").as_bytes()), 400, "not clear"),
        (
            relay.raw(format!("{head}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1").as_bytes()),
            400,
            "not clear",
        ),
        (relay.raw(format!("{head}content-length: +1\r\n\r\n1").as_bytes()), 400, "no number"),
        (relay.raw(format!("{head}transfer-encoding: gzip\r\n\r\n").as_bytes()), 501, "chunked"),
        (relay.raw(format!("{head}transfer-encoding: chunked\r\n\r\n1\r\n1x\r\n").as_bytes()), 400, "malformed"),
        (relay.raw(format!("{head}transfer-encoding: chunked\r\n\r\n1\n1\n").as_bytes()), 400, "proper end"),
        (relay.raw(format!("{head}transfer-encoding: chunked\r\n\r\n1;a\rb\r\n1\r\n").as_bytes()), 400, "proper end"),
        (relay.raw(format!("{head}transfer-encoding: chunked\r\n\r\n 1\r\n1\r\n").as_bytes()), 400, "malformed"),
        (relay.raw(b"POST /events HTTP/1.1\r\ncontent-length: 1\r\n\r\n1"), 400, "host"),
        (relay.raw(b"\x16\x03\x01\x02\x00\n\n"), 400, "no request of HTTP"),
        (relay.raw(format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(20_000)).as_bytes()), 431, "too large"),
        (relay.raw(format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200)).as_bytes()), 431, "too many headers"),
        (relay.raw(b"POST /events HT"), 408, "too long"),
        (relay.raw(format!("{head}content-length: 2\r\n\r\n1").as_bytes()), 408, "too long"),
    ];
    for ((status, text), expected, reason) in &cases {
        assert_eq!((status, text.contains(reason)), (expected, true), "{reason}: {text}");
        let body: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert!(body["error"].is_string(), "{text}");
    }
    relay.stop().expect(0, &["queue=only accepted=0 delivered=0 dropped=0 pending=0"]);
    assert_eq!(receiver.posts().len(), 0);
}

#[test]
fn a_request_with_too_many_events_is_refused_whatever_it_is() {
    let (dir, receiver) = (Dir::new(), Receiver::status(200));
    let config = endpoint("only", &receiver.url("/"), "queue.capacity = 100000");
    let relay = Relay::start(&dir.file("relay.toml", &config), &[]);
    let array = |item: &str| format!("[{}{item}]", format!("{item},").repeat(10_000));
    let cases = [
        ("application/x-ndjson", "1\n".repeat(10_001)),
        ("application/json", array("1")),
        ("application/cloudevents-batch+json", array(CLOUD_EVENT)),
        (
            "application/vnd.docker.distribution.events.v1+json",
            format!("{{\"events\":{}}}", array("{\"id\":\"1\",\"action\":\"a\"}")),
        ),
    ];
    for (content_type, body) in cases {
        let (status, text) = relay.post(content_type, &body);
        assert!(status == 413 && text.contains("more than 10000 events"), "{content_type}: {text}");
    }
    relay.stop().expect(0, &["accepted=0"]);
}

#[test]
fn a_body_in_chunks_and_several_requests_on_a_connection() {
    let (dir, receiver) = (Dir::new(), Receiver::status(200));
    let relay = Relay::start(&dir.file("relay.toml", &endpoint("only", &receiver.url("/"), "")), &[]);
    let head = "POST /events HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\n";
    let chunked = format!(
        "{head}transfer-encoding: chunked\r\n\r\n3;ext=1\r\n{{\"a\r\n00004\r\n\":1}}\r\n0\r\ntrailer: 1\r\n\r\n"
    );
    let (_, text) = relay.raw(format!("{chunked}{head}content-length: 1\r\nconnection: close\r\n\r\n2").as_bytes());
    assert_eq!(text.matches("HTTP/1.1 202 Accepted").count(), 2, "{text}");
    let mut patient = relay.connect();
    patient
        .write_all(format!("{head}expect: 100-continue\r\ncontent-length: 1\r\nconnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut line = String::new();
    BufReader::new(patient.try_clone().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    patient.write_all(b"3").unwrap();
    assert!(answer(patient).1.contains("HTTP/1.1 202"));
    // A client of HTTP/1.0 does not know the interim answer.
    let old =
        "POST /events HTTP/1.0\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n";
    let mut old_fashioned = relay.connect();
    old_fashioned.write_all(old.as_bytes()).unwrap();
    old_fashioned.write_all(b"4").unwrap();
    assert!(answer(old_fashioned).1.starts_with("HTTP/1.1 202"));
    relay.stop().expect(0, &["queue=only accepted=4 delivered=4"]);
    assert_eq!(bodies(&receiver), [json!({"a": 1}), json!(2), json!(3), json!(4)]);
}

#[test]
fn a_full_queue_is_answered_with_429_and_takes_nothing_of_the_request_anywhere() {
    let dir = Dir::new();
    let (slow, arrivals, go) = gated();
    let steady = Receiver::status(200);
    let config = endpoint("steady", &steady.url("/"), "") + &endpoint("slow", &slow.url("/"), "queue.capacity = 3");
    let relay = Relay::start(&dir.file("relay.toml", &config), &[]);
    assert_eq!(relay.post("application/x-ndjson", "1\n2").0, 202);
    arrivals.recv().unwrap();
    // Two are pending, the one that is being delivered included: there is room for one.
    let (status, text) = relay.post("application/x-ndjson", "3\n4");
    assert!(
        status == 429 && text.contains("retry-after: 1\r\n") && text.contains("the queue of slow is full"),
        "{text}"
    );
    assert_eq!(relay.post("application/json", "5").0, 202);
    assert_eq!(relay.post("application/json", "6").0, 429);
    drop(go);
    relay.stop().expect(0, &["queue=steady accepted=3 delivered=3", "queue=slow accepted=3 delivered=3"]);
    assert_eq!(bodies(&steady), [json!(1), json!(2), json!(5)]);
}

#[test]
fn what_is_not_required_holds_nobody_up() {
    let dir = Dir::new();
    let (slow, arrivals, go) = gated();
    let steady = Receiver::status(200);
    let config = endpoint("steady", &steady.url("/"), "")
        + &endpoint("slow", &slow.url("/"), "required = false\nqueue = { capacity = 2, overflow = \"drop-oldest\" }");
    let relay = Relay::start(&dir.file("relay.toml", &config), &[]);
    assert_eq!(relay.post("application/json", "1").0, 202);
    arrivals.recv().unwrap();
    assert_eq!(relay.post("application/x-ndjson", "2\n3\n4").0, 202);
    drop(go);
    relay.stop().expect(
        1,
        &["queue=steady accepted=4 delivered=4", "queue=slow accepted=4 delivered=2 dropped=2", "lost 2 overflow"],
    );
    assert_eq!(bodies(&slow), [json!(1), json!(4)]);
}

#[test]
fn a_required_endpoint_that_is_gone_refuses_everything_and_another_one_nothing() {
    let (dir, gone, steady) = (Dir::new(), Receiver::status(410), Receiver::status(200));
    for (more, refuses) in [("", true), ("required = false", false)] {
        let config = endpoint("gone", &gone.url("/"), more) + &endpoint("steady", &steady.url("/"), "");
        let mut relay = Relay::start(&dir.file("relay.toml", &config), &[]);
        let before = (gone.posts().len(), steady.posts().len());
        assert_eq!(relay.post("application/json", "1").0, 202);
        if refuses {
            // It is gone when its answer has been read, a moment after it was given.
            let (status, text) = std::iter::repeat_with(|| relay.post("application/json", "2"))
                .find(|(status, _)| *status != 202)
                .unwrap();
            assert!(status == 503 && text.contains("gone takes no events any more"), "{text}");
        } else {
            while steady.posts().len() < before.1 + 50 {
                assert_eq!(relay.post("application/json", "2").0, 202);
            }
            assert!(relay.is_up());
        }
        let ended = relay.stop();
        ended.expect(1, &["gone: lost", "destination"]);
        assert_eq!(gone.posts().len(), before.0 + 1);
        assert!(ended.out.contains("queue=steady") && steady.posts().len() > before.1);
    }
}

#[test]
fn a_stop_delivers_what_was_accepted_and_takes_nothing_more() {
    let dir = Dir::new();
    let (slow, arrivals, go) = gated();
    let mut relay = Relay::start(&dir.file("relay.toml", &endpoint("slow", &slow.url("/"), "")), &["--grace", "60"]);
    assert_eq!(relay.post("application/x-ndjson", &"1\n".repeat(50)).0, 202);
    arrivals.recv().unwrap();
    relay.signal("-TERM");
    relay.hear("closing within 60 s");
    // The close begins on a thread of its own: until it has, events are taken, and delivered.
    let mut taken = 50;
    loop {
        let (status, text) = relay.post("application/json", "2");
        if status == 503 {
            assert!(text.contains("is closing"), "{text}");
            break;
        }
        assert_eq!(status, 202);
        taken += 1;
    }
    drop(go);
    let ended = relay.wait();
    ended.expect(
        0,
        &[&format!("queue=slow accepted={taken} delivered={taken} dropped=0 pending=0"), "left abandoned=0"],
    );
    assert_eq!(slow.posts().len(), taken);
}

#[test]
fn a_stop_has_a_deadline_and_says_what_was_left() {
    let dir = Dir::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let relay = Relay::start(&dir.file("relay.toml", &endpoint("down", &url, "")), &["--grace", "0.5"]);
    assert_eq!(relay.post("application/x-ndjson", "1\n2\n3").0, 202);
    let began = Instant::now();
    relay.stop().expect(1, &["queue=down accepted=3 delivered=0 dropped=3 pending=0", "left abandoned=3 in_flight=0"]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn more_connections_than_allowed_are_turned_away_and_silent_ones_lose_their_place() {
    let (dir, receiver) = (Dir::new(), Receiver::status(200));
    let config = dir.file("relay.toml", &endpoint("only", &receiver.url("/"), ""));
    let relay = Relay::start(&config, &["--connections", "2", "--request-time", "1"]);
    let silent = [relay.connect(), relay.connect()];
    // Sends nothing: what is unread when a connection closes can cost the answer.
    let (status, text) = answer(relay.connect());
    assert!(status == 503 && text.contains("retry-after: 1") && text.contains("too many connections"), "{text}");
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    // Their places are given back when they have been closed, which is a moment later.
    while relay.post("application/json", "1").0 != 202 {}
    relay.stop().expect(0, &["delivered=1"]);
}

#[test]
fn it_is_not_started_with_what_cannot_be_used() {
    let dir = Dir::new();
    let good = dir.file("good.toml", &endpoint("a", "http://127.0.0.1:1/", ""));
    let bad = dir.file("bad.toml", "[[endpoint]]\n");
    run(&["--listen", "127.0.0.1:0"], "").expect(2, &["--config"]);
    run(&["--config", &good], "").expect(2, &["--listen"]);
    run(&["--listen", "127.0.0.1:0", "--config", &bad], "").expect(2, &["bad.toml:1: missing field"]);
    run(&["--listen", "nonsense", "--config", &good], "").expect(2, &["--listen cannot be listened at"]);
    run(&["--listen", "127.0.0.1:0", "--config", &good, "--to", "http://a/"], "").expect(2, &["--to"]);
}
