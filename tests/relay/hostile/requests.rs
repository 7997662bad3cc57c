//! What a hostile client sends, and what must come back: of most kinds it is known exactly.
//!
//! A request follows from the seed and its number alone, whatever thread sends it.

use std::ops::Range;

use super::MAX_BODY;
use crate::listen::{CLOUD_EVENT, ENVELOPE};

/// What is sent on one connection.
pub(super) struct Hostile {
    pub(super) kind: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) reply: Reply,
}

#[derive(Debug)]
pub(super) enum Reply {
    /// Answers with these statuses, and then the end of the connection.
    Exactly(Vec<u16>),
    /// Any number of answers, each with one of these statuses, and then the end.
    Among(&'static [u16]),
    /// Nobody waits for it. What is accepted nonetheless can be told by [`UNREAD`].
    Unread,
}

/// In every event of a request whose answer nobody reads.
pub(super) const UNREAD: &str = "\"unread\"";
/// In an event that stands where only somebody who has misread a request sees one. It must never arrive.
pub(super) const SMUGGLED: &str = "\"smuggled\"";

type Make = fn(&mut fastrand::Rng) -> (Vec<u8>, Reply);

const KINDS: [(&str, Make); 16] = [
    ("a body damaged", body_damaged),
    ("a request damaged", request_damaged),
    ("noise", noise),
    ("cut short", cut_short),
    ("lengths", lengths),
    ("chunks", chunks),
    ("headers", headers),
    ("request lines", request_lines),
    ("media types", media_types),
    ("too large", too_large),
    ("nested", nested),
    ("numbers", numbers),
    ("no UTF-8", no_utf_8),
    ("pipelined", pipelined),
    ("expectations", expectations),
    ("never read", never_read),
];

/// The request of this number. The kinds come in turn.
pub(super) fn request(seed: u64, number: u64) -> Hostile {
    let (kind, make) = KINDS[usize::try_from(number).unwrap() % KINDS.len()];
    let (bytes, reply) = make(&mut fastrand::Rng::with_seed(seed.wrapping_add(number)));
    Hostile { kind, bytes, reply }
}

const LINE: &str = "POST /events HTTP/1.1\r\nhost: relay\r\n";
const JSON: &str = "content-type: application/json\r\n";

fn one_of<T: Copy>(random: &mut fastrand::Rng, items: &[T]) -> T {
    items[random.usize(..items.len())]
}

fn posted(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [format!("{LINE}{headers}content-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// The same in chunks of any sizes, with extensions and trailers.
fn posted_in_chunks(random: &mut fastrand::Rng, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{LINE}{headers}transfer-encoding: chunked\r\n\r\n").into_bytes();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.usize(1..=rest.len()));
        let extension = one_of(random, &["", ";a", ";a=\"b c\"", " ;a=b"]);
        bytes.extend(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        bytes.extend([chunk, b"\r\n"].concat());
        rest = after;
    }
    bytes.extend(one_of(random, &["0\r\n\r\n", "000\r\nx: y\r\n\r\n", "0;a\r\n\r\n"]).as_bytes());
    bytes
}

/// What stands behind something that is refused.
fn and_another(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(posted(JSON, format!("{{{SMUGGLED}:1}}")));
    bytes
}

fn refused(bytes: impl Into<Vec<u8>>, status: u16) -> (Vec<u8>, Reply) {
    (and_another(bytes.into()), Reply::Exactly(vec![status]))
}

/// The headers and a good body of any format.
fn good(random: &mut fastrand::Rng) -> (String, Vec<u8>) {
    let (kind, body) = match random.u8(..6) {
        0 => ("application/x-ndjson", "{\"a\":[1,true,null]}\n\n\"\\u00e9\\ud83d\\ude00\"\r\n-1.5e3".to_owned()),
        1 => ("application/json; charset=utf-8", "[{\"a\":{\"b\":\"c\"}}, 2, \"x\"]".to_owned()),
        2 => ("application/cloudevents+json", CLOUD_EVENT.to_owned()),
        3 => ("application/cloudevents-batch+json", format!("[{CLOUD_EVENT},{CLOUD_EVENT}]")),
        4 => ("application/vnd.docker.distribution.events.v1+json", ENVELOPE.to_owned()),
        _ => ("text/plain\r\nce-specversion: 1.0\r\nce-id: b\r\nce-source: /s\r\nce-type: t", "hello".to_owned()),
    };
    (format!("content-type: {kind}\r\n"), body.into_bytes())
}

fn framed(random: &mut fastrand::Rng, headers: &str, body: &[u8]) -> Vec<u8> {
    if random.bool() { posted(headers, body) } else { posted_in_chunks(random, headers, body) }
}

fn good_request(random: &mut fastrand::Rng) -> Vec<u8> {
    let (headers, body) = good(random);
    framed(random, &headers, &body)
}

/// Changes, leaves out, repeats and puts in, up to so many times.
fn damage(random: &mut fastrand::Rng, bytes: &mut Vec<u8>, times: Range<usize>) {
    const PUT_IN: [&[u8]; 12] =
        [b"\"", b"{", b"[", b"\\", b"\\ud800", b"\0", b"\xff", b"\xed\xa0\x80", b"\r\n", b",", b"1e9", b"events"];
    for _ in 0..random.usize(times) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..8)).min(bytes.len());
        match random.u8(..5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, one_of(random, &PUT_IN).iter().copied())),
            2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            3 => bytes[at..end].fill_with(|| random.u8(..)),
            _ => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.u8(..8)),
        }
    }
}

