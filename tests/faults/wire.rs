//! What travels: events, and the HTTP/1.1 messages that carry them, each with a `content-length`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Event `number` of queue `queue`. A queue's events are numbered from 0 in the order in which they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct Event {
    pub(crate) queue: usize,
    pub(crate) number: u64,
}

/// A message as it was received: a head with its empty line, and a body.
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) head: usize,
}

impl Message {
    pub(crate) fn event(&self) -> Event {
        serde_json::from_slice(&self.bytes[self.head..]).expect("a request whose body is an event")
    }
}

/// One end of a connection. What has come of the next message waits in `ahead`.
pub(crate) struct Wire {
    pub(crate) stream: Arc<TcpStream>,
    ahead: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream: Arc::new(stream), ahead: Vec::new() })
    }

    /// The next whole message. `None` if the other end has gone, in the middle of one or not: what is cut off counts for nothing.
    pub(crate) fn receive(&mut self) -> Option<Message> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(head) = head_of(&self.ahead) {
                let whole = head + length_of(&self.ahead[..head]);
                if self.ahead.len() >= whole {
                    let rest = self.ahead.split_off(whole);
                    return Some(Message { bytes: std::mem::replace(&mut self.ahead, rest), head });
                }
            }
            match (&*self.stream).read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.ahead.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        (&*self.stream).write_all(bytes)
    }

    /// Reads until the other end goes, and answers nothing.
    pub(crate) fn ignore(&self) {
        let _ = io::copy(&mut &*self.stream, &mut io::sink());
    }

    /// Ends the connection with a reset in place of an end in order.
    pub(crate) fn reset(self) {
        reset_when_closed(&self.stream);
    }
}

/// Makes the close of a connection a reset.
pub(crate) fn reset_when_closed(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}

fn head_of(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn length_of(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|length| length.trim().parse().ok()).expect("a message with a length")
}
