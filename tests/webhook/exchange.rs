//! The requests after the first one of a connection, which the HTTP client has no part in.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use sinkworks::webhook::signature::{Secret, Signer};
use sinkworks::webhook::{DeliveryError, Webhook, WebhookBuilder};
use sinkworks::{Class, Sink, WriteError};

use crate::receiver::{Receiver, read_request};
use crate::{EVENT, cause, failure};

/// An endpoint that answers 204 to so many requests of its first connection, and `answer` to the next. Joined, it tells on which connection the one after that came,
/// which it answers with 204 too.
fn answering(before: usize, answer: Vec<u8>, closes: bool) -> (String, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let mut first = listener.accept().unwrap().0;
        (0..before).for_each(|_| respond(&mut first, b"HTTP/1.1 204 No Content\r\n\r\n"));
        respond(&mut first, &answer);
        if closes {
            first.shutdown(std::net::Shutdown::Write).unwrap();
        }
        // Either the next request, or the end.
        let number = if first.peek(&mut [0]).is_ok_and(|read| read > 0) { 1 } else { 2 };
        let mut next = if number == 1 { first } else { listener.accept().unwrap().0 };
        respond(&mut next, b"HTTP/1.1 204 No Content\r\n\r\n");
        number
    });
    (url, serving)
}

fn respond(stream: &mut TcpStream, answer: &[u8]) {
    read_request(stream);
    // The sender may hang up in the middle.
    let _ = stream.write_all(answer);
}

/// What the second write answers, and which connection the third one takes.
fn second(answer: impl Into<Vec<u8>>, closes: bool) -> (Result<(), WriteError>, usize) {
    after(1, answer, closes)
}

/// The same of the write after so many.
fn after(before: usize, answer: impl Into<Vec<u8>>, closes: bool) -> (Result<(), WriteError>, usize) {
    let (url, serving) = answering(before, answer.into(), closes);
    let webhook = builder(&url).build().unwrap();
    (0..before).for_each(|_| webhook.write(&EVENT).unwrap());
    let answer = webhook.write(&EVENT);
    webhook.write(&EVENT).unwrap();
    (answer, serving.join().unwrap())
}

fn builder(url: &str) -> WebhookBuilder {
    Webhook::builder(url).allow_loopback()
}

const SAME: usize = 1;
const NEW: usize = 2;

#[test]
fn a_connection_is_used_again_where_it_is_certain_that_the_answer_is_over() {
    let chunked = |chunks: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n{chunks}");
    for (answer, expected) in [
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), SAME),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody".to_owned(), SAME),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n".to_owned(), SAME),
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 40000\r\n\r\n{}", "x".repeat(40_000)), SAME),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_owned(), SAME),
        ("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nok".to_owned(), SAME),
        (chunked("0\r\n\r\n"), SAME),
        (chunked("4\r\nbody\r\nA;name=value\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n"), SAME),
        (chunked(&format!("7530\r\n{}\r\n0\r\n\r\n", "x".repeat(0x7530))), SAME),
        ("HTTP/1.1 204 No Content\r\nconnection: x, Close\r\n\r\n".to_owned(), NEW),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".to_owned(), NEW),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(), NEW),
        // More than was announced, and more than is read.
        ("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".to_owned(), NEW),
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{}", "x".repeat(70_000)), NEW),
        (chunked(&format!("11170\r\n{}\r\n0\r\n\r\n", "x".repeat(70_000))), NEW),
        // Not what chunks look like.
        (chunked("4\r\nbody0\r\n\r\n"), NEW),
        (chunked("+4\r\nbody\r\n0\r\n\r\n"), NEW),
        (chunked("\r\n\r\n"), NEW),
        (chunked("0\n\n"), NEW),
    ] {
        let (written, connection) = second(answer.clone(), false);
        assert!(written.is_ok(), "{written:?}: {answer:.200}");
        assert_eq!(connection, expected, "{answer:.200}");
    }
}

#[test]
fn nor_where_somebody_may_see_the_end_elsewhere_whoever_has_read_the_answer() {
    for answer in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ncontent-length: 27\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        for before in [0, 1] {
            let (written, connection) = after(before, answer, false);
            assert!(written.is_ok(), "{before}, {written:?}: {answer}");
            assert_eq!(connection, NEW, "{before}: {answer}");
        }
    }
    for before in [0, 1] {
        let (written, connection) = after(before, "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", false);
        assert!(written.is_ok() && connection == SAME, "{before}, {written:?}");
    }
}

#[test]
fn a_status_counts_however_the_rest_ends() {
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\nwhatever",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let (written, connection) = second(answer, true);
        assert!(written.is_ok(), "{written:?}: {answer}");
        assert_eq!(connection, NEW, "{answer}");
    }
}