fn body_damaged(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let (headers, mut body) = good(random);
    damage(random, &mut body, 1..6);
    (framed(random, &headers, &body), Reply::Among(&[202, 400]))
}

fn request_damaged(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let mut bytes = good_request(random);
    damage(random, &mut bytes, 1..20);
    (bytes, Reply::Among(&[202, 400, 404, 405, 411, 413, 415, 431, 501, 505]))
}

fn noise(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let mut bytes = vec![0; random.usize(..4_000)];
    random.fill(&mut bytes);
    (bytes, Reply::Among(&[400, 431, 505]))
}

fn cut_short(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let mut bytes = good_request(random);
    bytes.truncate(random.usize(..bytes.len()));
    (bytes, Reply::Exactly(Vec::new()))
}

fn lengths(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let (header, status) = one_of(
        random,
        &[
            ("content-length: 1\r\ncontent-length: 1\r\n", 400),
            ("content-length: 1\r\ncontent-length: 2\r\n", 400),
            ("content-length: 1\r\nContent-Length: 0\r\n", 400),
            ("content-length: 1, 1\r\n", 400),
            ("content-length: 1\r\ntransfer-encoding: chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\ncontent-length: 1\r\n", 400),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", 400),
            ("transfer-encoding: chunked\r\nTRANSFER-ENCODING: identity\r\n", 400),
            ("transfer-encoding: chunked, chunked\r\n", 501),
            ("transfer-encoding: gzip, chunked\r\n", 501),
            ("transfer-encoding: identity\r\n", 501),
            ("transfer-encoding: xchunked\r\n", 501),
            ("transfer-encoding: chunked;q=1\r\n", 501),
            ("transfer-encoding: \"chunked\"\r\n", 501),
            ("transfer-encoding:\x0bchunked\r\n", 400),
            ("transfer-encoding : chunked\r\n", 400),
            ("transfer-encoding:\r\n chunked\r\n", 400),
            ("content-length: 1\r\n 0\r\n", 400),
            ("content-length: -1\r\n", 400),
            ("content-length: +1\r\n", 400),
            ("content-length: 0x1\r\n", 400),
            ("content-length: 1e0\r\n", 400),
            ("content-length: 1.0\r\n", 400),
            ("content-length: 1 1\r\n", 400),
            ("content-length: 1\0\r\n", 400),
            ("content-length: \u{ff11}\r\n", 400),
            ("content-length:\r\n", 400),
            ("content-length: 4294967297\r\n", 413),
            ("content-length: 18446744073709551617\r\n", 413),
            ("content-length: 99999999999999999999999999\r\n", 413),
            ("", 411),
        ],
    );
    let body = one_of(random, &["1", "0\r\n\r\n", "1\r\n1\r\n0\r\n\r\n"]);
    refused(format!("{LINE}{JSON}{header}\r\n{body}"), status)
}

