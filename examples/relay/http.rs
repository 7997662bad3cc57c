//! A server for HTTP/1.1 that strangers may talk to: a thread for each connection, and a bound on everything that a client can make it hold.
//!
//! A client gets a seat or a 503; it has so long for a request and so many bytes; a length that it claims is never believed, a buffer grows with what has come. Whatever is
//! ambiguous about where a request ends (two lengths, a length and chunks) is refused and the connection closed, since another reader could see two requests in it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The largest head of a request.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
/// The longest line before a chunk, with its extensions, and of a trailer.
const MAX_LINE: usize = 1024;
/// The most bytes of trailers.
const MAX_TRAILERS: usize = 4 * 1024;
/// What a client has to send a head, once it has begun, if a request has not less in all.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// What a client has to take the answer.
const ANSWERING: Duration = Duration::from_secs(10);
/// How long a client that is refused may go on sending. A connection closed with unread bytes in it is reset, and the answer may be lost.
const PARTING: Duration = Duration::from_millis(500);
/// How many requests are looked into at a time. Taken apart, a body can be thirty times as large as it came: only so many are at once, however many have arrived.
const DESKS: usize = 4;
/// Enough for a JSON parser at its deepest.
const STACK: usize = 1 << 20;

/// What a client may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) body: usize,
    /// For a request from its first byte to its last, and between requests.
    pub(crate) time: Duration,
}

/// What answers.
pub(crate) trait Service: Send + Sync {
    /// Looks at a request before its body is read.
    fn admit(&self, head: &Head) -> Result<(), Answer>;

    fn serve(&self, head: &Head, body: &[u8]) -> Answer;
}

/// A request up to its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    target: String,
    is_http_1_0: bool,
    headers: Vec<(String, Vec<u8>)>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
}

impl Head {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether each value of a header is this one. So they are where there is none.
    pub(crate) fn is_only(&self, name: &str, expected: &str) -> bool {
        self.values(name).all(|value| value.eq_ignore_ascii_case(expected.as_bytes()))
    }

    /// The first value of a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.values(name).next().and_then(|value| std::str::from_utf8(value).ok())
    }

    fn parse(text: &[u8]) -> Result<Self, Answer> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(text) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Answer::error(431, "there are too many headers")),
            Err(httparse::Error::Version) => return Err(Answer::error(505, "this is neither HTTP/1.1 nor HTTP/1.0")),
            Ok(httparse::Status::Partial) | Err(_) => return Err(Answer::error(400, "this is no request of HTTP")),
        }
        let head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            is_http_1_0: request.version == Some(0),
            headers: request.headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect(),
        };
        if !head.is_http_1_0 && head.values("host").count() != 1 {
            return Err(Answer::error(400, "there must be one header host"));
        }
        if head.values("content-type").count() > 1 {
            return Err(Answer::error(400, "there is more than one header content-type"));
        }
        Ok(head)
    }

    fn body(&self) -> Result<Body, Answer> {
        let lengths: Vec<&[u8]> = self.values("content-length").collect();
        let codings: Vec<&[u8]> = self.values("transfer-encoding").collect();
        match (&lengths[..], &codings[..]) {
            ([], []) if matches!(self.method.as_str(), "POST" | "PUT" | "PATCH") => {
                Err(Answer::error(411, "there is neither a content-length nor a transfer-encoding"))
            }
            ([], []) => Ok(Body::Length(0)),
            ([length], []) => {
                let digits = std::str::from_utf8(length).ok();
                let digits = digits.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
                let digits = digits.ok_or_else(|| Answer::error(400, "the content-length is no number"))?;
                // What is too large for a number is too large for anything.
                Ok(Body::Length(digits.parse().unwrap_or(u64::MAX)))
            }
            ([], [coding]) if self.is_http_1_0 || !coding.eq_ignore_ascii_case(b"chunked") => {
                Err(Answer::error(501, "of the transfer-encodings only chunked is understood"))
            }
            ([], [_]) => Ok(Body::Chunked),
            _ => Err(Answer::error(400, "where the body ends is not clear")),
        }
    }

    fn keeps_alive(&self) -> bool {
        let closes = |value: &[u8]| {
            value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
        };
        !self.is_http_1_0 && !self.values("connection").any(closes)
    }

    /// A client of HTTP/1.0 does not know the interim answer.
    fn expects_continue(&self) -> bool {
        !self.is_http_1_0 && self.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    }
}

