//! What one post takes over the loopback interface, from the write until the answer is read: `cargo bench -p components --bench webhook`.
//!
//! The receiver is a thread that reads a request off a connection that stays open, and answers 204 with one write. The time is that of both, and of
//! the system's wake-ups between them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use criterion::{Criterion, criterion_group, criterion_main};
use sinkworks::Sink;
use sinkworks::webhook::Webhook;
use sinkworks::webhook::formats::cloud_event::{Binary, CloudEvent};
use sinkworks::webhook::signature::{Secret, Signer};

/// Answers every request of every connection, for as long as the process lives.
fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    format!("http://{address}/hook")
}

fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("an open connection");
    let (mut buffer, mut filled) = (vec![0; 64 * 1024], 0);
    loop {
        while let Some(length) = request(&buffer[..filled]) {
            buffer.copy_within(length..filled, 0);
            filled -= length;
            if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                return;
            }
        }
        match stream.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(read) => filled += read,
        }
    }
}

/// How long the request at the beginning is, if all of it is there.
fn request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).expect("ASCII").to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).expect("a length");
    let all = head + length.trim().parse::<usize>().expect("a number");
    (bytes.len() >= all).then_some(all)
}

fn post(criterion: &mut Criterion) {
    let event = ["x".repeat(200)];
    let builder = || Webhook::builder(&receiver()).allow_loopback();
    let webhook = builder().build().expect("a URL");
    criterion.bench_function("webhook/post", |bencher| bencher.iter(|| webhook.write(&event).expect("a 204")));
    let secret = Secret::from_bytes(&[7; 32]).expect("long enough");
    let webhook = builder().signer(Signer::new(secret)).build().expect("a URL");
    criterion.bench_function("webhook/post signed", |bencher| bencher.iter(|| webhook.write(&event).expect("a 204")));
    let webhook = builder().format(Binary).build().expect("a URL");
    let event = CloudEvent::new("1", "/source", "type").with_json(&event).expect("a text");
    criterion
        .bench_function("webhook/post CloudEvent", |bencher| bencher.iter(|| webhook.write(&event).expect("a 204")));
}

criterion_group!(webhook, post);
criterion_main!(webhook);
