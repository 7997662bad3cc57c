//! Delivers events over HTTP or HTTPS, each as one `POST` with a JSON body.
//!
//! A [`Webhook`] makes exactly one attempt per write and says in its answer whether another one makes sense. Queueing,
//! retrying and circuit breaking are the business of the stages in front of it.
//!
//! | answer of the endpoint | result of the write |
//! |---|---|
//! | 2xx | `Ok` |
//! | 408, 425, 429, 5xx, a number outside HTTP's range | transient, with the answer's `Retry-After` |
//! | other 4xx, 3xx (never followed) | permanent |
//! | none: timeout, refused or reset connection, unknown host, failed TLS handshake, not HTTP | transient |
//!
//! A failure's [`cause`](crate::Failure::cause) is a [`DeliveryError`]. Transient failures can hide a delivery: an
//! endpoint that was cut off before it could answer may have processed the event, so delivery is at least once.

mod answer;
mod builder;
mod endpoint;
mod error;
mod hosts;

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use ureq::http::HeaderMap;
use ureq::{Agent, Body};

use crate::delivery::Delivery;
use crate::error::{CloseError, Failure, WriteError};
use crate::name::Name;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::mutation;
use crate::telemetry::Topology;

pub use builder::WebhookBuilder;
use endpoint::Endpoint;
pub use error::{DeliveryError, WebhookError};
use hosts::Hosts;

/// How many bytes of an answer's body are read. A connection can serve the next event only when the body has been read
/// to its end; beyond this size a new connection costs less than the rest of the body.
const MAX_ANSWER: u64 = 64 * 1024;

/// A leaf sink that posts each event as JSON to one URL.
///
/// Connections are kept and used again, and so is the address of the host: for ten seconds, or until a connection fails. A write blocks until the endpoint has answered, for the
/// [timeout](WebhookBuilder::timeout) at most, so put a queue in front of it.
///
/// ```
/// # use std::{io::Read, thread};
/// use sinkworks::Sink;
/// use sinkworks::webhook::Webhook;
///
/// #[derive(serde::Serialize)]
/// struct Pushed {
///     repository: &'static str,
///     tag: &'static str,
/// }
///
/// # let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
/// # let url = format!("http://{}/hook", server.server_addr());
/// # let received = thread::spawn(move || {
/// #     let (mut request, mut body) = (server.recv().unwrap(), String::new());
/// #     request.as_reader().read_to_string(&mut body).unwrap();
/// #     request.respond(tiny_http::Response::empty(204)).unwrap();
/// #     body
/// # });
/// let webhook = Webhook::new(&url)?;
/// webhook.write(&Pushed { repository: "library/alpine", tag: "3" })?;
/// # let received = received.join().unwrap();
/// assert_eq!(received, r#"{"repository":"library/alpine","tag":"3"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Webhook {
    agent: Agent,
    hosts: Hosts,
    endpoint: Endpoint,
    headers: HeaderMap,
    max_retry_after: Duration,
    closed: AtomicBool,
    id: SinkId,
    name: Name,
}

impl Webhook {
    /// A webhook for `url` with the default options.
    ///
    /// # Errors
    ///
    /// A [`WebhookError`] that says what is wrong with the URL: it must be absolute, with the scheme `http` or `https`.
    ///
    /// ```
    /// use sinkworks::webhook::{Webhook, WebhookError};
    ///
    /// assert_eq!(Webhook::new("example.com/hook").unwrap_err(), WebhookError::NotAbsolute);
    /// ```
    pub fn new(url: &str) -> Result<Self, WebhookError> {
        Self::builder(url).build()
    }

    /// Starts to build a webhook for `url`. Everything is checked in [`build`](WebhookBuilder::build).
    pub fn builder(url: &str) -> WebhookBuilder {
        WebhookBuilder::new(url)
    }

    fn post(&self, body: &[u8]) -> Result<(), WriteError> {
        let mut request = self.agent.post(self.endpoint.uri());
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.headers);
        }
        let response = request.send(body).map_err(|error| {
            // The host may have moved.
            self.hosts.forget();
            Failure::transient(DeliveryError::from_client(error))
        })?;
        let (parts, body) = response.into_parts();
        discard(body);
        answer::judge(parts.status.as_u16(), || {
            answer::retry_after(&parts.headers, SystemTime::now(), self.max_retry_after)
        })
    }
}

impl<E: Serialize + ?Sized> Sink<E> for Webhook {
    fn try_write(&self, event: &E, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        // Acquire, with the Release below: whoever sees the close also sees what its caller did before.
        if self.closed.load(Ordering::Acquire) && !mutation!("webhook_sees_the_close") {
            return Err(WriteError::Closed);
        }
        // The body is made in memory before anything is sent, so that an event that cannot be encoded leaves no half
        // request behind, and the request has a length that the simplest receiver understands.
        let body = serde_json::to_vec(event).map_err(|error| Failure::permanent(DeliveryError::Encode(error)))?;
        self.post(&body)
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        // Release, with the Acquire above.
        self.closed.store(true, Ordering::Release);
        Poll::Ready(Ok(CloseReport::new()))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    fn describe(&self, topology: &mut Topology) {
        // Without its URL, which may have a secret in it.
        topology.leaf(Some(self.id), "webhook", &self.name);
    }
}

/// Shows where the events go, without credentials, path, query or headers: any of them may be a secret.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// Reads the body of an answer so that the connection can be used again. How that ends changes nothing: the status
/// line has already said what became of the event.
fn discard(mut body: Body) {
    let _ = io::copy(&mut body.as_reader().take(MAX_ANSWER), &mut io::sink());
}
