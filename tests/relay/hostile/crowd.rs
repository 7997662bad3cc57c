//! Slow senders, many at a time, each in its way: a byte now and then, or none. Who loses its connection makes another one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::sender::{Sent, connect, is_turned_away};
use super::{MAX_BODY, answers, requests};

/// From one byte to the next.
const PACE: Duration = Duration::from_millis(100);
/// One in so many sends as much as it can, and takes no answer.
const GLUTTONS: usize = 100;
/// How much such a one sends at a time at most.
const MOUTHFUL: usize = 64 * 1024;

/// How to keep a connection.
#[derive(Debug)]
struct Way {
    /// What is said at once.
    first: Vec<u8>,
    /// What follows byte by byte, again and again.
    then: Vec<u8>,
    /// What is answered when the relay has had enough.
    last: &'static [u16],
    is_glutton: bool,
}

impl Way {
    fn all() -> Vec<Self> {
        let head = "POST /events HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\n";
        let most = format!("{head}content-length: {MAX_BODY}\r\n\r\n{}", " ".repeat(MAX_BODY - 1_000));
        let event = format!("{{{}:1}}", requests::UNREAD);
        let whole = format!("{head}content-length: {}\r\n\r\n{event}", event.len());
        let chunks = format!("{head}transfer-encoding: chunked\r\n\r\n");
        let way =
            |first: &str, then: &str, last| Self { first: first.into(), then: then.into(), last, is_glutton: false };
        let mut ways = vec![
            way("", "", &[]),
            way("POST /events HTTP/1.1\r\nhost: relay\r\nx: ", "y", &[408]),
            way(&chunks, "1\r\n \r\n", &[408]),
            way(&format!("{chunks}1;"), "x", &[408]),
            way(&format!("{chunks}0\r\n"), "x", &[408]),
            way(&whole, "", &[202]),
        ];
        // Half of them do what costs the relay most: they send nearly all of a large body.
        ways.extend((0..6).map(|_| way(&most, " ", &[408])));
        ways
    }

    /// What is sent is refused without an end of the connection.
    fn glutton() -> Self {
        let malformed =
            "POST /events HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n{";
        Self { first: Vec::new(), then: malformed.into(), last: &[], is_glutton: true }
    }
}

/// What became of the crowd.
pub(super) struct Crowd {
    pub(super) sent: Sent,
    /// How many connections there have been.
    pub(super) opened: u64,
    /// Held open for as long as this is.
    #[allow(dead_code, reason = "only to be held")]
    connections: Vec<Option<Slow>>,
}

/// A slow connection.
struct Slow {
    stream: TcpStream,
    sent: usize,
    answer: Vec<u8>,
}

impl Crowd {
    pub(super) fn play(address: &str, size: usize, over: &AtomicBool) -> Self {
        let (ways, glutton) = (Way::all(), Way::glutton());
        let mut crowd = Self { sent: Sent::default(), opened: 0, connections: Vec::new() };
        let mut connections: Vec<Option<Slow>> = std::iter::repeat_with(|| None).take(size).collect();
        while !over.load(Ordering::Relaxed) {
            for (number, place) in connections.iter_mut().enumerate() {
                let way = if number % GLUTTONS == 0 { &glutton } else { &ways[number % ways.len()] };
                let slow = place.get_or_insert_with(|| {
                    crowd.opened += 1;
                    Slow::open(address, way)
                });
                if let Err(error) = slow.go_on(way) {
                    crowd.ended(slow, way, &error);
                    *place = None;
                }
            }
            thread::sleep(PACE);
        }
        crowd.connections = connections;
        crowd
    }

    /// Looks at what the relay said at the end.
    fn ended(&mut self, slow: &Slow, way: &Way, error: &io::Error) {
        if way.is_glutton {
            return;
        }
        if error.kind() != ErrorKind::UnexpectedEof {
            self.sent.reset += 1;
            return;
        }
        let answers = answers::all(&slow.answer).unwrap_or_else(|why| panic!("a slow sender: {why}"));
        if is_turned_away(&answers) {
            self.sent.turned_away += 1;
            return;
        }
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, way.last, "to {:?}", String::from_utf8_lossy(&way.first[..way.first.len().min(200)]));
        self.sent.count(&answers);
    }
}

impl Slow {
    fn open(address: &str, way: &Way) -> Self {
        let mut stream = connect(address);
        // It may be turned away before it has said this.
        let _ = stream.write_all(&way.first);
        stream.set_nonblocking(true).unwrap();
        Self { stream, sent: 0, answer: Vec::new() }
    }

    /// Takes what has been answered, and sends the next byte. The error says that the connection has ended.
    fn go_on(&mut self, way: &Way) -> io::Result<()> {
        if way.is_glutton {
            let mouthful = way.then.iter().cycle().skip(self.sent % way.then.len()).take(MOUTHFUL);
            self.sent += would_block(self.stream.write(&mouthful.copied().collect::<Vec<_>>()))?.unwrap_or(0);
            return Ok(());
        }
        let mut piece = [0; 1024];
        while let Some(read) = would_block(self.stream.read(&mut piece))? {
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.answer.extend(&piece[..read]);
        }
        if let Some(byte) = way.then.iter().cycle().nth(self.sent) {
            // It may have been answered meanwhile, which the next read says.
            self.sent += usize::from(self.stream.write(&[*byte]).is_ok());
        }
        Ok(())
    }
}

/// What there is, if it is there now.
fn would_block<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
