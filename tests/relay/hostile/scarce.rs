//! What becomes of the relay when files run out, and when many have sent what becomes large.

use std::process::Command;
use std::thread;

use super::limits::Usage;
use super::sender::connect;
use crate::listening::{Relay, endpoint};
use crate::receiver::Receiver;
use crate::relay::{Dir, relay};

#[test]
fn without_a_file_descriptor_left_it_waits_and_goes_on() {
    let (dir, receiver) = (Dir::new(), Receiver::status(200));
    let config = dir.file("relay.toml", &endpoint("only", &receiver.url("/"), ""));
    let relay = relay(&["--listen", "127.0.0.1:0", "--config", &config, "--request-time", "0.5"]);
    let mut bash = Command::new("bash");
    bash.args(["-c", "ulimit -n 24; exec \"$0\" \"$@\""]).arg(relay.get_program()).args(relay.get_args());
    let mut relay = Relay::of(bash);
    // Some of them are not even accepted.
    let silent: Vec<_> = (0..60).map(|_| connect(&relay.address)).collect();
    assert_eq!(relay.post("application/json", "1").0, 202);
    assert!(relay.is_up());
    drop(silent);
    assert_eq!(relay.post("application/json", "2").0, 202);
    relay.stop().expect(0, &["queue=only accepted=2 delivered=2 dropped=0 pending=0"]);
}

/// Each body is taken apart for the filter, which makes it twenty times as large.
#[test]
#[ignore = "measures memory: run in release"]
fn few_large_bodies_are_taken_apart_at_a_time() {
    const CLIENTS: u64 = 100;
    let (dir, receiver) = (Dir::new(), Receiver::status(200));
    let filter = "filter = { field = \"/good\", is = true }";
    let relay = Relay::start(&dir.file("relay.toml", &endpoint("only", &receiver.url("/"), filter)), &[]);
    let body = format!("{{\"a\":[{}1]}}", "[],".repeat(349_000));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| assert_eq!(relay.post("application/json", &body).0, 202));
        }
    });
    let usage = Usage::of(relay.id());
    // Two MiB for each while it comes, as the buffer doubles; and what some have become.
    let allowed = (CLIENTS * 2 + 250) << 10;
    println!("hostile: {CLIENTS} bodies of {} bytes at a time: {} KiB of {allowed} allowed", body.len(), usage.memory);
    assert!(usage.memory <= allowed, "{} KiB", usage.memory);
    relay.stop().expect(0, &["queue=only accepted=0"]);
}
