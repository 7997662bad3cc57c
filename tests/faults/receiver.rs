//! The receiver at the end of the way: keeps a log of every event that reached it, and answers 200.
//!
//! Written for this test, since it must take some thousand requests a second with what its two processors have left.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::crew::{Crew, Door};
use crate::wire::{Event, Wire};

/// A body of some length, so that it can come slowly.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 32\r\n\r\n0123456789abcdef0123456789abcdef";

/// What the receiver has seen.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Every request that was read to its end, in the order in which they were.
    pub(crate) arrived: Vec<Event>,
    /// Those whose answer left the receiver. Whether it went on from there is the proxy's doing.
    pub(crate) acknowledged: Vec<Event>,
}

pub(crate) struct Receiver {
    door: Door,
    crew: Arc<Crew>,
    log: Arc<Mutex<Log>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let (crew, log) = (Arc::new(Crew::default()), Arc::new(Mutex::new(Log::default())));
        let into = log.clone();
        let door = Door::open(([127, 0, 0, 1], 0).into(), crew.clone(), move |stream| {
            let Ok(mut wire) = Wire::new(stream) else { return };
            while let Some(request) = wire.receive() {
                let event = request.event();
                into.lock().unwrap().arrived.push(event);
                if wire.send(ANSWER).is_err() {
                    return;
                }
                into.lock().unwrap().acknowledged.push(event);
            }
        });
        Self { door: door.unwrap(), crew, log }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// The log, when everything that was on its way has come. Whoever is connected must have hung up, or will.
    pub(crate) fn stop(self) -> Log {
        self.door.close();
        self.crew.join();
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}
