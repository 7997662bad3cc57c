//! Dead letters: what an endpoint refuses for good is a line of a file, and `relay replay` delivers it when the endpoint is repaired.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::listening::{Relay, endpoint};
use super::receiver::Receiver;
use super::relay::{Dir, read, run};

fn lines(path: &str) -> Vec<Value> {
    read(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const SECRET: &str = "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"";

#[test]
fn what_was_refused_is_replayed_with_the_id_that_it_had() {
    let dir = Dir::new();
    let repaired = Arc::new(AtomicBool::new(false));
    let moody = Receiver::new({
        let repaired = repaired.clone();
        move |_| (if repaired.load(Ordering::SeqCst) { 200 } else { 422 }, Vec::new(), String::new())
    });
    let steady = Receiver::status(200);
    let (written, replayed) = (dir.path("dead.ndjson"), dir.path("replay.ndjson"));
    let config = format!("dead_letters = \"{written}\"\n")
        + &endpoint("moody", &moody.url("/"), SECRET)
        + &endpoint("steady", &steady.url("/"), SECRET);
    let config = dir.file("relay.toml", &config);
    let relay = Relay::start(&config, &[]);
    assert_eq!(relay.post("application/json", "{\"n\": 1.50}").0, 202);
    let cloud = r#"{"specversion":"1.0","id":"c","source":"/s","type":"t","datacontenttype":"text/plain","data":"x"}"#;
    assert_eq!(relay.post("application/cloudevents+json", cloud).0, 202);
    let envelope = r#"{"events":[{"id":"r","action":"push","target":{"repository":"a"}}]}"#;
    assert_eq!(relay.post("application/vnd.docker.distribution.events.v1+json", envelope).0, 202);
    let ended = relay.stop();
    ended.expect(1, &["queue=moody accepted=3 delivered=0 dropped=3", "queue=steady accepted=3 delivered=3"]);
    ended.expect(1, &["queue=dead-letters accepted=3 delivered=3 dropped=0 pending=0", "moody: lost 3 permanent"]);
    let letters = lines(&written);
    assert_eq!(letters.len(), 3);
    for (letter, kind) in letters.iter().zip(["json", "cloud_event", "registry"]) {
        let known = [&letter["queue"], &letter["reason"], &letter["kind"], &letter["attempts"]];
        assert_eq!(known, [&json!("moody"), &json!("permanent"), &json!(kind), &json!(1)]);
        assert!(letter["last_error"].as_str().unwrap().contains("422"), "{letter}");
    }

    // The file that new letters are written to cannot be replayed: it might never end.
    run(&["replay", &written, "--config", &config], "").expect(2, &["new dead letters are written there"]);
    fs::rename(&written, &replayed).unwrap();
    // Still refused: everything is a dead letter again.
    let ended = run(&["replay", &replayed, "--config", &config], "");
    ended.expect(1, &["queue=moody accepted=3 delivered=0 dropped=3", "letters read=3 replayed=3 unusable=0"]);
    assert_eq!(lines(&written).len(), 3);
    repaired.store(true, Ordering::SeqCst);
    let ended = run(&["replay", &written.replace("dead", "replay"), "--config", &config], "");
    ended.expect(0, &["queue=moody accepted=3 delivered=3", "queue=steady accepted=0", "letters read=3 replayed=3"]);

    let posts = moody.posts();
    let what = |n: usize| (posts[n].header("webhook-id").join(""), posts[n].body.clone());
    assert_eq!(posts.len(), 9);
    for n in 0..3 {
        assert_eq!((what(n), what(n)), (what(n + 3), what(n + 6)));
    }
    assert_eq!(posts[6].body, "{\"n\": 1.50}");
    let ids: std::collections::HashSet<_> = (0..3).map(|n| what(n).0).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn what_a_stop_leaves_undelivered_is_a_dead_letter() {
    let dir = Dir::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let written = dir.path("dead.ndjson");
    let config = format!("dead_letters = \"{written}\"\n") + &endpoint("down", &url, "");
    let relay = Relay::start(&dir.file("relay.toml", &config), &["--grace", "0.3"]);
    let body = (0..500).map(|n| format!("{n}\n")).collect::<Vec<_>>().concat();
    assert_eq!(relay.post("application/x-ndjson", &body).0, 202);
    relay.stop().expect(
        1,
        &["queue=down accepted=500 delivered=0 dropped=500", "queue=dead-letters accepted=500 delivered=500"],
    );
    let numbers: Vec<_> = lines(&written).iter().map(|letter| letter["event"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
}

#[test]
#[cfg(target_os = "linux")]
fn letters_that_cannot_be_written_are_counted() {
    let (dir, refusing) = (Dir::new(), Receiver::status(422));
    let config = "dead_letters = \"/dev/full\"\n".to_owned() + &endpoint("a", &refusing.url("/"), "");
    let relay = Relay::start(&dir.file("relay.toml", &config), &["--grace", "0.5"]);
    assert_eq!(relay.post("application/x-ndjson", "1\n2\n3").0, 202);
    let ended = relay.stop();
    ended.expect(
        1,
        &["queue=dead-letters accepted=3 delivered=0 dropped=3 pending=0", "dead-letters: lost 3", "No space left"],
    );
}

#[test]
fn more_letters_than_a_queue_holds_are_replayed_in_order() {
    let (dir, receiver) = (Dir::new(), Receiver::status(200));
    let config = dir.file("relay.toml", &endpoint("a", &receiver.url("/"), "queue.capacity = 2"));
    let letter = |n: u32| format!("{{\"queue\":\"a\",\"id\":\"i{n}\",\"kind\":\"json\",\"event\":{n}}}\n");
    let file = dir.file("letters", &(0..100).map(letter).collect::<Vec<_>>().concat());
    run(&["replay", &file, "--config", &config], "")
        .expect(0, &["accepted=100 delivered=100", "read=100 replayed=100"]);
    let bodies: Vec<_> = receiver.posts().iter().map(|posted| posted.body.clone()).collect();
    assert_eq!(bodies, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_is_no_letter_is_named_with_its_line_and_the_rest_is_replayed() {
    let (dir, receiver) = (Dir::new(), Receiver::status(200));
    let config = dir.file("relay.toml", &endpoint("a", &receiver.url("/"), ""));
    let letters = [
        r#"{"queue":"a","id":"1","kind":"json","event":{"n":1}}"#,
        r#"{"queue":"b","id":"2","kind":"json","event":{"n":2}}"#,
        r#"{"queue":"a","id":"3","kind":"cloud_event","event":{"n":3}}"#,
        r#"{"n":4}"#,
        r#"{"queue":"a","#,
        r#"{"queue":"a","id":"6","kind":"json","event":{"n":6}}"#,
    ];
    let file = dir.file("letters", &letters.join("\n"));
    let ended = run(&["replay", &file, "--config", &config], "");
    ended.expect(1, &["line 2 is not replayed: there is no endpoint \"b\"", "line 3 is not replayed: its event:"]);
    ended.expect(
        1,
        &["line 4 is not replayed: it is no letter", "line 5 is not replayed", "letters read=6 replayed=2 unusable=4"],
    );
    assert_eq!(receiver.posts().len(), 2);
    run(&["replay", &dir.path("missing"), "--config", &config], "").expect(2, &["missing cannot be read"]);
    run(&["replay", &file], "").expect(2, &["--config"]);
}

#[test]
fn after_sighup_letters_go_to_a_new_file_and_none_is_lost() {
    let dir = Dir::new();
    let receiver = Receiver::status(422);
    let (written, renamed) = (dir.path("dead.ndjson"), dir.path("dead.ndjson.1"));
    let config = format!("dead_letters = \"{written}\"\n") + &endpoint("refusing", &receiver.url("/"), "");
    let mut relay = Relay::start(&dir.file("relay.toml", &config), &[]);
    let lines_of = |numbers: std::ops::Range<u32>| numbers.map(|n| format!("{n}\n")).collect::<Vec<_>>().concat();
    assert_eq!(relay.post("application/x-ndjson", &lines_of(0..50)).0, 202);
    // As logrotate does it, whatever is being written at that moment.
    fs::rename(&written, &renamed).unwrap();
    relay.signal("-HUP");
    relay.hear("SIGHUP: the file of dead letters is opened anew");
    assert_eq!(relay.post("application/x-ndjson", &lines_of(50..100)).0, 202);
    relay.stop().expect(1, &["queue=dead-letters accepted=100 delivered=100 dropped=0 pending=0"]);
    let numbers = |path: &str| lines(path).iter().map(|letter| letter["event"].as_u64().unwrap()).collect::<Vec<_>>();
    let (old, new) = (numbers(&renamed), numbers(&written));
    assert!(new.len() >= 50, "{new:?}");
    assert_eq!([old, new].concat(), (0..100).collect::<Vec<_>>());
}

#[test]
fn sighup_does_not_end_a_relay_that_has_no_file_of_letters() {
    let (dir, receiver) = (Dir::new(), Receiver::status(200));
    let mut relay = Relay::start(&dir.file("relay.toml", &endpoint("only", &receiver.url("/"), "")), &[]);
    relay.signal("-HUP");
    relay.hear("SIGHUP: there is no file of dead letters");
    assert_eq!(relay.post("application/json", "1").0, 202);
    relay.stop().expect(0, &["queue=only accepted=1 delivered=1"]);
}
