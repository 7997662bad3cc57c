//! One request and its answer on a connection that is open already: HTTP/1.1 as far as a webhook needs it.
//!
//! The request has the same headers as the HTTP client's. Of the answer only the status and `Retry-After` matter; its body is read so that the connection can be
//! used again, and only for that: once there is a status, whatever goes wrong costs the connection and not the event.
//!
//! A connection is used again only where it is certain where the answer ends and nothing comes after it.

use std::io::{self, ErrorKind, Write};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::Status;
use ureq::Timeout;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use ureq::http::{HeaderMap, HeaderValue, Method, Uri};
use ureq::unversioned::transport::{NextTimeout, Transport};

use super::MAX_ANSWER;
use super::answer::Answer;
use super::builder::USER_AGENT as OWN_NAME;
use super::connect::INPUT_BUFFER;
use super::error::DeliveryError;
use super::idle::Idle;

/// How many headers an answer may have.
const MAX_HEADERS: usize = 128;

/// What is the same in all requests of a webhook. It may have credentials in it.
pub(super) struct Prelude {
    line: Vec<u8>,
    host: Vec<u8>,
    authorization: Option<Vec<u8>>,
}

impl Prelude {
    pub(super) fn new(method: &Method, uri: &Uri) -> Self {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let slash = if path.starts_with('/') { "" } else { "/" };
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().filter(|port| *port != default_port);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let authorization = authority.rsplit_once('@').map(|(credentials, _)| {
            let colon = if credentials.contains(':') { "" } else { ":" };
            format!("authorization: Basic {}\r\n", STANDARD.encode(format!("{credentials}{colon}"))).into_bytes()
        });
        Self {
            line: format!("{method} {slash}{path} HTTP/1.1\r\n").into_bytes(),
            host: format!("host: {}{port}\r\n", uri.host().unwrap_or_default()).into_bytes(),
            authorization,
        }
    }
}

pub(super) struct Request<'r> {
    pub(super) prelude: &'r Prelude,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r [u8],
}

impl Request<'_> {
    fn head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(&self.prelude.line);
        if !self.headers.contains_key(HOST) {
            head.extend_from_slice(&self.prelude.host);
        }
        if let Some(authorization) =
            self.prelude.authorization.as_ref().filter(|_| !self.headers.contains_key(AUTHORIZATION))
        {
            head.extend_from_slice(authorization);
        }
        let mut add = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                head.extend_from_slice(part);
            }
        };
        for (name, value) in self.headers {
            add(name.as_str(), value.as_bytes());
        }
        if !self.headers.contains_key(USER_AGENT) {
            add("user-agent", OWN_NAME.as_bytes());
        }
        if !self.headers.contains_key(ACCEPT) {
            add("accept", b"*/*");
        }
        // To a vector it cannot fail.
        let _ = write!(head, "content-length: {}\r\n\r\n", self.body.len());
        head
    }
}

/// Sends a request and reads the answer. The connection waits for the next event then, if it can be used again.
pub(super) fn post(
    connection: Box<dyn Transport>,
    request: &Request<'_>,
    deadline: Instant,
    idle: &Idle,
) -> Result<Answer, DeliveryError> {
    let mut exchange = Exchange { connection, deadline };
    exchange.send(&request.head())?;
    exchange.send(request.body)?;
    let Head { answer, body, keeps } = exchange.head()?;
    if exchange.skip(body).is_ok_and(|is_at_end| is_at_end && keeps) {
        idle.keep(exchange.connection, Instant::now());
    }
    Ok(answer)
}

/// The head of an answer, as far as it matters.
struct Head {
    answer: Answer,
    body: Body,
    /// Whether the connection may be used again after the body.
    keeps: bool,
}

/// How the body of an answer ends.
#[derive(Clone, Copy)]
enum Body {
    Sized(u64),
    Chunked,
    /// With the connection.
    Endless,
}

struct Exchange {
    connection: Box<dyn Transport>,
    deadline: Instant,
}

