//! Whatever a client sends, it gets an answer of ours, and how the network cuts it in pieces changes nothing.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fuzz::explore;

/// A request, or nearly one.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("get"), Just(""), Just("GET ")];
    let target = prop_oneof!["/[a-z]{0,8}(\\?[a-z=&]{0,8})?", "[ -~]{0,12}", "\\PC{0,6}"];
    let version = prop_oneof![Just("HTTP/1.1"), Just("HTTP/1.0"), Just("HTTP/2"), Just("http/1.1"), Just("")];
    let headers = vec("[A-Za-z-]{1,8}: [ -~]{0,12}\r\n", 0..4);
    let proper = (method, target, version, headers, prop_oneof![Just("\r\n"), Just("\n"), Just("")]).prop_map(
        |(method, target, version, headers, end)| {
            format!("{method} {target} {version}\r\n{}{end}", headers.concat()).into_bytes()
        },
    );
    let long = (0..MAX_REQUEST + 64).prop_map(|length| {
        let mut request = b"GET / HTTP/1.1\r\nX: ".to_vec();
        request.resize(request.len() + length, b'x');
        request
    });
    prop_oneof![6 => proper, 3 => vec(any::<u8>(), 0..64), 1 => long]
}

fn echo(Request { path, .. }: &Request<'_>) -> Option<Answer> {
    (*path != "/none").then(|| Answer { status: "200 OK", content_type: "text/plain", body: (*path).to_owned() })
}

#[test]
fn every_request_has_an_answer() {
    explore("telemetry requests", &requests(), |request| {
        let Answer { status, body, .. } = answer(&request, &echo);
        if request.len() >= MAX_REQUEST {
            return assert_eq!(&status[..3], "431");
        }
        let line = String::from_utf8(request.split(|byte| *byte == b'\r').next().unwrap_or_default().to_vec());
        let line = line.unwrap_or_default();
        let parts: Vec<&str> = line.splitn(3, ' ').collect();
        let proper = parts.len() == 3 && parts[2].starts_with("HTTP/1.") && !parts[2].contains(' ');
        match (proper, parts.first()) {
            (false, _) => assert_eq!(&status[..3], "400", "{line:?}"),
            (true, Some(&"GET")) if parts[1].split('?').next() == Some("/none") => assert_eq!(&status[..3], "404"),
            (true, Some(&"GET")) => {
                assert_eq!(status, "200 OK", "{line:?}");
                assert!(parts[1].starts_with(&body) && !body.contains('?'), "{line:?} {body:?}");
            }
            (true, _) => assert_eq!(&status[..3], "405", "{line:?}"),
        }
    });
}

#[test]
fn a_request_is_read_alike_in_whatever_pieces_it_comes() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    explore("telemetry requests in pieces", &(requests(), 1..200_usize), |(request, piece)| {
        let mut client = TcpStream::connect(address).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.set_nodelay(true).unwrap();
        for piece in request.chunks(piece) {
            client.write_all(piece).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        let head = request.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
        match read_request(&mut server) {
            Ok(read) => {
                assert!(request.starts_with(&read), "other bytes than were sent");
                let enough = head.is_some_and(|head| read.len() >= head) || read.len() == MAX_REQUEST;
                assert!(enough, "{} of {} bytes", read.len(), request.len());
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                assert!(head.is_none_or(|head| head > MAX_REQUEST) && request.len() < MAX_REQUEST, "{request:?}");
            }
        }
    });
}