#[test]
fn an_answer_that_is_not_http_is_transient() {
    let too_long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    let too_many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: 1\r\n".repeat(1_000));
    for answer in [
        "220 mail.example.com ESMTP\r\n\r\n",
        "HTTP/1.1 9 What\r\n\r\n",
        "HTTP/1.1 099 What\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        &too_long,
        &too_many,
    ] {
        let (written, connection) = second(answer, false);
        let failure = failure(written);
        assert_eq!((failure.class(), connection), (Class::Transient, NEW), "{answer:.100}");
        assert!(matches!(cause(&failure), DeliveryError::Answer), "{failure:?}: {answer:.100}");
    }
}

#[test]
fn a_connection_that_ends_without_an_answer_is_transient() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let (written, connection) = second(answer, true);
        let failure = failure(written);
        assert_eq!((failure.class(), connection), (Class::Transient, NEW), "{answer}");
        let DeliveryError::Connection(error) = cause(&failure) else { panic!("{failure:?}") };
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{answer}");
    }
}

#[test]
fn every_answer_means_what_it_means_to_the_first_request() {
    let retry = "HTTP/1.1 503 Busy\r\nRetry-After:  7 \r\ncontent-length: 0\r\n\r\n";
    let (written, connection) = second(retry, false);
    let refused = failure(written);
    assert_eq!(
        (refused.class(), refused.retry_after(), connection),
        (Class::Transient, Some(Duration::from_secs(7)), SAME)
    );
    for (status, class) in
        [(404, Class::Permanent), (302, Class::Permanent), (500, Class::Transient), (101, Class::Transient)]
    {
        let (written, connection) = second(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"), false);
        let failure = failure(written);
        assert_eq!((failure.class(), connection), (class, if status == 101 { NEW } else { SAME }), "{status}");
        assert!(matches!(cause(&failure), DeliveryError::Status(got) if *got == status), "{failure:?}");
    }
}

#[test]
fn an_answer_that_does_not_come_or_never_ends_is_a_timeout_in_all() {
    for drips in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            respond(&mut stream, b"HTTP/1.1 204 No Content\r\n\r\n");
            read_request(&stream);
            // News that never end, until the sender gives up.
            while drips && stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {}
            let _ = stream.read(&mut [0]);
        });
        let webhook = builder(&url).timeout(Duration::from_millis(200)).build().unwrap();
        webhook.write(&EVENT).unwrap();
        let failure = failure(webhook.write(&EVENT));
        assert_eq!(failure.class(), Class::Transient);
        assert!(matches!(cause(&failure), DeliveryError::Timeout), "{failure:?}");
        serving.join().unwrap();
    }
}

#[test]
fn the_second_request_is_like_the_first() {
    let receiver = Receiver::status(204);
    let address = receiver.url("");
    let host = address.trim_start_matches("http://");
    let signer = Signer::new(Secret::from_bytes(&[7; 32]).unwrap());
    let plain = || builder(&receiver.url("/hook?key=1#x"));
    for (number, builder) in [
        plain(),
        builder(&format!("http://user:password@{host}")),
        builder(&format!("http://user@{host}?key=1")),
        builder(&format!("http://a:b@{host}/")).header("Authorization", "Bearer 1"),
        plain().header("host", "other.example").header("user-agent", "mine").header("accept", "text/plain"),
        plain().header("content-type", "text/plain").header("x-empty", "").method(sinkworks::webhook::Method::Put),
        plain().signer(signer),
    ]
    .into_iter()
    .enumerate()
    {
        let webhook = builder.build().unwrap();
        for _ in 0..2 {
            webhook.write(&EVENT).unwrap();
        }
        let posts = receiver.posts();
        let [.., first, second] = posts.as_slice() else { panic!("{} posts", posts.len()) };
        assert_eq!(first.peer, second.peer, "one connection");
        let parts = |post: &crate::receiver::Posted| {
            // Those that are another for each event.
            let is_signature = |name: &str| name.starts_with("webhook-");
            let mut headers = post.headers.clone();
            headers.iter_mut().filter(|(name, _)| is_signature(name)).for_each(|(_, value)| value.clear());
            headers.sort();
            (post.method.clone(), post.path.clone(), headers, post.body.clone())
        };
        assert_eq!(parts(first), parts(second), "{number}");
    }
}

#[test]
fn a_connection_that_has_closed_meanwhile_is_not_used() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (closed, is_closed) = std::sync::mpsc::channel();
    let serving = std::thread::spawn(move || {
        for requests in [2, 1] {
            let mut stream = listener.accept().unwrap().0;
            (0..requests).for_each(|_| respond(&mut stream, b"HTTP/1.1 204 No Content\r\n\r\n"));
            drop(stream);
            closed.send(()).unwrap();
        }
    });
    let webhook = builder(&url).build().unwrap();
    webhook.write(&EVENT).unwrap();
    webhook.write(&EVENT).unwrap();
    is_closed.recv().unwrap();
    webhook.write(&EVENT).unwrap();
    serving.join().unwrap();
}
