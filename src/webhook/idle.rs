//! Connections that wait for the next event.
//!
//! The HTTP client keeps connections itself, but what it does for each request costs more than the rest of a post (S9 in `benches/README.md`).
//! So what the client has connected, with a proxy where need be, is taken out of its hands when it has read the first answer and would keep the
//! connection. Every request after that is an [`exchange`](super::exchange).
//!
//! The client asks a connection that it would keep whether it is open. That is the moment: [`Kept`] hands over what it wraps and says no.
//!
//! What is encrypted stays the client's. There, bytes that nobody has asked for may lie in several buffers, most of them out of sight, and what the client takes is small beside the
//! encryption.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

/// How long a connection may wait. Endpoints close what waits longer than their own limit, mostly a minute; the shorter the wait, the rarer is a request that is
/// sent just when they do.
const LONGEST: Duration = Duration::from_secs(15);

/// How many may wait. More than one does only where more than one write of a webhook runs at a time.
const MOST: usize = 3;

/// A handle: clones share the connections.
#[derive(Clone, Default)]
pub(super) struct Idle(Arc<Mutex<Vec<Waiting>>>);

struct Waiting {
    connection: Box<dyn Transport>,
    since: Instant,
}

impl Idle {
    /// The connection that was used last, if it is still open.
    pub(super) fn take(&self, now: Instant) -> Option<Box<dyn Transport>> {
        loop {
            let Waiting { mut connection, since } = self.waiting().pop()?;
            if now.saturating_duration_since(since) < LONGEST && connection.is_open() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose last answer has been read to its end, unless something has come after that.
    pub(super) fn keep(&self, mut connection: Box<dyn Transport>, now: Instant) {
        if !connection.buffers().input().is_empty() || !connection.is_open() {
            return;
        }
        let mut waiting = self.waiting();
        waiting.retain(|other| now.saturating_duration_since(other.since) < LONGEST);
        if waiting.len() < MOST {
            waiting.push(Waiting { connection, since: now });
        }
    }

    /// Closes those that wait.
    pub(super) fn clear(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        drop(waiting);
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle").finish_non_exhaustive()
    }
}

/// The last of the client's connectors: wraps what the others have made.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) idle: Idle,
    /// Whether connections may go through a proxy.
    pub(super) proxied: bool,
}

impl<In: Transport> Connector<In> for Keeping {
    type Out = Kept;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Kept>, Error> {
        // The client connects to a proxy as if there were none. What comes of that is a part of the connection only.
        let is_part = self.proxied && details.config.proxy().is_none();
        Ok(chained.map(|connection| Kept {
            idle: (!is_part && !connection.is_tls()).then(|| self.idle.clone()),
            connection: Some(Box::new(connection)),
            nothing: LazyBuffers::new(1, 1),
        }))
    }
}

/// A connection during its first request.
pub(super) struct Kept {
    /// `None`: it waits for the next event, and the client is about to drop this.
    connection: Option<Box<dyn Transport>>,
    idle: Option<Idle>,
    nothing: LazyBuffers,
}

impl Kept {
    fn connection(&mut self) -> Result<&mut dyn Transport, Error> {
        match &mut self.connection {
            Some(connection) => Ok(&mut **connection),
            None => Err(io::Error::from(io::ErrorKind::NotConnected).into()),
        }
    }
}

impl Transport for Kept {
    fn buffers(&mut self) -> &mut dyn Buffers {
        match &mut self.connection {
            Some(connection) => connection.buffers(),
            None => &mut self.nothing,
        }
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.connection()?.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.connection()?.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        match (self.connection.take(), &self.idle) {
            (Some(connection), Some(idle)) => {
                idle.keep(connection, Instant::now());
                false
            }
            (connection, _) => {
                self.connection = connection;
                self.connection.as_mut().is_some_and(Transport::is_open)
            }
        }
    }

    fn is_tls(&self) -> bool {
        self.connection.as_ref().is_some_and(Transport::is_tls)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}
