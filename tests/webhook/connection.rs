//! What becomes of an event when there is no answer, and how connections are used.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use sinkworks::webhook::{DeliveryError, Webhook};
use sinkworks::{Class, Sink};

use crate::receiver::{Receiver, raw, read_request};
use crate::{EVENT, cause, failure, refusing};

#[test]
fn a_receiver_that_swallows_the_request_is_a_timeout() {
    // The system accepts the connection and takes the request; nobody ever reads it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let webhook = Webhook::builder(&url).timeout(Duration::from_millis(100)).build().unwrap();
    let failure = failure(webhook.write(&EVENT));
    assert_eq!(failure.class(), Class::Transient);
    assert!(matches!(cause(&failure), DeliveryError::Timeout), "{failure:?}");
}

#[test]
fn a_status_counts_even_if_its_body_breaks_off() {
    let (address, receiver) = raw(|mut stream| {
        read_request(&stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").unwrap();
    });
    Webhook::new(&format!("http://{address}/")).unwrap().write(&EVENT).unwrap();
    receiver.join().unwrap();
}

#[test]
fn a_refused_connection_is_transient() {
    let failure = failure(Webhook::new(&refusing()).unwrap().write(&EVENT));
    assert_eq!(failure.class(), Class::Transient);
    let DeliveryError::Connection(error) = cause(&failure) else { panic!("{failure:?}") };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_unknown_host_is_transient() {
    // A label of more than 63 bytes cannot be looked up, so no name server is asked.
    let failure = failure(Webhook::new(&format!("http://{}/", "a".repeat(64))).unwrap().write(&EVENT));
    assert_eq!(failure.class(), Class::Transient);
    assert!(matches!(cause(&failure), DeliveryError::Connection(_)), "{failure:?}");
}

#[test]
fn a_connection_that_ends_without_an_answer_is_transient() {
    let (address, receiver) = raw(|stream| read_request(&stream));
    let failure = failure(Webhook::new(&format!("http://{address}/")).unwrap().write(&EVENT));
    assert_eq!(failure.class(), Class::Transient);
    assert!(matches!(cause(&failure), DeliveryError::Connection(_)), "{failure:?}");
    receiver.join().unwrap();
}

#[test]
fn an_answer_that_is_not_http_is_transient() {
    let too_long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    for answer in ["220 mail.example.com ESMTP\r\n\r\n".to_owned(), "HTTP/1.1 9 What\r\n\r\n".to_owned(), too_long] {
        let (address, receiver) = raw(move |mut stream| {
            read_request(&stream);
            // The sender may hang up in the middle.
            let _ = stream.write_all(answer.as_bytes());
        });
        let failure = failure(Webhook::new(&format!("http://{address}/")).unwrap().write(&EVENT));
        assert_eq!(failure.class(), Class::Transient);
        assert!(matches!(cause(&failure), DeliveryError::Answer), "{failure:?}");
        receiver.join().unwrap();
    }
}

#[test]
fn https_begins_with_a_tls_handshake() {
    let (address, receiver) = raw(|mut stream| {
        let mut record = [0];
        stream.read_exact(&mut record).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        record[0]
    });
    let failure = failure(Webhook::new(&format!("https://{address}/")).unwrap().write(&EVENT));
    assert_eq!(receiver.join().unwrap(), 0x16, "the type of a TLS handshake record");
    assert_eq!(failure.class(), Class::Transient);
    assert!(matches!(cause(&failure), DeliveryError::Connection(_)), "{failure:?}");
}

#[test]
fn a_connection_is_used_again_whatever_the_answer() {
    let receiver = Receiver::new(|post| (post.path[1..].parse().unwrap(), Vec::new(), "x".repeat(20_000)));
    for status in [200, 503, 404] {
        let webhook = Webhook::new(&receiver.url(&format!("/{status}"))).unwrap();
        let answers = [webhook.write(&EVENT), webhook.write(&EVENT)];
        assert!(answers.iter().all(|answer| answer.is_ok() == (status == 200)), "{answers:?}");
        let posts = receiver.posts();
        let [.., first, second] = posts.as_slice() else { panic!("{} posts", posts.len()) };
        assert_eq!(first.peer, second.peer, "{status}");
    }
}

#[test]
fn a_huge_body_is_not_read_to_its_end() {
    let (address, receiver) = raw(|mut stream| {
        read_request(&stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").unwrap();
        let chunk = vec![b'x'; 64 * 1024];
        let mut written = 0_u64;
        while stream.write_all(&chunk).is_ok() {
            written += chunk.len() as u64;
        }
        written
    });
    Webhook::new(&format!("http://{address}/")).unwrap().write(&EVENT).unwrap();
    // What the sockets' buffers hold is written but not read.
    let written = receiver.join().unwrap();
    assert!(written < 64 * 1024 * 1024, "{written} bytes");
}

#[test]
fn a_proxy_of_the_environment_is_not_asked_for_a_loopback_host() {
    // The environment is the process's, so another one runs a test that needs a direct connection.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "delivery::an_event_is_posted_as_json"])
        .env("ALL_PROXY", refusing())
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
