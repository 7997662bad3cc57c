//! The example `relay` as a process: what it says, what it delivers, and with which status it ends.

mod batches;
mod check;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(unix)]
mod listen;
#[cfg(unix)]
#[path = "../common/listening.rs"]
#[allow(dead_code, reason = "the registry's tests use the rest")]
mod listening;
#[path = "../common/receiver.rs"]
#[allow(dead_code, reason = "the webhook's tests use the rest")]
mod receiver;
#[path = "../common/relay.rs"]
mod relay;
#[cfg(unix)]
mod replay;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use receiver::Receiver;
use relay::{Dir, Ended, read, relay, run, start};

#[test]
fn out_gets_the_lines_exactly_as_they_were_written() {
    let dir = Dir::new();
    let lines = "{\"b\": 1,  \"a\": 1.50, \"a\": \"\\u0041\"}\n[1, 2]\n\"text\"\n12345678901234567890123.0\nnull\n";
    let input = dir.file("in", lines);
    let ended = run(&["--input", &input, "--out", &dir.path("out")], "");
    ended.expect(0, &["queue=out accepted=5 delivered=5 dropped=0 pending=0", "input lines=5 events=5 malformed=0"]);
    assert_eq!(read(&dir.path("out")), lines);
}

#[test]
fn a_dash_is_the_standard_input_and_its_last_line_needs_no_end() {
    let dir = Dir::new();
    let ended = run(&["--input", "-", "--out", &dir.path("out")], "1\r\n\n  2  \n3");
    ended.expect(0, &["queue=out accepted=3 delivered=3 dropped=0 pending=0", "input lines=4 events=3 malformed=0"]);
    assert_eq!(read(&dir.path("out")), "1\n2\n3\n");
}

#[test]
fn out_is_appended_to_and_a_torn_last_line_is_ended_first() {
    let dir = Dir::new();
    let out = dir.file("out", "{\"whole\":1}\n{\"to");
    run(&["--out", &out], "2\n3\n").expect(0, &["accepted=2 delivered=2"]);
    assert_eq!(read(&out), "{\"whole\":1}\n{\"to\n2\n3\n");
}

#[test]
fn a_malformed_line_is_reported_with_its_number_and_skipped() {
    let dir = Dir::new();
    let ended = run(&["--out", &dir.path("out")], "{\"a\":1}\n\n{\"a\":\n{} {}\n{\"a\":2}\n");
    let said = ["line 3 is malformed, skipped: EOF while parsing", "line 4 is malformed, skipped: trailing characters"];
    ended.expect(0, &said);
    ended.expect(0, &["input lines=5 events=2 malformed=2"]);
    assert_eq!(read(&dir.path("out")), "{\"a\":1}\n{\"a\":2}\n");
}

#[test]
fn strict_stops_at_a_malformed_line_and_delivers_what_came_before() {
    let dir = Dir::new();
    let ended = run(&["--strict", "--out", &dir.path("out")], "1\n2\n3 oops\n4\n");
    ended.expect(1, &["line 3 is malformed, stopping there", "queue=out accepted=2 delivered=2 dropped=0 pending=0"]);
    assert_eq!(read(&dir.path("out")), "1\n2\n");
}

#[test]
fn input_that_is_not_utf_8_or_endless_is_malformed() {
    let dir = Dir::new();
    let input = dir.path("in");
    let mut bytes = b"1\n\"\xff\"\n\"".to_vec();
    bytes.resize(bytes.len() + (17 << 20), b'x');
    bytes.extend(b"\"\n2\n");
    fs::write(&input, bytes).unwrap();
    let ended = run(&["--input", &input, "--out", &dir.path("out")], "");
    ended.expect(
        0,
        &["line 2 is malformed", "line 3 is malformed, skipped: longer than 16 MiB", "events=2 malformed=2"],
    );
    assert_eq!(read(&dir.path("out")), "1\n2\n");
}