/// What is answered: always JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self { status, headers: Vec::new(), body: format!("{body}\n") }
    }

    fn error(status: u16, why: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": why }))
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn text(&self, closes: bool) -> String {
        let mut text = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            self.status,
            reason(self.status),
            self.body.len()
        );
        for (name, value) in &self.headers {
            text.extend([*name, ": ", value, "\r\n"]);
        }
        text.push_str(if closes { "connection: close\r\n\r\n" } else { "\r\n" });
        text.push_str(&self.body);
        text
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        202 => "Accepted",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}

pub(crate) struct Server<S> {
    listener: TcpListener,
    limits: Limits,
    service: S,
    seats: Mutex<Seats>,
    /// Nobody is served any more.
    quiet: Condvar,
    /// A desk is free.
    free: Condvar,
}

#[derive(Default)]
struct Seats {
    taken: usize,
    /// Requests that have been read and are not answered yet.
    served: usize,
    /// Those of them that are looked into.
    at_desks: usize,
}

impl<S: Service + 'static> Server<S> {
    pub(crate) fn new(listener: TcpListener, limits: Limits, service: S) -> Arc<Self> {
        Arc::new(Self {
            listener,
            limits,
            service,
            seats: Mutex::default(),
            quiet: Condvar::new(),
            free: Condvar::new(),
        })
    }

    pub(crate) fn service(&self) -> &S {
        &self.service
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends.
    pub(crate) fn run(self: &Arc<Self>) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.welcome(stream),
                // Out of file descriptors, most likely, which must neither spin nor end the relay.
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Waits until what has been read is answered, for so long at most.
    pub(crate) fn wait_until_quiet(&self, patience: Duration) {
        let _ = self.quiet.wait_timeout_while(self.seats(), patience, |seats| seats.served > 0);
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream) {
        let Some(seat) = self.seat() else { return turn_away(&stream) };
        let thread = thread::Builder::new().name("relay-http".to_owned()).stack_size(STACK);
        // Where no thread can be had, the connection is closed, and the seat is given back with it.
        let _ = thread.spawn(move || {
            let _ = Connection { stream, buffer: Vec::new() }.serve(&seat.0);
        });
    }

    fn seat(self: &Arc<Self>) -> Option<Seat<S>> {
        let mut seats = self.seats();
        if seats.taken >= self.limits.connections {
            return None;
        }
        seats.taken += 1;
        Some(Seat(self.clone()))
    }

    fn answer(&self, head: &Head, body: &[u8]) -> Answer {
        let full = |seats: &mut Seats| seats.at_desks >= DESKS;
        self.free.wait_while(self.seats(), full).unwrap_or_else(PoisonError::into_inner).at_desks += 1;
        // The panic hook has reported it.
        let answer = panic::catch_unwind(AssertUnwindSafe(|| self.service.serve(head, body)))
            .unwrap_or_else(|_| Answer::error(500, "a defect of the relay"));
        self.seats().at_desks -= 1;
        self.free.notify_one();
        answer
    }
}

/// A connection's place, given back when it ends.
struct Seat<S: Service + 'static>(Arc<Server<S>>);

impl<S: Service + 'static> Drop for Seat<S> {
    fn drop(&mut self) {
        self.0.seats().taken -= 1;
    }
}

