//! `relay check FILE`: what is wrong with a file of endpoints, by line.

use super::relay::{Dir, run};

const GOOD: &str = r#"
[[endpoint]]
name = "billing"
url = "https://billing.example.com/hook"
secret = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]
format = "cloudevents-binary"
filter = { field = "/target/repository", is = ["library/alpine", "library/debian"] }
deny = ["1.2.3.0/24"]
timeout_ms = 5000
queue = { capacity = 100, capacity_bytes = 1000000, overflow = "reject" }
retry = { attempts = 10, give_up_ms = 60000, backoff_ms = 50, max_backoff_ms = 2000 }
breaker = { threshold = 3, backoff_ms = 500 }

[[endpoint]]
name = "audit"
url = "http://127.0.0.1:8080/"
allow = ["loopback", "10.1.0.0/16"]
required = false
queue.overflow = "drop-oldest"
"#;

#[test]
fn a_good_file_is_called_good() {
    let dir = Dir::new();
    run(&["check", &dir.file("relay.toml", GOOD)], "").expect(0, &["relay.toml: good, endpoints=2"]);
}

#[test]
fn the_file_that_the_readme_shows_is_good() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/relay/relay.toml");
    run(&["check", file], "").expect(0, &["good, endpoints=2"]);
}

#[test]
fn each_mistake_is_named_with_its_line() {
    let dir = Dir::new();
    // What to replace in the good file, by what, and what is said of it.
    let cases = [
        ("format = \"cloudevents-binary\"", "format = \"xml\"", 6, "unknown variant `xml`"),
        ("timeout_ms = 5000", "timeout = 5", 9, "unknown field `timeout`"),
        ("timeout_ms = 5000", "timeout_ms = 0", 9, "timeout_ms must be from 1 to 86400000"),
        ("timeout_ms = 5000", "timeout_ms = ", 9, ""),
        ("capacity = 100,", "capacity = -1,", 10, "-1"),
        ("timeout_ms = 5000", "batch = {}", 9, "the format has no batches"),
        ("timeout_ms = 5000", "tls = { roots = \"nowhere/ca.pem\" }", 9, "tls.roots: nowhere/ca.pem cannot be read"),
        ("timeout_ms = 5000", "tls = { roots = \"Cargo.toml\" }", 9, "the root certificates must be PEM"),
        ("timeout_ms = 5000", "tls = { key = \"Cargo.toml\" }", 9, "certificate and key go together"),
        ("deny = [\"1.2.3.0/24\"]", "batch.max_event = 1", 8, "unknown field `max_event`"),
        ("overflow = \"reject\"", "overflow = \"drop-newest\"", 10, "a required endpoint drops nothing"),
        ("threshold = 3", "threshold = 0", 12, "threshold must be from 1"),
        ("threshold = 3", "treshold = 3", 12, "unknown field `treshold`"),
        ("\"whsec_C2F", "\"sesame_C2F", 5, "a secret must begin with whsec_"),
        ("field = \"/target", "field = \"target", 7, "field must be a JSON pointer"),
        ("is = [\"library/alpine\", \"library/debian\"]", "is = []", 7, "no event would pass"),
        ("is = [\"library/alpine\"", "is = [1.5", 7, "a text, an integer or a boolean"),
        ("deny = [\"1.2.3.0/24\"]", "deny = [\"1.2.3.4/24\"]", 8, "deny:"),
        ("https://billing.example.com/hook", "billing.example.com", 4, "url: the URL must be absolute"),
        ("name = \"audit\"", "name = \"billing\"", 15, "the name is taken"),
        ("name = \"audit\"\n", "", 14, "missing field `name`"),
        ("allow = [\"loopback\"", "allow = [\"home\"", 17, "neither loopback, nor private"),
        ("allow = [\"loopback\", ", "allow = [", 16, "refused: it is a loopback address"),
    ];
    for (good, bad, line, reason) in cases {
        assert_eq!(GOOD.matches(good).count(), 1, "{good}");
        let file = dir.file("relay.toml", &GOOD.replace(good, bad));
        let ended = run(&["check", &file], "");
        ended.expect(2, &[&format!("relay.toml:{line}: "), reason]);
        assert!(ended.out.is_empty(), "{ended:?}");
    }
}

#[test]
fn a_batch_larger_than_its_queue_is_a_mistake() {
    let dir = Dir::new();
    let endpoint = "[[endpoint]]\nname = \"a\"\nurl = \"https://example.com/\"\nformat = \"registry\"\n";
    let queue = "queue = { capacity = 50, capacity_bytes = 1000 }\n";
    let check = |batch: &str| run(&["check", &dir.file("relay.toml", &format!("{endpoint}{queue}{batch}"))], "");
    // What is not said is as large as the queue allows.
    check("").expect(0, &["good"]);
    check("batch = { max_events = 50, max_bytes = 1000, linger_ms = 0 }").expect(0, &["good"]);
    check("batch = { max_events = 51 }").expect(2, &["relay.toml:6: max_events must be from 1 to 50"]);
    check("batch = { max_bytes = 1001 }").expect(2, &["relay.toml:6: max_bytes must be from 1 to 1000"]);
    check("batch = { max_events = 0 }").expect(2, &["relay.toml:6: max_events must be from 1"]);
}

#[test]
fn all_mistakes_are_named_at_once_in_the_order_of_their_lines() {
    let dir = Dir::new();
    let bad = GOOD.replace("timeout_ms = 5000", "timeout_ms = 0").replace("threshold = 3", "threshold = 0");
    let ended = run(&["check", &dir.file("relay.toml", &bad.replace("http://127.0.0.1:8080/", "nowhere"))], "");
    let lines: Vec<_> = ended.err.lines().map(|line| line.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["9", "12", "16"], "{ended:?}");
}

#[test]
fn secrets_are_not_repeated() {
    let dir = Dir::new();
    for bad in [
        "secret = \"hush\"",
        "secret = [\"hush\", 1]",
        "format = [\"hush\"]",
        "timeout_ms = \"hush\"",
        "allow = \"hush\"",
        "format = \"whsec_hush\"",
        "queue.overflow = \"http://hush\"",
    ] {
        let file = format!("[[endpoint]]\nname = \"a\"\nurl = \"https://u:hush@example.com:0/\"\n{bad}\n");
        let ended = run(&["check", &dir.file("relay.toml", &file)], "");
        ended.expect(2, &["relay.toml:"]);
        assert!(!ended.err.contains("hush"), "{ended:?}");
    }
}

#[test]
fn a_file_without_endpoints_and_one_that_is_not_there_are_refused() {
    let dir = Dir::new();
    run(&["check", &dir.file("empty.toml", "")], "").expect(2, &["empty.toml:1: there is no endpoint"]);
    run(&["check", &dir.path("missing.toml")], "").expect(2, &["missing.toml: cannot be read: No such file"]);
}