fn chunks(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let (line, trailers) = (";".repeat(2_000), "x: yyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(200));
    let (long, many) = (format!("1{line}\r\n1\r\n0\r\n\r\n"), format!("1\r\n1\r\n0\r\n{trailers}\r\n"));
    let (body, status) = one_of(
        random,
        &[
            ("-1\r\n1\r\n0\r\n\r\n", 400),
            ("+1\r\n1\r\n0\r\n\r\n", 400),
            ("0x1\r\n1\r\n0\r\n\r\n", 400),
            ("1 1\r\n1\r\n0\r\n\r\n", 400),
            (" 1\r\n1\r\n0\r\n\r\n", 400),
            ("g\r\n1\r\n0\r\n\r\n", 400),
            ("\u{ff11}\r\n1\r\n0\r\n\r\n", 400),
            ("\r\n1\r\n0\r\n\r\n", 400),
            (";a\r\n1\r\n0\r\n\r\n", 400),
            ("1\n1\n0\n\n", 400),
            ("1\r\n1\n0\r\n\r\n", 400),
            ("1\r\n12\r\n0\r\n\r\n", 400),
            ("1\r\n10\r\n\r\n", 400),
            ("1\r\r\n1\r\n0\r\n\r\n", 400),
            ("1;a\rb\r\n1\r\n0\r\n\r\n", 400),
            ("1;a\0\r\n1\r\n0\r\n\r\n", 400),
            ("1;a\n2\r\n1\r\n0\r\n\r\n", 400),
            ("1\r\n1\r\n0\r\nx: y\n\r\n", 400),
            (&long, 400),
            (&many, 431),
            ("ffffffff\r\n1", 413),
            ("7fffffffffffffff\r\n1", 413),
            ("ffffffffffffffff\r\n1", 413),
            ("10000000000000001\r\n1\r\n0\r\n\r\n", 413),
        ],
    );
    refused(format!("{LINE}{JSON}transfer-encoding: chunked\r\n\r\n{body}"), status)
}

fn headers(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let (many, long) = ("x: y\r\n".repeat(150), format!("x: {}\r\n", "y".repeat(17_000)));
    let (header, status): (&[u8], _) = one_of(
        random,
        &[
            (b"x: a\r\n b\r\n".as_slice(), 400),
            (b"x : a\r\n", 400),
            (b"x\r\n", 400),
            (b": a\r\n", 400),
            (b"x: \0\r\n", 400),
            (b"x: a\rb\r\n", 400),
            (b"\xc3\xa9: a\r\n", 400),
            (b"x\0: a\r\n", 400),
            (b"host: relay\r\n", 400),
            (b"Host: other\r\n", 400),
            (b"Content-Type: application/json\r\n", 400),
            (b"content-encoding: gzip\r\n", 415),
            (b"content-encoding: identity, gzip\r\n", 415),
            (b"content-encoding: identity\r\ncontent-encoding: gzip\r\n", 415),
            (b"content-encoding: \xff\r\n", 415),
            (b"x: \xc3\xa9\xff\r\n", 202),
            (b"content-encoding: Identity\r\n", 202),
            (many.as_bytes(), 431),
            (long.as_bytes(), 431),
        ],
    );
    let bytes = [LINE.as_bytes(), JSON.as_bytes(), header, b"connection: close\r\ncontent-length: 1\r\n\r\n1"].concat();
    refused(bytes, status)
}

fn request_lines(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let (line, status) = one_of(
        random,
        &[
            ("GET /events HTTP/1.1", 405),
            ("PUT /events HTTP/1.1", 405),
            ("post /events HTTP/1.1", 405),
            ("TRACE /events HTTP/1.1", 405),
            ("CONNECT relay:80 HTTP/1.1", 404),
            ("OPTIONS * HTTP/1.1", 404),
            ("POST / HTTP/1.1", 404),
            ("POST /event HTTP/1.1", 404),
            ("POST /events/ HTTP/1.1", 404),
            ("POST /events/../events HTTP/1.1", 404),
            ("POST //events HTTP/1.1", 404),
            ("POST /events%00 HTTP/1.1", 404),
            ("POST /events;x HTTP/1.1", 404),
            ("POST /events HTTP/0.9", 505),
            ("POST /events HTTP/1.2", 505),
            ("POST /events HTTP/2.0", 505),
            ("PRI * HTTP/2.0", 505),
            ("POST /events HTTP/11", 505),
            ("POST /ev ents HTTP/1.1", 505),
            ("POST /events", 400),
            ("POST", 400),
            ("P\0ST /events HTTP/1.1", 400),
            ("POST\t/events\tHTTP/1.1", 400),
            ("POST /events HTTP/1.1 ", 400),
            ("POST /ev\0ents HTTP/1.1", 400),
        ],
    );
    refused(format!("{line}\r\nhost: relay\r\n{JSON}content-length: 1\r\n\r\n1"), status)
}

fn media_types(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let (headers, status) = one_of(
        random,
        &[
            ("", 415),
            ("content-type:\r\n", 415),
            ("content-type: text/plain\r\n", 415),
            ("content-type: application/jsonx\r\n", 415),
            ("content-type: application/json, text/plain\r\n", 415),
            ("content-type: multipart/form-data; boundary=x\r\n", 415),
        ],
    );
    refused(posted(headers, "1"), status)
}

fn too_large(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let body = vec![b'1'; MAX_BODY + random.usize(1..20_000)];
    let headers = one_of(random, &[JSON, "content-type: application/x-ndjson\r\n"]);
    refused(framed(random, headers, &body), 413)
}

/// Deeper than any stack would do for. Such JSON is passed on as it is, and has no value that a filter could look at.
fn nested(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let depth = random.usize(200..MAX_BODY / 8);
    let (opening, closing) = one_of(random, &[("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")]);
    let (open, closed) = (opening.repeat(depth / opening.len()), closing.repeat(depth / opening.len()));
    let data = format!("{open}1{closed}");
    let cloud_event = CLOUD_EVENT.replace("{\"n\":4}", &data);
    let (headers, body, status) = match random.u8(..5) {
        0 => (JSON, open, 400),
        1 => ("content-type: application/cloudevents+json\r\n", cloud_event[..cloud_event.len() - 1].to_owned(), 400),
        2 => (
            "content-type: application/vnd.docker.distribution.events.v1+json\r\n",
            format!("{{\"events\":{open}"),
            400,
        ),
        3 => ("content-type: application/cloudevents+json\r\n", cloud_event, 202),
        _ => ("content-type: application/x-ndjson\r\n", data, 202),
    };
    (framed(random, headers, body.as_bytes()), Reply::Exactly(vec![status]))
}

fn numbers(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let (digits, zeros) = ("9".repeat(5_000), format!("0.{}1", "0".repeat(5_000)));
    let good = ["1e999999999", "-1E-999999999", "18446744073709551616", "-0", &digits, &zeros];
    let bad = ["01", "+1", "1.", ".1", "1e", "-", "0x1", "NaN", "Infinity", "1_000", "1e+", "--1"];
    let (number, status) = if random.bool() { (one_of(random, &good), 202) } else { (one_of(random, &bad), 400) };
    let (headers, body) = one_of(
        random,
        &[
            (JSON, "N"),
            (JSON, "[1,N]"),
            ("content-type: application/x-ndjson\r\n", "1\n{\"good\":N}\n"),
            (
                "content-type: application/json\r\nce-specversion: 1.0\r\nce-id: n\r\nce-source: /s\r\nce-type: t\r\n",
                "N",
            ),
        ],
    );
    (framed(random, headers, body.replace('N', number).as_bytes()), Reply::Exactly(vec![status]))
}

fn no_utf_8(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    // A byte that never occurs, one that continues nothing, too long a form, half of a pair, beyond the last, cut short.
    let bad =
        one_of(random, &[b"\xff".as_slice(), b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"]);
    let (headers, before, after) = one_of(
        random,
        &[
            (JSON, "\"", "\""),
            (JSON, "[{\"", "\":1}]"),
            ("content-type: application/x-ndjson\r\n", "1\n\"", "\"\n2"),
            (
                "content-type: application/cloudevents+json\r\n",
                "{\"specversion\":\"1.0\",\"id\":\"",
                "\",\"source\":\"/s\",\"type\":\"t\"}",
            ),
            (
                "content-type: application/vnd.docker.distribution.events.v1+json\r\n",
                "{\"events\":[{\"id\":\"",
                "\",\"action\":\"a\"}]}",
            ),
        ],
    );
    let body = [before.as_bytes(), bad, after.as_bytes()].concat();
    (framed(random, headers, &body), Reply::Exactly(vec![400]))
}

/// Good ones, one whose events cannot be used, and one behind which nothing is read.
fn pipelined(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let mut statuses = vec![202; random.usize(..8)];
    let mut bytes = Vec::new();
    for _ in &statuses {
        bytes.extend(good_request(random));
    }
    if random.bool() {
        bytes.extend(framed(random, JSON, b"{"));
        statuses.push(400);
    }
    let (last, status) = match random.u8(..3) {
        0 => (posted(&format!("{JSON}connection: x, Close\r\n"), "1"), 202),
        1 => (format!("{LINE}{JSON}content-length: 1\r\ncontent-length: 1\r\n\r\n1").into_bytes(), 400),
        _ => (b"POST /nothing HTTP/1.1\r\nhost: relay\r\ncontent-length: 0\r\n\r\n".to_vec(), 404),
    };
    bytes.extend(last);
    statuses.push(status);
    (and_another(bytes), Reply::Exactly(statuses))
}

fn expectations(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let headers = format!("{JSON}expect: 100-continue\r\n");
    let head = |more: &str| format!("{LINE}{headers}{more}\r\n").into_bytes();
    match random.u8(..5) {
        0 => (posted(&headers, "1"), Reply::Among(&[100, 202])),
        1 => refused(head("content-length: 99999999\r\n"), 413),
        2 => refused(head("content-length: 1\r\ntransfer-encoding: chunked\r\n"), 400),
        // It goes on reading, and there is no body.
        3 => (head("content-length: 1\r\n"), Reply::Exactly(vec![100])),
        // A client of HTTP/1.0 does not know the interim answer.
        _ => (
            format!("POST /events HTTP/1.0\r\n{headers}content-length: 1\r\n\r\n").into_bytes(),
            Reply::Exactly(Vec::new()),
        ),
    }
}

fn never_read(random: &mut fastrand::Rng) -> (Vec<u8>, Reply) {
    let mut bytes = posted(JSON, format!("{{{UNREAD}:1}}")).repeat(random.usize(1..50));
    bytes.truncate(bytes.len() - random.usize(..200).min(bytes.len()));
    (bytes, Reply::Unread)
}
