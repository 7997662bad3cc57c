//! Sends hostile requests, and looks at every byte that comes back.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::answers::{self, Answered};
use super::requests::{Hostile, Reply};

/// Longer than anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// After how long one that found no place comes again.
const IMPATIENCE: Duration = Duration::from_millis(10);

/// What came of requests.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Answers by their status.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Events that the answers say were accepted.
    pub(super) accepted: u64,
    /// Connections that ended without an answer.
    pub(super) silent: u64,
    /// Connections that were turned away, for which another one was made.
    pub(super) turned_away: u64,
    /// Connections that were reset, so that an answer may be lost.
    pub(super) reset: u64,
}

impl Sent {
    pub(super) fn count(&mut self, answers: &[Answered]) {
        self.silent += u64::from(answers.is_empty());
        for answer in answers {
            *self.statuses.entry(answer.status).or_default() += 1;
            self.accepted += answer.accepted;
        }
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.accepted += other.accepted;
        self.silent += other.silent;
        self.turned_away += other.turned_away;
        self.reset += other.reset;
        self
    }
}

pub(super) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads to the end. The bytes, and whether the connection was reset.
pub(super) fn read_all(mut stream: &TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => (bytes, false),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => (bytes, true),
        Err(error) => panic!("the relay neither answers nor closes: {error}"),
    }
}

/// Whether a connection found no place.
pub(super) fn is_turned_away(answers: &[Answered]) -> bool {
    matches!(answers, [Answered { status: 503, closes: true, .. }])
}

pub(super) struct Sender<'a> {
    address: &'a str,
    pub(super) sent: Sent,
}

impl<'a> Sender<'a> {
    pub(super) fn new(address: &'a str) -> Self {
        Self { address, sent: Sent::default() }
    }

    /// Sends it until it finds a place, and checks what comes back.
    pub(super) fn play(&mut self, hostile: &Hostile, number: u64) {
        while !self.is_placed(hostile, number) {
            self.sent.turned_away += 1;
            // Sooner than it was told.
            thread::sleep(IMPATIENCE);
        }
    }

    fn is_placed(&mut self, hostile: &Hostile, number: u64) -> bool {
        let Hostile { kind, bytes, reply } = hostile;
        let mut stream = connect(self.address);
        // In two pieces, divided anywhere. It may be refused before it is sent.
        let (one, two) = bytes.split_at(usize::try_from(number).unwrap() * 31 % (bytes.len() + 1));
        let _ = stream.write_all(one).and_then(|()| stream.write_all(two));
        if matches!(reply, Reply::Unread) {
            return true;
        }
        let _ = stream.shutdown(Shutdown::Write);
        let (bytes, reset) = read_all(&stream);
        if reset {
            self.sent.reset += 1;
            return true;
        }
        let answers = answers::all(&bytes).unwrap_or_else(|why| panic!("{kind}, request {number}: {why}"));
        if is_turned_away(&answers) {
            return false;
        }
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let as_expected = match reply {
            Reply::Exactly(expected) => statuses == *expected,
            Reply::Among(known) => statuses.iter().all(|status| known.contains(status)),
            Reply::Unread => true,
        };
        let request = || String::from_utf8_lossy(&hostile.bytes[..hostile.bytes.len().min(600)]).into_owned();
        assert!(as_expected, "{kind}, request {number}: {statuses:?}, not {reply:?}, to {:?}", request());
        self.sent.count(&answers);
        true
    }
}

/// Opens so many connections, more than there are places for, and says nothing on them. How many were turned away.
pub(super) fn rush(address: &str, connections: usize) -> u64 {
    let streams: Vec<_> = (0..connections).map(|_| connect(address)).collect();
    let mut turned_away = 0;
    for stream in streams {
        // Who has got a place is told nothing.
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let mut bytes = Vec::new();
        if (&stream).read_to_end(&mut bytes).is_ok() {
            let answers = answers::all(&bytes).unwrap();
            assert!(is_turned_away(&answers), "{answers:?}");
            turned_away += 1;
        }
    }
    turned_away
}
