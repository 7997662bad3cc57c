//! A receiver of webhooks that is as unreliable as real ones: it answers some requests with 503, and it can go down.
//!
//! It counts an event as received when it answers 200, and not before. An event whose 200 is lost on its way is sent again and counted
//! again: delivery is at least once.
//!
//! Down, it cuts every connection off. It keeps its port, since another process could take it meanwhile.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::event::Event;

/// The part of the requests that is answered with 503.
const REFUSED: f64 = 0.1;
/// The longest body. Nothing here posts more.
const LONGEST: usize = 64 * 1024;

pub(crate) struct Receiver {
    address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
}

/// What all connections share.
struct Desk {
    down: bool,
    random: fastrand::Rng,
    connections: Vec<TcpStream>,
    book: Book,
}

/// What came in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    /// The numbers of the events that were answered with 200, in the order of arrival.
    pub(crate) received: Vec<u64>,
    /// Requests that were answered with 503.
    pub(crate) refused: u64,
    /// Connections that were cut off while it was down.
    pub(crate) cut_off: u64,
    /// Bodies that are not an event, or not as it was sent.
    pub(crate) garbled: u64,
}

impl Receiver {
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let desk = Desk {
            down: false,
            // The same every time, so that two runs can be compared.
            random: fastrand::Rng::with_seed(7),
            connections: Vec::new(),
            book: Book::default(),
        };
        let desk = Arc::new(Mutex::new(desk));
        thread::spawn({
            let desk = desk.clone();
            move || listener.incoming().flatten().for_each(|stream| welcome(&desk, stream))
        });
        Ok(Self { address, desk })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// Cuts off every connection, and each new one.
    pub(crate) fn go_down(&self) {
        let mut desk = lock(&self.desk);
        desk.down = true;
        for stream in std::mem::take(&mut desk.connections) {
            desk.book.cut_off += 1;
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn come_up(&self) {
        lock(&self.desk).down = false;
    }

    pub(crate) fn book(&self) -> Book {
        lock(&self.desk).book.clone()
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn welcome(desk: &Arc<Mutex<Desk>>, stream: TcpStream) {
    let mut at_desk = lock(desk);
    if at_desk.down {
        at_desk.book.cut_off += 1;
        return;
    }
    if let Ok(clone) = stream.try_clone() {
        at_desk.connections.push(clone);
    }
    drop(at_desk);
    let desk = desk.clone();
    // Ends when the sender closes the connection or it is cut off.
    thread::spawn(move || serve(&desk, &stream));
}

fn serve(desk: &Mutex<Desk>, mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(body) = read_request(&mut reader)? {
        let Some(status) = judge(&mut lock(desk), &body) else { break };
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
    }
    stream.shutdown(Shutdown::Both)
}

/// The status, or nothing if it is down. One request at a time, so that the book has them in the order of arrival.
fn judge(desk: &mut Desk, body: &[u8]) -> Option<&'static str> {
    if desk.down {
        return None;
    }
    if desk.random.f64() < REFUSED {
        desk.book.refused += 1;
        return Some("503 Service Unavailable");
    }
    match serde_json::from_slice::<Event>(body) {
        Ok(event) if event == Event::number(event.seq) => desk.book.received.push(event.seq),
        _ => desk.book.garbled += 1,
    }
    Some("200 OK")
}

/// The body of the next request, or nothing if there is none.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length =
                    value.trim().parse().ok().filter(|length| *length <= LONGEST).ok_or(io::ErrorKind::InvalidData)?;
            }
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(body))
}