#[test]
fn what_cannot_be_used_is_said_before_anything_is_sent() {
    let dir = Dir::new();
    let receiver = Receiver::status(200);
    let (url, good, out) = (receiver.url("/"), dir.file("good", "1\n"), dir.path("out"));
    let (missing, within) = (dir.path("missing"), dir.path("no/such/directory"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let directory = dir.0.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--input", &good], "no destination"),
        (&["--input", &missing, "--to", &url], "missing cannot be read: No such file"),
        (&["--input", directory, "--to", &url], "cannot be read: Is a directory"),
        (
            &["--input", &good, "--to", &url, "--to", "example.com"],
            "--to number 2 cannot be used: the URL must be absolute",
        ),
        (&["--input", &good, "--to", "http://u:secret@h:99999/"], "--to number 1 cannot be used"),
        (&["--input", &good, "--to", &url, "--metrics", &taken], "--metrics cannot be served"),
        (&["--input", &good, "--to", &url, "--metrics", "nonsense"], "--metrics cannot be served"),
        (&["--input", &good, "--to", &url, "--out", &within], "directory cannot be used: cannot open: No such file"),
        (&["--input", &good, "--to", &url, "--out", &good], "it is the input"),
        (&["--input", &good, "--to", &url, "--rate", "0"], "--rate"),
        (&["--input", &good, "--to", &url, "--threshold", "0"], "--threshold"),
        (&["--input", &good, "--to", &url, "--backoff-ms", "0"], "--backoff-ms"),
        (&["--input", &good, "--to", &url, "--grace=-1"], "--grace"),
        (&["--input", &good, "--to", &url, "--grace=1e30"], "--grace"),
        (&["--input", &good, "--to", &url, "--out", &out, "--wrong"], "--wrong"),
    ];
    for (args, why) in cases {
        let ended = run(args, "");
        ended.expect(2, &[why]);
        assert!(!ended.err.contains("secret") && ended.out.is_empty(), "{ended:?}");
    }
    assert_eq!(receiver.posts().len(), 0);
    assert_eq!(read(&good), "1\n");
}

#[test]
fn each_url_gets_every_line_in_order_whatever_fails_between() {
    let fickle = {
        let requests = AtomicU64::new(0);
        // Answers every third request with 503.
        Receiver::new(move |_| {
            let third = requests.fetch_add(1, Ordering::Relaxed) % 3 == 2;
            (if third { 503 } else { 200 }, Vec::new(), String::new())
        })
    };
    let steady = Receiver::status(204);
    let lines: Vec<String> = (0..300).map(|n| format!("{{\"n\":{n}}}")).collect();
    let ended = run(&["--to", &fickle.url("/a"), "--to", &steady.url("/b")], &(lines.join("\n") + "\n"));
    ended.expect(
        0,
        &["queue=to-1 accepted=300 delivered=300 dropped=0 pending=0", "queue=to-2 accepted=300 delivered=300"],
    );
    let bodies = |receiver: &Receiver| receiver.posts().iter().map(|posted| posted.body.clone()).collect::<Vec<_>>();
    assert_eq!(bodies(&steady), lines);
    let mut accepted = bodies(&fickle);
    let mut request = 0;
    accepted.retain(|_| {
        request += 1;
        request % 3 != 0
    });
    assert_eq!(accepted, lines);
}

#[test]
fn what_a_url_refuses_for_good_is_counted_and_explained() {
    let receiver = Receiver::new(|posted| (if posted.body == "2" { 422 } else { 200 }, Vec::new(), String::new()));
    let ended = run(&["--to", &receiver.url("/")], "1\n2\n3\n");
    let said = ["queue=to-1 accepted=3 delivered=2 dropped=1 pending=0", "to-1: lost 1 permanent", "status 422"];
    ended.expect(1, &said);
}

#[test]
fn a_slow_destination_gets_everything_although_it_takes_longer_than_the_grace() {
    let slow = Receiver::new(|_| {
        std::thread::sleep(Duration::from_millis(50));
        (200, Vec::new(), String::new())
    });
    let ended = run(&["--to", &slow.url("/"), "--grace", "1.2"], &"1\n".repeat(40));
    ended.expect(0, &["queue=to-1 accepted=40 delivered=40 dropped=0 pending=0"]);
}

#[test]
fn the_rate_is_kept() {
    let dir = Dir::new();
    let began = Instant::now();
    run(&["--out", &dir.path("out"), "--rate", "100"], &"1\n".repeat(51)).expect(0, &["delivered=51"]);
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
}

#[test]
fn metrics_are_served_while_it_runs() {
    let dir = Dir::new();
    let mut child = start(&["--out", &dir.path("out"), "--metrics", "127.0.0.1:0"]);
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    err.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("metrics: http://").unwrap().strip_suffix("/metrics").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n").unwrap();
    let answer = std::io::read_to_string(stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// `/dev/full` and signals.
#[cfg(target_os = "linux")]
mod linux {
    use super::*;

    #[test]
    fn a_full_disk_loses_nothing_uncounted() {
        let ended = run(&["--out", "/dev/full", "--grace", "0.5"], "1\n2\n3\n");
        let said = ["queue=out accepted=3 delivered=0 dropped=3 pending=0", "out: lost 3 abandoned", "No space left"];
        ended.expect(1, &said);
    }

    #[test]
    fn a_line_that_did_not_fit_leaves_no_part_of_itself() {
        let dir = Dir::new();
        let out = dir.path("out");
        let (line, relay) = (format!("\"{}\"\n", "x".repeat(98)), relay(&[]));
        // A limit on the size of files, in KiB, makes a short write and then an error, as a disk does that gets full.
        let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" --out \"$1\" --grace 0.3 < \"$2\"";
        let input = dir.file("in", &line.repeat(20));
        let mut bash = Command::new("bash");
        bash.args(["-c", script]).arg(relay.get_program()).args([&out, &input]);
        let ended = Ended::from(bash.output().unwrap());
        ended.expect(1, &["queue=out accepted=20 delivered=10 dropped=10 pending=0", "lost 10 abandoned"]);
        assert_eq!(read(&out), line.repeat(10));
    }

    fn interrupt(child: &Child) {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// A relay that posts to a port where nobody listens, in the middle of an input that does not end.
    fn stuck(grace: &str) -> (Child, ChildStdin) {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", nobody.local_addr().unwrap());
        drop(nobody);
        let mut child = start(&["--to", &url, "--grace", grace, "--threshold", "1", "--backoff-ms", "100"]);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"1\n2\n3\n").unwrap();
        // When this is said, all three have been read long since.
        let mut line = String::new();
        let mut err = BufReader::new(child.stderr.as_mut().unwrap());
        err.read_line(&mut line).unwrap();
        assert!(line.contains("does not get through") && line.contains("refused"), "{line}");
        (child, stdin)
    }

    #[test]
    fn ctrl_c_closes_within_the_grace_and_says_what_was_left() {
        let (child, _stdin) = stuck("0.5");
        let began = Instant::now();
        interrupt(&child);
        let ended = Ended::from(child.wait_with_output().unwrap());
        let took = began.elapsed();
        let said = ["queue=to-1 accepted=3 delivered=0 dropped=3 pending=0", "left abandoned=3 in_flight=0"];
        ended.expect(130, &said);
        assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(3), "{took:?}");
    }

    #[test]
    fn a_second_ctrl_c_gives_up_at_once() {
        let (mut child, _stdin) = stuck("60");
        let began = Instant::now();
        interrupt(&child);
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("closing within 60 s"), "{line}");
        interrupt(&child);
        let ended = Ended::from(child.wait_with_output().unwrap());
        // The second may come while the first one's attempt is under way, which nobody can take back.
        let in_flight = u32::from(ended.out.contains("in_flight=1"));
        let dropped = 3 - in_flight;
        let queue = format!("accepted=3 delivered=0 dropped={dropped} pending={in_flight}");
        ended.expect(130, &[&queue, &format!("left abandoned={dropped} in_flight={in_flight}")]);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }

    #[test]
    fn a_post_that_is_under_way_is_counted_as_in_flight() {
        // Accepts connections, by its backlog, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let ended = run(&["--to", &url, "--grace", "0.5"], "1\n2\n");
        ended.expect(1, &["accepted=2 delivered=0 dropped=1 pending=1", "1 abandoned; 1 in flight, may have arrived"]);
    }
}
