//! A client that sends one numbered event after the other at a steady pace, and does as it is told: an event that was not taken is sent again after the time that the
//! answer names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::answers::{self, Answered};
use super::sender::connect;

/// From one event to the next.
const PACE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Good {
    /// In every of its events.
    pub(super) name: &'static str,
    /// For each event, how long it took until it was accepted.
    pub(super) took: Vec<Duration>,
    /// How often it was told to come later.
    pub(super) told_to_wait: u64,
    /// How often a connection ended without an answer.
    pub(super) unanswered: u64,
}

impl Good {
    /// Goes on until it is over, on one connection or on one for each event.
    pub(super) fn play(address: &str, keeps: bool, over: &AtomicBool) -> Self {
        let name = if keeps { "keeps its connection" } else { "makes a connection for each" };
        let mut good = Self { name, took: Vec::new(), told_to_wait: 0, unanswered: 0 };
        let mut kept = None;
        let mut due = Instant::now();
        while !over.load(Ordering::Relaxed) {
            let began = Instant::now();
            while !good.is_taken(address, &mut kept) {}
            good.took.push(began.elapsed());
            if !keeps {
                kept = None;
            }
            due += PACE;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        good
    }

    /// Its event of this number.
    fn event(&self, number: usize) -> String {
        format!("{{\"good\":true,\"by\":\"{}\",\"number\":{number}}}", self.name)
    }

    fn is_taken(&mut self, address: &str, kept: &mut Option<TcpStream>) -> bool {
        let body = self.event(self.took.len());
        let head = "POST /events HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\n";
        let mut stream = kept.take().unwrap_or_else(|| connect(address));
        let _ = write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len());
        match answer(&mut stream) {
            None => self.unanswered += 1,
            Some(Answered { status: 202, accepted, closes, .. }) => {
                assert_eq!(accepted, 1);
                *kept = Some(stream).filter(|_| !closes);
                return true;
            }
            Some(Answered { status: 429 | 503, retry_after: Some(seconds), .. }) => {
                self.told_to_wait += 1;
                thread::sleep(Duration::from_secs(seconds));
            }
            Some(other) => panic!("a good event was answered with {other:?}"),
        }
        false
    }

    /// Its events that were accepted.
    pub(super) fn taken(&self) -> impl Iterator<Item = String> {
        (0..self.took.len()).map(|number| self.event(number))
    }

    /// The time within which this share of the events was accepted.
    pub(super) fn within(&self, share: f64) -> Duration {
        let mut took = self.took.clone();
        took.sort();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = ((took.len() - 1) as f64 * share) as usize;
        took[index]
    }
}

fn answer(stream: &mut TcpStream) -> Option<Answered> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return None,
            Ok(read) => bytes.extend(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("the relay neither answers nor closes: {error}"),
        }
        if let Some((answer, rest)) = answers::first(&bytes).unwrap() {
            assert!(rest.is_empty());
            return Some(answer);
        }
    }
}
