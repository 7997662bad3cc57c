//! The few lines of HTTP that a scrape needs: one GET per connection, answered and closed.
//!
//! It is our own because the endpoint lives inside services. Everything a client can make it hold is bounded: two threads, 8 KiB of
//! request, five seconds to ask, ten to take the answer. A body is never waited for, and a length that a client claims is never believed.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::sync::mutation;

/// Two, so that one slow client delays nobody.
const THREADS: usize = 2;
/// What a client has to send its request.
const ASKING: Duration = Duration::from_secs(5);
/// What a client has to take the answer.
const ANSWERING: Duration = Duration::from_secs(10);
/// How long a client may take to close after the answer. A connection closed with unread bytes in it is reset, and the answer may be lost.
const PARTING: Duration = Duration::from_millis(500);
/// A scraper's request has some hundred bytes.
const MAX_REQUEST: usize = 8 * 1024;

/// What is asked for.
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    /// What follows the question mark, or nothing.
    pub(super) query: &'a str,
    head: &'a str,
}

impl Request<'_> {
    /// Whether the client names `content_type` among those that it accepts.
    pub(super) fn accepts(&self, content_type: &str) -> bool {
        let headers = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut accepted = headers.filter(|(name, _)| name.eq_ignore_ascii_case("accept")).map(|(_, value)| value);
        accepted.any(|value| value.to_ascii_lowercase().contains(content_type))
    }
}

/// What is answered.
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn plain(status: &'static str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{status}\n") }
    }
}

/// Threads that accept connections and answer them, until it is dropped.
pub(super) struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    listener: TcpListener,
    stop: AtomicBool,
    /// The connection that each thread has now, so that a stop can cut it off.
    current: [Mutex<Option<TcpStream>>; THREADS],
}

impl Server {
    /// Answers GET requests on `listener` with what `get` makes of them; `None` is 404.
    pub(super) fn start<F>(listener: TcpListener, get: F) -> io::Result<Self>
    where
        F: Fn(&Request<'_>) -> Option<Answer> + Clone + Send + 'static,
    {
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared { listener, stop: AtomicBool::new(false), current: Default::default() });
        // If the second thread cannot be started, this value's drop ends the first.
        let mut server = Self { addr, shared, threads: Vec::new() };
        for index in 0..THREADS {
            let (shared, get) = (Arc::clone(&server.shared), get.clone());
            let thread = thread::Builder::new().name("sinkworks-metrics".to_owned());
            server.threads.push(thread.spawn(move || shared.run(index, &get))?);
        }
        Ok(server)
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Relaxed: see `Shared::run`.
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.current.iter().for_each(cut_off);
        // One connection for each thread that waits in accept.
        let woken = self.threads.iter().all(|_| TcpStream::connect_timeout(&reachable(self.addr), PARTING).is_ok());
        for thread in self.threads.drain(..) {
            // A thread that could not be woken ends with the next connection, and a thread cannot wait for itself.
            if woken && thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// The address by which this machine reaches a listener, which may have been bound to all addresses.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    addr
}

fn cut_off(connection: &Mutex<Option<TcpStream>>) {
    if let Some(stream) = connection.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn run(&self, index: usize, get: &impl Fn(&Request<'_>) -> Option<Answer>) {
        let current = |stream| *self.current[index].lock().unwrap_or_else(PoisonError::into_inner) = stream;
        loop {
            let accepted = self.listener.accept();
            if let Ok((stream, _)) = &accepted {
                current(stream.try_clone().ok());
            }
            // After `current` is set: whoever sets the flag looks at `current` afterwards, so one of the two sees the other. Relaxed, since both take the lock of
            // `current` in between: if this thread takes it first, its connection is cut off, otherwise it sees the flag.
            if self.stop.load(Ordering::Relaxed) && !mutation!("endpoint_sees_the_stop") {
                return;
            }
            match accepted {
                // A client that is gone or too slow is no concern of ours.
                Ok((stream, _)) => drop(converse(stream, get)),
                // Out of file descriptors, most likely, which must neither spin nor end the service.
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
            current(None);
        }
    }
}

fn converse(mut stream: TcpStream, get: &impl Fn(&Request<'_>) -> Option<Answer>) -> io::Result<()> {
    let request = read_request(&mut stream)?;
    // A recorder that panics must not take the thread with it. The panic hook has reported it.
    let answer = panic::catch_unwind(AssertUnwindSafe(|| answer(&request, get)))
        .unwrap_or_else(|_| Answer::plain("500 Internal Server Error"));
    write_answer(&mut stream, &answer)?;
    stream.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + PARTING;
    let mut ignored = [0; 1024];
    while read_before(&mut stream, &mut ignored, deadline)? > 0 {}
    Ok(())
}

/// Reads up to the empty line that ends the head of the request, or to the limit.
fn read_request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + ASKING;
    let mut request = vec![0; MAX_REQUEST];
    let mut length = 0;
    while length < MAX_REQUEST {
        let read = read_before(stream, &mut request[length..], deadline)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        length += read;
        if request[..length].windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    request.truncate(length);
    Ok(request)
}

fn answer(request: &[u8], get: &impl Fn(&Request<'_>) -> Option<Answer>) -> Answer {
    if request.len() >= MAX_REQUEST {
        return Answer::plain("431 Request Header Fields Too Large");
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let head = std::str::from_utf8(request).unwrap_or_default();
    let words: Vec<&str> = std::str::from_utf8(line).unwrap_or_default().split(' ').collect();
    match words[..] {
        ["GET", target, version] if version.starts_with("HTTP/1.") => {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            get(&Request { path, query, head }).unwrap_or_else(|| Answer::plain("404 Not Found"))
        }
        [_, _, version] if version.starts_with("HTTP/1.") => Answer::plain("405 Method Not Allowed"),
        _ => Answer::plain("400 Bad Request"),
    }
}

fn write_answer(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    let Answer { status, content_type, body } = answer;
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    if status.starts_with("405") {
        head.push_str("Allow: GET\r\n");
    }
    let _ = write!(head, "Cache-Control: no-store\r\nConnection: close\r\n\r\n");
    let deadline = Instant::now() + ANSWERING;
    for mut part in [head.as_bytes(), body.as_bytes()] {
        while !part.is_empty() {
            stream.set_write_timeout(Some(left(deadline)?))?;
            match stream.write(part) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => part = &part[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn read_before(stream: &mut TcpStream, into: &mut [u8], deadline: Instant) -> io::Result<usize> {
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

#[cfg(test)]
mod tests;
