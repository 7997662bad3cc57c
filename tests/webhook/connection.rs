//! What becomes of an event when there is no answer, and how connections are used.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use sinkworks::webhook::{AddressPolicy, DeliveryError, Webhook, WebhookError};
use sinkworks::{Class, Sink};
use socket2::{Domain, Socket, Type};

use crate::receiver::{Receiver, raw, read_request};
use crate::{EVENT, cause, failure, refusing, webhook};

#[test]
fn a_receiver_that_swallows_the_request_is_a_timeout() {
    // The system accepts the connection and takes the request; nobody ever reads it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let webhook = Webhook::builder(&url).allow_loopback().timeout(Duration::from_millis(100)).build().unwrap();
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
    webhook(&format!("http://{address}/")).write(&EVENT).unwrap();
    receiver.join().unwrap();
}

#[test]
fn a_refused_connection_is_transient() {
    let failure = failure(webhook(&refusing()).write(&EVENT));
    assert_eq!(failure.class(), Class::Transient);
    let DeliveryError::Connection(error) = cause(&failure) else { panic!("{failure:?}") };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_unknown_host_is_transient() {
    // A label of more than 63 bytes cannot be looked up, so no name server is asked.
    let failure = failure(webhook(&format!("http://{}/", "a".repeat(64))).write(&EVENT));
    assert_eq!(failure.class(), Class::Transient);
    assert!(matches!(cause(&failure), DeliveryError::Connection(_)), "{failure:?}");
}

#[test]
fn a_connection_that_ends_without_an_answer_is_transient() {
    let (address, receiver) = raw(|stream| read_request(&stream));
    let failure = failure(webhook(&format!("http://{address}/")).write(&EVENT));
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
        let failure = failure(webhook(&format!("http://{address}/")).write(&EVENT));
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
    let failure = failure(webhook(&format!("https://{address}/")).write(&EVENT));
    assert_eq!(receiver.join().unwrap(), 0x16, "the type of a TLS handshake record");
    assert_eq!(failure.class(), Class::Transient);
    assert!(matches!(cause(&failure), DeliveryError::Connection(_)), "{failure:?}");
}

#[test]
fn a_connection_is_used_again_whatever_the_answer() {
    let receiver = Receiver::new(|post| (post.path[1..].parse().unwrap(), Vec::new(), "x".repeat(20_000)));
    for status in [200, 503, 404] {
        let webhook = webhook(&receiver.url(&format!("/{status}")));
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
    webhook(&format!("http://{address}/")).write(&EVENT).unwrap();
    // What the sockets' buffers hold is written but not read.
    let written = receiver.join().unwrap();
    assert!(written < 64 * 1024 * 1024, "{written} bytes");
}

/// Runs a test of this file in a process of its own, since the environment is the process's.
fn with_proxy(proxy: &str, name: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--include-ignored"])
        .env("ALL_PROXY", proxy)
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_proxy_of_the_environment_is_asked_only_if_told_and_never_for_a_loopback_host() {
    let (address, proxy) = raw(|mut stream| {
        let mut line = [0; 32];
        stream.read_exact(&mut line).unwrap();
        stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").unwrap();
        String::from_utf8(line.to_vec()).unwrap()
    });
    with_proxy(&format!("http://{address}"), "connection::in_a_process_with_a_proxy");
    assert!(proxy.join().unwrap().starts_with("CONNECT 203.0.113.9:80 HTTP/1.1"));
}

#[test]
#[ignore = "another test runs it with a proxy in the environment"]
fn in_a_process_with_a_proxy() {
    let receiver = Receiver::status(200);
    for builder in [Webhook::builder(&receiver.url("/")), Webhook::builder(&receiver.url("/")).environment_proxy()] {
        builder.allow_loopback().build().unwrap().write(&EVENT).unwrap();
    }
    // The proxy serves one connection, so nothing else may ask it: an unknown host is looked up here.
    let unknown = format!("http://{}/", "a".repeat(64));
    assert!(Webhook::new(&unknown).unwrap().write(&EVENT).is_err());

    // An address that no network routes. The proxy is not judged by its own address, which is one of the loopback.
    let policy = AddressPolicy::public_only().allow("203.0.113.9".parse().unwrap());
    let builder = Webhook::builder("http://203.0.113.9/").addresses(policy);
    let failure = failure(builder.environment_proxy().build().unwrap().write(&EVENT));
    assert!(
        matches!(cause(&failure), DeliveryError::Connection(error) if error.to_string().contains("proxy")),
        "{failure:?}"
    );
}

#[test]
fn a_connection_through_a_proxy_is_used_again() {
    let (address, proxy) = raw(|mut stream| {
        for answer in ["200 OK", "204 No Content", "204 No Content"] {
            read_request(&stream);
            stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).unwrap();
        }
    });
    with_proxy(&format!("http://{address}"), "connection::in_a_process_with_a_proxy_that_connects");
    proxy.join().unwrap();
}

#[test]
#[ignore = "another test runs it with a proxy in the environment"]
fn in_a_process_with_a_proxy_that_connects() {
    let policy = AddressPolicy::public_only().allow("203.0.113.9".parse().unwrap());
    let builder = Webhook::builder("http://203.0.113.9/").addresses(policy).timeout(Duration::from_secs(5));
    let webhook = builder.environment_proxy().build().unwrap();
    webhook.write(&EVENT).unwrap();
    webhook.write(&EVENT).unwrap();
}

#[test]
fn a_proxy_that_is_none_for_http_is_refused() {
    with_proxy("socks5://127.0.0.1:1", "connection::in_a_process_with_a_socks_proxy");
}

#[test]
#[ignore = "another test runs it with a proxy in the environment"]
fn in_a_process_with_a_socks_proxy() {
    let builder = Webhook::builder("http://example.com/").environment_proxy();
    assert_eq!(builder.build().unwrap_err(), WebhookError::Proxy);
}

#[test]
fn a_request_of_many_buffers_arrives_whole() {
    let receiver = Receiver::status(200);
    let long = "h".repeat(8_000);
    let body = "b".repeat(900_000);
    for (headers, size) in [(0, 900_000), (1, 100), (2, 100), (2, 5_000), (1, 12_000), (0, 12_000)] {
        let mut builder = Webhook::builder(&receiver.url("/")).allow_loopback();
        for number in 0..headers {
            builder = builder.header(format!("x-{number}"), &long);
        }
        let webhook = builder.build().unwrap();
        for _ in 0..2 {
            webhook.write(&body[..size]).unwrap();
        }
        let posts = receiver.posts();
        let [.., first, second] = posts.as_slice() else { panic!("{} posts", posts.len()) };
        for post in [first, second] {
            assert_eq!(post.body.len(), size + 2);
            assert!((0..headers).all(|number| post.header(&format!("x-{number}")) == [long.as_str()]));
        }
        assert_eq!(first.peer, second.peer);
    }
}

#[test]
fn a_connection_that_the_endpoint_has_closed_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (closed, is_closed) = std::sync::mpsc::channel();
    let receiver = thread::spawn(move || {
        for _ in 0..2 {
            let mut stream = listener.accept().unwrap().0;
            read_request(&stream);
            // It does not say that it is about to close.
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            drop(stream);
            closed.send(()).unwrap();
        }
    });
    let webhook = webhook(&url);
    for _ in 0..2 {
        webhook.write(&EVENT).unwrap();
        is_closed.recv().unwrap();
    }
    receiver.join().unwrap();
}

#[test]
fn an_endpoint_that_does_not_take_the_connection_is_a_timeout_of_its_own() {
    // A system takes no connection more than its queue holds, and leaves the next one without an answer.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let short = Duration::from_millis(100);
    let queued: Vec<_> = std::iter::from_fn(|| TcpStream::connect_timeout(&address, short).ok()).take(8).collect();
    assert!(queued.len() < 8, "this system queues more than it was told");
    let builder = Webhook::builder(&format!("http://{address}/")).allow_loopback();
    let webhook = builder.timeout(Duration::from_secs(3600)).connect_timeout(short).build().unwrap();
    let failure = failure(webhook.write(&EVENT));
    assert_eq!(failure.class(), Class::Transient);
    assert!(matches!(cause(&failure), DeliveryError::Timeout), "{failure:?}");
}

#[test]
fn an_answer_that_never_ends_is_a_timeout_in_all() {
    let (address, receiver) = raw(|mut stream| {
        read_request(&stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").unwrap();
        let mut written = 0_u64;
        // As fast as it is read, until the sender gives up. A header's end never comes.
        while stream.write_all(b"\r\ny: 1").is_ok() {
            written += 1;
        }
        written
    });
    let builder = Webhook::builder(&format!("http://{address}/")).allow_loopback();
    let failure = failure(builder.timeout(Duration::from_millis(200)).build().unwrap().write(&EVENT));
    assert_eq!(failure.class(), Class::Transient);
    assert!(matches!(cause(&failure), DeliveryError::Timeout | DeliveryError::Answer), "{failure:?}");
    receiver.join().unwrap();
}