/// Says that there is no room, without waiting for anything.
fn turn_away(mut stream: &TcpStream) {
    let answer = Answer::error(503, "there are too many connections").with("retry-after", "1");
    if stream.set_nonblocking(true).is_ok() {
        let _ = stream.write(answer.text(true).as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
    }
}

/// Why there is no request.
enum Broken {
    /// The client is told, and its connection closed.
    Refused(Answer),
    Gone,
}

impl From<Answer> for Broken {
    fn from(answer: Answer) -> Self {
        Self::Refused(answer)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        // A read with a time limit says the one or the other.
        if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) {
            Self::Refused(Answer::error(408, "the request took too long"))
        } else {
            Self::Gone
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// What has come and is not used yet.
    buffer: Vec<u8>,
}

impl Connection {
    fn serve<S: Service + 'static>(mut self, server: &Server<S>) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        loop {
            let (head, body) = match self.request(server) {
                Ok(request) => request,
                Err(Broken::Refused(answer)) => {
                    self.write(&answer.text(true))?;
                    return self.part();
                }
                Err(Broken::Gone) => return Ok(()),
            };
            server.seats().served += 1;
            let closes = !head.keeps_alive();
            let answered = self.write(&server.answer(&head, &body).text(closes));
            let mut seats = server.seats();
            seats.served -= 1;
            drop(seats);
            server.quiet.notify_all();
            answered?;
            if closes {
                return self.part();
            }
        }
    }

    fn request<S: Service + 'static>(&mut self, server: &Server<S>) -> Result<(Head, Vec<u8>), Broken> {
        // Between requests a client may be silent, and is not told when that has been too long.
        while self.buffer.is_empty() {
            let idle = Instant::now() + server.limits.time;
            self.fill(idle).map_err(|_| Broken::Gone)?;
        }
        let began = Instant::now();
        let head = self.head(began + server.limits.time.min(HEAD_TIME))?;
        let deadline = began + server.limits.time;
        server.service.admit(&head)?;
        let body = head.body()?;
        let max = server.limits.body;
        if matches!(body, Body::Length(length) if length > max as u64) {
            return Err(too_large(max).into());
        }
        if head.expects_continue() && self.buffer.is_empty() {
            self.write("HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = match body {
            Body::Length(length) => {
                let mut body = Vec::new();
                self.take(usize::try_from(length).unwrap_or(max), &mut body, deadline)?;
                body
            }
            Body::Chunked => self.chunks(max, deadline)?,
        };
        Ok((head, body))
    }

    fn head(&mut self, deadline: Instant) -> Result<Head, Broken> {
        let mut looked = 0;
        loop {
            let rest = &self.buffer[looked..];
            let ends = rest.windows(2).position(|end| end == b"\n\n").map(|at| at + 2);
            let ends = ends.into_iter().chain(rest.windows(3).position(|end| end == b"\n\r\n").map(|at| at + 3)).min();
            let end = ends.map(|at| looked + at);
            if end.unwrap_or(self.buffer.len()) > MAX_HEAD {
                return Err(Answer::error(431, "the head of the request is too large").into());
            }
            if let Some(end) = end {
                let head = Head::parse(&self.buffer[..end])?;
                self.buffer.drain(..end);
                return Ok(head);
            }
            looked = self.buffer.len().saturating_sub(2);
            self.fill(deadline)?;
        }
    }

    fn chunks(&mut self, max: usize, deadline: Instant) -> Result<Vec<u8>, Broken> {
        let malformed = || Answer::error(400, "the chunks of the body are malformed");
        let mut body = Vec::new();
        loop {
            let line = self.line(deadline)?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
            let digits = std::str::from_utf8(digits).map_err(|_| malformed())?;
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(malformed().into());
            }
            let size = usize::from_str_radix(digits, 16).unwrap_or(usize::MAX);
            if size == 0 {
                break;
            }
            if size > max - body.len() {
                return Err(too_large(max).into());
            }
            self.take(size, &mut body, deadline)?;
            if !self.line(deadline)?.is_empty() {
                return Err(malformed().into());
            }
        }
        let mut trailers = 0;
        loop {
            let line = self.line(deadline)?;
            trailers += line.len();
            if line.is_empty() {
                return Ok(body);
            }
            if trailers > MAX_TRAILERS {
                return Err(Answer::error(431, "the trailers are too large").into());
            }
        }
    }

    /// A line, without its end.
    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, Broken> {
        loop {
            let end = self.buffer.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                // Another reader may see the end of a line in any of these.
                let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
                if line.pop() == Some(b'\r') && !line.iter().any(is_control) {
                    return Ok(line);
                }
                return Err(Answer::error(400, "a line between the chunks has no proper end").into());
            }
            if self.buffer.len() >= MAX_LINE {
                return Err(Answer::error(400, "a line between the chunks is too long").into());
            }
            self.fill(deadline)?;
        }
    }

    /// Moves so many bytes to `body`.
    fn take(&mut self, mut bytes: usize, body: &mut Vec<u8>, deadline: Instant) -> Result<(), Broken> {
        loop {
            let here = bytes.min(self.buffer.len());
            body.extend(self.buffer.drain(..here));
            bytes -= here;
            if bytes == 0 {
                return Ok(());
            }
            self.fill(deadline)?;
        }
    }

    /// Reads what is there, or waits for more.
    fn fill(&mut self, deadline: Instant) -> io::Result<()> {
        let mut bytes = [0; 8 * 1024];
        match read_before(&self.stream, &mut bytes, deadline)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.buffer.extend(&bytes[..read]);
                Ok(())
            }
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let deadline = Instant::now() + ANSWERING;
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            self.stream.set_write_timeout(Some(left(deadline)?))?;
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Closes so that the answer arrives.
    fn part(self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let deadline = Instant::now() + PARTING;
        let mut ignored = [0; 8 * 1024];
        while read_before(&self.stream, &mut ignored, deadline)? > 0 {}
        Ok(())
    }
}

fn too_large(max: usize) -> Answer {
    Answer::error(413, &format!("the body has more than {max} bytes"))
}

fn read_before(mut stream: &TcpStream, into: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// What is left until the deadline. A timeout of zero would mean none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}
