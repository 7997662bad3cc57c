//! `/healthz`. In a process of its own, since a pool that is stuck is everybody's.
#![cfg(feature = "prometheus")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::{stall, still_pool};
use sinkworks::telemetry::{health, serve};
use sinkworks::{Failure, Queue, SinkExt, WriteError, sink_fn};

fn healthz(addr: SocketAddr) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

const OK: (&str, &str) = ("HTTP/1.1 200 OK", "ok");

#[test]
fn a_pool_is_unhealthy_while_work_waits_and_nothing_begins() {
    let server = serve("127.0.0.1:0").unwrap();
    let ask = || healthz(server.local_addr());
    let is_ok = |answer: (String, String)| (answer.0.as_str(), answer.1.as_str()) == OK;
    let (pool, clock) = still_pool();
    let queue = Queue::builder(sink_fn(|_: &u64| Ok(()))).pool(&pool).build().unwrap();
    // The only thread is taken; nothing else waits.
    let gate = stall(&pool);
    assert!(is_ok(ask()));
    clock.advance(Duration::from_secs(60));
    assert!(is_ok(ask()), "a sink that takes its time is no reason while nobody waits");
    // Now something waits: not for long, then too long.
    queue.send(1).unwrap();
    assert!(is_ok(ask()));
    clock.advance(Duration::from_secs(5));
    assert!(is_ok(ask()));
    clock.advance(Duration::from_secs(2));
    let (status, reason) = ask();
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    let expected = "1 queues wait for one of 1 threads (at most 1), and none has got one for 7 s";
    assert!(reason.starts_with("pool pool: ") && reason.contains(expected), "{reason}");
    assert_eq!(health()[0].waited, Duration::from_secs(7));
    gate.open();
    pool.wait_idle();
    assert!(is_ok(ask()));

    // A destination that is down holds its queue, and no thread.
    let down = sink_fn(|_: &u64| Err(WriteError::Failed(Failure::transient("down"))));
    let held = Queue::builder(down.retrying(sinkworks::Breaker::new(1, Duration::from_secs(3600)))).pool(&pool);
    held.build().unwrap().send(1).unwrap();
    pool.wait_idle();
    assert!(is_ok(ask()));
    clock.advance(Duration::from_secs(60));
    assert!(is_ok(ask()));
}
