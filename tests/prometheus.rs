//! The metrics endpoint, over a plain socket.
#![cfg(feature = "prometheus")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sinkworks::telemetry::{Exporter, MetricsServer, ServeError, serve};

const PATIENCE: Duration = Duration::from_secs(30);

fn server() -> MetricsServer {
    serve("127.0.0.1:0").expect("a free port")
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The head and the body of the answer.
fn ask(addr: SocketAddr, request: &str) -> (String, String) {
    let mut stream = connect(addr);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let length = format!("Content-Length: {}", body.len());
    assert!(head.contains(&length), "{head}");
    (head.to_owned(), body.to_owned())
}

fn get(addr: SocketAddr, path: &str) -> (String, String) {
    ask(addr, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nUser-Agent: test\r\n\r\n"))
}

#[test]
fn a_scrape_gets_the_text_format() {
    let server = server();
    // A metric of the service's own, with the same recorder.
    metrics::counter!("own_total").increment(3);
    for path in ["/metrics", "/metrics?name=x"] {
        let (head, body) = get(server.local_addr(), path);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
        assert!(body.contains("# TYPE own_total counter\nown_total 3\n"), "{body}");
    }
    assert!(server.render().contains("own_total 3\n"));
    assert!(Exporter::install().unwrap().render().contains("own_total 3\n"));
}

#[test]
fn the_pipeline_is_shown_as_json_and_as_a_diagram() {
    let server = server();
    let addr = server.local_addr();
    let sink = sinkworks::sink_fn(|_: &u64| Ok(()));
    let _queue = sinkworks::Queue::builder(sink).name("shown").build().unwrap();
    let kind = |head: &str| head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap().to_owned();
    for path in ["/pipeline", "/pipeline?format=json"] {
        let (head, body) = get(addr, path);
        assert_eq!(kind(&head), "application/json");
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(json["components"].as_array().unwrap().iter().any(|component| component["name"] == "shown"), "{body}");
    }
    let accepting = |accept: &str| ask(addr, &format!("GET /pipeline HTTP/1.1\r\nAccept: {accept}\r\n\r\n"));
    for (head, body) in [
        get(addr, "/pipeline.mmd"),
        get(addr, "/pipeline?format=mermaid"),
        accepting("text/html, Text/Vnd.Mermaid;q=0.9"),
    ] {
        assert!(head.starts_with("HTTP/1.1 200 ") && kind(&head).starts_with("text/"), "{head}");
        assert!(body.starts_with("flowchart LR\n") && body.contains("queue<br/>shown"), "{body}");
    }
    assert_eq!(kind(&accepting("text/vnd.mermaid").0), "text/vnd.mermaid; charset=utf-8");
    assert_eq!(kind(&accepting("*/*").0), "application/json");
    assert!(get(addr, "/pipeline?format=svg").0.starts_with("HTTP/1.1 400 "));
}

#[test]
fn other_paths_and_methods_are_refused() {
    let server = server();
    let addr = server.local_addr();
    assert_eq!(get(addr, "/healthz").1, "ok");
    for path in ["/", "/metrics/", "/metricsx", "*"] {
        assert!(get(addr, path).0.starts_with("HTTP/1.1 404 "), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "HEAD"] {
        let (head, _) = ask(addr, &format!("{method} /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"));
        assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("\r\nAllow: GET"), "{head}");
    }
    for nonsense in ["nonsense\r\n\r\n", "GET /metrics\r\n\r\n", "\r\n\r\n", "GET  /metrics HTTP/1.1\r\n\r\n"] {
        assert!(ask(addr, nonsense).0.starts_with("HTTP/1.1 400 "), "{nonsense:?}");
    }
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(10_000));
    assert!(ask(addr, &long).0.starts_with("HTTP/1.1 431 "));
}

#[test]
fn a_claimed_body_is_neither_waited_for_nor_believed() {
    let server = server();
    for claim in ["Content-Length: 100000000000000000", "Content-Length: 5000", "Transfer-Encoding: chunked"] {
        let began = Instant::now();
        let (head, _) = ask(server.local_addr(), &format!("GET /healthz HTTP/1.1\r\n{claim}\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(began.elapsed() < Duration::from_secs(4));
    }
}

#[test]
fn an_address_in_use_is_a_typed_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = serve(taken.local_addr().unwrap()).unwrap_err();
    assert!(matches!(&error, ServeError::Address(source) if source.kind() == std::io::ErrorKind::AddrInUse), "{error}");
    let none: &[SocketAddr] = &[];
    assert!(matches!(serve(none), Err(ServeError::Address(_))));
}

#[test]
fn slow_clients_delay_others_for_a_bounded_time() {
    let server = server();
    let mut slow = [connect(server.local_addr()), connect(server.local_addr())];
    for stream in &mut slow {
        stream.write_all(b"GET /metr").unwrap();
    }
    let began = Instant::now();
    assert_eq!(get(server.local_addr(), "/healthz").1, "ok");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_dropped_server_cuts_clients_off_and_frees_its_address() {
    let server = server();
    let addr = server.local_addr();
    let mut slow = [connect(addr), connect(addr)];
    for stream in &mut slow {
        stream.write_all(b"GET /metr").unwrap();
    }
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let mut rest = [0];
    assert!(matches!(slow[0].read(&mut rest), Ok(0) | Err(_)));
    // The recorder is still there for the next one.
    let again = serve(addr).expect("the address is free");
    assert_eq!(get(again.local_addr(), "/healthz").1, "ok");
}