impl Exchange {
    fn timeout(&self) -> Result<NextTimeout, DeliveryError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(DeliveryError::Timeout);
        }
        Ok(NextTimeout { after: left.into(), reason: Timeout::Global, ..NextTimeout::default() })
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), DeliveryError> {
        while !bytes.is_empty() {
            let timeout = self.timeout()?;
            let room = self.connection.buffers().output();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.connection.transmit_output(now.len(), timeout).map_err(DeliveryError::from_client)?;
            bytes = later;
        }
        Ok(())
    }

    /// Reads more, or fails.
    fn read(&mut self) -> Result<(), DeliveryError> {
        let timeout = self.timeout()?;
        if self.connection.await_input(timeout).map_err(DeliveryError::from_client)? {
            return Ok(());
        }
        Err(DeliveryError::Connection(io::Error::new(
            ErrorKind::UnexpectedEof,
            "the endpoint has closed the connection",
        )))
    }

    /// The head of the final answer.
    fn head(&mut self) -> Result<Head, DeliveryError> {
        loop {
            let input = self.connection.buffers().input();
            match parse(input)? {
                Some((length, head)) => {
                    self.connection.buffers().input_consume(length);
                    // Those below 200 are news on the way to an answer; but after 101 it is no HTTP any more.
                    if head.answer.status >= 200 || head.answer.status == 101 {
                        return Ok(head);
                    }
                }
                // A full buffer takes no more.
                None if input.len() >= INPUT_BUFFER - 1 => return Err(DeliveryError::Answer),
                None => self.read()?,
            }
        }
    }

    /// Reads the body. Whether it ended: beyond [`MAX_ANSWER`] a new connection costs less than the rest.
    fn skip(&mut self, body: Body) -> Result<bool, DeliveryError> {
        match body {
            Body::Sized(length) if length <= MAX_ANSWER => self.skip_bytes(length).map(|()| true),
            Body::Sized(_) => Ok(false),
            Body::Chunked => self.skip_chunks(),
            // To its end if that is near, so that the endpoint need not meet a closed connection.
            Body::Endless => self.skip_bytes(MAX_ANSWER).map(|()| false),
        }
    }

    fn skip_bytes(&mut self, mut length: u64) -> Result<(), DeliveryError> {
        loop {
            length -= self.skip_input(length);
            if length == 0 {
                return Ok(());
            }
            self.read()?;
        }
    }

    /// What has been read of so many bytes.
    fn skip_input(&mut self, most: u64) -> u64 {
        let buffers = self.connection.buffers();
        let skipped = buffers.input().len().min(usize::try_from(most).unwrap_or(usize::MAX));
        buffers.input_consume(skipped);
        skipped as u64
    }

    fn skip_chunks(&mut self) -> Result<bool, DeliveryError> {
        let mut left = MAX_ANSWER;
        loop {
            let line = self.line()?;
            let size = std::str::from_utf8(&line).ok().and_then(|line| line.split(';').next());
            // Not `from_str_radix` alone, which takes a sign.
            let size = size
                .map(|size| size.trim_end_matches([' ', '\t']))
                .filter(|size| size.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let size = size.and_then(|size| u64::from_str_radix(size, 16).ok()).ok_or(DeliveryError::Answer)?;
            left = match left.checked_sub(size.saturating_add(line.len() as u64 + 2)) {
                Some(left) => left,
                None => return Ok(false),
            };
            if size == 0 {
                break;
            }
            self.skip_bytes(size)?;
            if !self.line()?.is_empty() {
                return Err(DeliveryError::Answer);
            }
        }
        // Trailers, up to an empty line.
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(true);
            }
            left = match left.checked_sub(line.len() as u64 + 2) {
                Some(left) => left,
                None => return Ok(false),
            };
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Vec<u8>, DeliveryError> {
        loop {
            let buffers = self.connection.buffers();
            let input = buffers.input();
            if let Some(end) = input.iter().position(|byte| *byte == b'\n') {
                let line = input[..end].strip_suffix(b"\r").ok_or(DeliveryError::Answer)?.to_vec();
                buffers.input_consume(end + 1);
                return Ok(line);
            }
            if input.len() >= INPUT_BUFFER - 1 {
                return Err(DeliveryError::Answer);
            }
            self.read()?;
        }
    }
}

/// The head at the beginning of `input` and its length, if all of it is there.
fn parse(input: &[u8]) -> Result<Option<(usize, Head)>, DeliveryError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Status::Complete(end) = response.parse(input).map_err(|_| DeliveryError::Answer)? else { return Ok(None) };
    let status = response.code.filter(|code| *code >= 100).ok_or(DeliveryError::Answer)?;
    let is_http_1_0 = response.version == Some(0);
    let (mut length, mut encoding, mut retry_after) = (None, None, None);
    let (mut keeps_alive, mut closes) = (false, status == 101);
    for header in response.headers {
        let is = |name| header.name.eq_ignore_ascii_case(name);
        let value = header.value.trim_ascii();
        if is("content-length") {
            // Somebody on the way may have put two into one.
            for value in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                let digits = Some(value).filter(|value| value.iter().all(u8::is_ascii_digit));
                let value = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
                // One that is no number, or two that differ: nobody knows where the answer ends.
                match value {
                    Some(value) if length.is_none_or(|length| length == value) => length = Some(value),
                    _ => return Err(DeliveryError::Answer),
                }
            }
        } else if is("transfer-encoding") {
            // Of several, none is only chunked.
            encoding = Some(encoding.is_none() && value.eq_ignore_ascii_case(b"chunked"));
        } else if is("connection") {
            for option in value.split(|byte| *byte == b',') {
                keeps_alive |= option.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
                closes |= option.trim_ascii().eq_ignore_ascii_case(b"close");
            }
        } else if is("retry-after") && retry_after.is_none() {
            retry_after = HeaderValue::from_bytes(value).ok();
        }
    }
    // In the order of RFC 9112, 6.3.
    let body = match (status, encoding, length) {
        (100..=199 | 204 | 304, ..) => Body::Sized(0),
        (_, Some(true), _) if !is_http_1_0 => Body::Chunked,
        (_, None, Some(length)) => Body::Sized(length),
        _ => Body::Endless,
    };
    let is_odd = is_odd(status, encoding, length);
    let keeps = !closes && (keeps_alive || !is_http_1_0) && !is_odd;
    Ok(Some((end, Head { answer: Answer { status, retry_after }, body, keeps })))
}

/// Whether somebody may see the end of the answer elsewhere: where it has a length and an encoding, another encoding than `chunked`, once, or announces a body that it
/// cannot have.
fn is_odd(status: u16, encoding: Option<bool>, length: Option<u64>) -> bool {
    let has_body = encoding.is_some() || length.is_some_and(|length| length > 0);
    encoding == Some(false) || (encoding.is_some() && length.is_some()) || (matches!(status, 204 | 304) && has_body)
}

/// The same for an answer that the HTTP client has read.
pub(super) fn is_odd_answer(status: u16, headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let encoding = encodings
        .next()
        .map(|first| encodings.next().is_none() && first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    let length = headers.get(CONTENT_LENGTH).map(|value| u64::from(value.as_bytes() != b"0"));
    is_odd(status, encoding, length)
}
