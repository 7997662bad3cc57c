//! Who gets the webhooks of S9: a process of its own, the same for every contender.
//!
//! One thread, one poll for all connections. For each request it reads its head and its body, looks that the body is what it must be, and answers `204` with one
//! write. It does so little that the sender is what is measured, but its time is in everybody's figures.
//!
//! An endpoint is a path: `/17`. Its bodies begin with `{"sequence":n,`, n from 0 without a gap, and go on with the same bytes in every body of every endpoint.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// The option of the program `compare` by which it becomes a receiver.
pub const OPTION: &str = "--receive";

const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// The process, seen from the comparison.
pub struct Receiver {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    address: String,
    /// Deliveries that it has told.
    told: u64,
}

impl Receiver {
    pub fn start() -> Result<Self, Error> {
        let mut child =
            Command::new(std::env::current_exe()?).arg(OPTION).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().ok_or(ErrorKind::BrokenPipe)?);
        let mut address = String::new();
        answers.read_line(&mut address)?;
        let address = address.trim().to_owned();
        Ok(Self { child, questions, answers, address, told: 0 })
    }

    /// What comes before the number of an endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many deliveries have come since the last question. An error where one was not what it must be.
    pub fn count(&mut self) -> Result<u64, Error> {
        writeln!(self.questions.as_mut().ok_or(ErrorKind::BrokenPipe)?)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let counts: Option<(u64, u64)> =
            answer.trim().split_once(' ').and_then(|(all, wrong)| Some((all.parse().ok()?, wrong.parse().ok()?)));
        match counts {
            Some((all, 0)) => Ok(all - std::mem::replace(&mut self.told, all)),
            _ => Err(Error::other(format!("the receiver has got what it must not: `{}`", answer.trim()))),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It ends at the end of its input.
        drop(self.questions.take());
        let _ = self.child.wait();
    }
}

/// What this process does as a receiver: it tells its address, and for each line that it reads, how many deliveries there were and how many of them were wrong.
pub fn run() -> Result<(), Error> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    println!("{}", listener.local_addr()?);
    let counts = Arc::<Counts>::default();
    let ledger = Ledger { counts: counts.clone(), tail: Vec::new(), next: Vec::new() };
    std::thread::spawn(move || {
        if let Err(error) = serve(listener, ledger) {
            eprintln!("the receiver of webhooks ends: {error}");
            std::process::exit(1);
        }
    });
    for line in std::io::stdin().lines() {
        line?;
        println!("{} {}", counts.all.load(Ordering::Acquire), counts.wrong.load(Ordering::Acquire));
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    all: AtomicU64,
    wrong: AtomicU64,
}

/// What every endpoint has got.
struct Ledger {
    counts: Arc<Counts>,
    /// What comes after the number in every body: as it was in the first.
    tail: Vec<u8>,
    /// The next number of each endpoint.
    next: Vec<u64>,
}

impl Ledger {
    fn note(&mut self, path: &str, body: &[u8]) {
        if self.is_right(path, body).is_none() {
            self.counts.wrong.fetch_add(1, Ordering::Release);
        }
        self.counts.all.fetch_add(1, Ordering::Release);
    }

    fn is_right(&mut self, path: &str, body: &[u8]) -> Option<()> {
        let endpoint: usize = path.strip_prefix('/')?.parse().ok()?;
        let rest = body.strip_prefix(br#"{"sequence":"#)?;
        let (number, tail) = rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit())?);
        let number: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
        if self.tail.is_empty() {
            self.tail = tail.to_vec();
        }
        if self.next.len() <= endpoint {
            self.next.resize(endpoint + 1, 0);
        }
        let expected = std::mem::replace(&mut self.next[endpoint], number + 1);
        (number == expected && tail == self.tail && tail.ends_with(b"}")).then_some(())
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8; 16 * 1024]>,
    filled: usize,
}

const LISTENER: Token = Token(usize::MAX);

fn serve(mut listener: TcpListener, mut ledger: Ledger) -> Result<(), Error> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(256));
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Some((mut stream, _)) = unless_empty(listener.accept())? {
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, Token(connections.len()), Interest::READABLE)?;
                    connections.push(Some(Connection { stream, buffer: Box::new([0; 16 * 1024]), filled: 0 }));
                }
            } else {
                let place = connections.get_mut(event.token().0);
                drop(place.and_then(|place| place.take_if(|connection| connection.serve(&mut ledger).is_err())));
            }
        }
    }
}

impl Connection {
    /// An error ends the connection: so does its end.
    fn serve(&mut self, ledger: &mut Ledger) -> Result<(), Error> {
        loop {
            let room = self.buffer.len() - self.filled;
            let Some(read) = unless_empty(self.stream.read(&mut self.buffer[self.filled..]))? else { return Ok(()) };
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.filled += read;
            while let Some(length) = request(&self.buffer[..self.filled], ledger)? {
                self.buffer.copy_within(length..self.filled, 0);
                self.filled -= length;
                self.stream.write_all(ANSWER)?;
            }
            // A short read of a stream has taken all: the next poll tells of what comes after it.
            if read < room {
                return Ok(());
            }
        }
    }
}

/// The length of the request at the beginning, if all of it is there.
fn request(bytes: &[u8], ledger: &mut Ledger) -> Result<Option<usize>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes).map_err(Error::other)? else { return Ok(None) };
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let all = head + length.ok_or_else(|| Error::other("a request without a length"))?;
    let Some(body) = bytes.get(head..all) else { return Ok(None) };
    ledger.note(request.path.unwrap_or_default(), body);
    Ok(Some(all))
}

fn unless_empty<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}
