//! Delivers events over HTTP or HTTPS, each as one request: signed, in a format of choice, and to nowhere that it should not go.
//!
//! A [`Webhook`] makes exactly one attempt per write and says in its answer whether another one makes sense. Queueing,
//! retrying and circuit breaking are the business of the stages in front of it.
//!
//! ```
//! # use std::thread;
//! use std::time::Duration;
//! use sinkworks::webhook::Webhook;
//! use sinkworks::webhook::signature::{Secret, Signer, Verifier};
//! use sinkworks::{Breaker, Shutdown, Sink, SinkExt};
//!
//! # let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
//! # let url = format!("http://{}/hook", server.server_addr());
//! let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
//! let webhook = Webhook::builder(&url)
//!     .signer(Signer::new(secret.clone()))
//!     .timeout(Duration::from_secs(10))
//!     .allow_loopback() // the endpoint of this example is on the same machine
//!     .build()?;
//! let events = webhook.retrying(Breaker::new(5, Duration::from_secs(1))).queued();
//! # let receiver = thread::spawn(move || {
//! #     let (mut request, mut body) = (server.recv().unwrap(), Vec::new());
//! #     request.as_reader().read_to_end(&mut body).unwrap();
//! #     let headers: Vec<_> = request.headers().iter().map(|h| (h.field.as_str().as_str().to_lowercase(), h.value.to_string())).collect();
//! #     request.respond(tiny_http::Response::empty(204)).unwrap();
//! #     (headers, body)
//! # });
//! events.write(&vec!["library/alpine", "3"])?;
//! events.close(Shutdown::within(Duration::from_secs(5)))?;
//!
//! // What the receiver does with the headers and the body that it has got.
//! # let (headers, body) = receiver.join().unwrap();
//! let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
//! let id = Verifier::new(secret).verify(header, &body)?;
//! assert_eq!(body, br#"["library/alpine","3"]"#);
//! assert!(id.starts_with("msg_"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Answers
//!
//! | answer of the endpoint | result of the write |
//! |---|---|
//! | 2xx, or the [statuses chosen](WebhookBuilder::success_statuses) | `Ok` |
//! | 408, 425, 429, 5xx, a number outside HTTP's range | transient, with the answer's `Retry-After` up to a [cap](WebhookBuilder::max_retry_after) |
//! | 410 (Gone) | [`Closed`](crate::WriteError::Closed), for this event and all that follow: [`is_gone`](Webhook::is_gone) |
//! | other 4xx, 3xx (never followed), 2xx that are not among those chosen | permanent |
//! | none: timeout, refused or reset connection, unknown host, failed TLS handshake, not HTTP | transient |
//! | not sent: no address of the host is allowed | transient |
//! | not sent: cannot be encoded, too large, has no valid id | permanent |
//!
//! A failure's [`cause`](crate::Failure::cause) is a [`DeliveryError`]. Transient failures can hide a delivery: an
//! endpoint that was cut off before it could answer may have processed the event, so delivery is at least once. A signed event keeps its `webhook-id`, by which a
//! receiver tells a repetition.
//!
//! # Where it connects
//!
//! Only to public addresses, unless the [`AddressPolicy`] allows others: whoever may name an endpoint would otherwise reach what only this machine can. An
//! address in the URL is refused when the webhook is built. For a name, the address is looked at that is about to be connected to, at each
//! connection, so that a name that stands for another address the next time (DNS rebinding) wins nothing. A refused name is a *transient* failure: a look-up that goes wrong for a
//! minute (a captive portal, a filter that answers 0.0.0.0) must not cost events, and an attempt sends nothing. How long it is repeated is the retry limit's business.
//!
//! # What is sent
//!
//! A [format](formats) makes body and headers of an event. What it may set as a header is checked: a line break, or a header that frames the request, is an
//! error and never sent. The body has a [limit](WebhookBuilder::max_body). [Signatures](signature) are those of Standard Webhooks. Secrets, headers and URLs are in no text form,
//! error, label or metric. (The HTTP client tells the crate `log` whole heads of requests, at
//! level trace only: leave that level out for `ureq_proto`, or compile it out, as `log`'s feature `release_max_level_debug` does.)
//!
//! # What it costs
//!
//! A post over loopback to a receiver that answers at once takes 27 µs on 2 cores of an Intel Xeon (`cargo bench -p components --bench webhook`), most of them the system's: a look whether the
//! connection is open, a write, a wait, a read. An open connection has 28 KiB of buffers, twice that with TLS; a webhook keeps one for each
//! write at a time, three at most.

mod address;
mod answer;
mod builder;
mod connect;
mod endpoint;
mod error;
mod exchange;
pub mod formats;
mod hosts;
mod identity;
mod idle;
pub mod signature;
mod tls;

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use ureq::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ureq::http::{self, HeaderMap, HeaderValue};
use ureq::{Agent, Body};

use crate::delivery::Delivery;
use crate::error::{Class, CloseError, Failure, WriteError};
use crate::name::Name;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::mutation;
use crate::telemetry::Topology;

pub use address::{AddressKind, AddressPolicy, Network, NetworkError, RefusedAddress};
use answer::{Answer, Statuses};
pub use builder::WebhookBuilder;
use endpoint::Endpoint;
pub use error::{DeliveryError, WebhookError};
use exchange::Prelude;
use formats::{ContentType, Format, Json, Message};
use hosts::Hosts;
use identity::{MessageIds, MessageNumber};
use idle::Idle;
use signature::Signer;

/// How many bytes of an answer's body are read. A connection can serve the next event only when the body has been read
/// to its end; beyond this size a new connection costs less than the rest of the body.
const MAX_ANSWER: u64 = 64 * 1024;

/// A leaf sink that posts each event to one URL: as JSON, or in another [format](formats).
///
/// Connections are kept and used again, for as long as the pauses are shorter than 15 seconds. The address of the host is looked up again after ten seconds, or when a connection has failed, for the
/// next connection: one in steady use stays where it is. A write blocks until the endpoint has answered, for the
/// [timeout](WebhookBuilder::timeout) at most, so put a queue in front of it.
///
/// With a format for slices it is a sink of batches: `Webhook<Notifications>` takes `[Event]`.
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
/// let webhook = Webhook::builder(&url).allow_loopback().build()?;
/// webhook.write(&Pushed { repository: "library/alpine", tag: "3" })?;
/// # let received = received.join().unwrap();
/// assert_eq!(received, r#"{"repository":"library/alpine","tag":"3"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Webhook<F = Json> {
    agent: Agent,
    hosts: Hosts,
    idle: Idle,
    endpoint: Endpoint,
    method: http::Method,
    prelude: Prelude,
    timeout: Duration,
    headers: HeaderMap,
    format: F,
    /// Whether the headers say what the content is, in place of the format.
    has_content_type: bool,
    success: Statuses,
    max_retry_after: Duration,
    max_body: usize,
    signer: Option<(Signer, MessageIds)>,
    closed: AtomicBool,
    gone: AtomicBool,
    id: SinkId,
    name: Name,
}

impl Webhook {
    /// A webhook for `url` with the default options.
    ///
    /// # Errors
    ///
    /// A [`WebhookError`] that says what is wrong with the URL: it must be absolute, with the scheme `http` or `https`, and have no address that is not public.
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
}

impl<F> Webhook<F> {
    /// Whether the endpoint has answered 410 (Gone): it wants nothing any more. The webhook has closed then.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Signs the message, if it is to be, with the number that its event has got already or a new one.
    fn sign(
        &self,
        message: &Message,
        number: &mut Option<MessageNumber>,
        headers: &mut HeaderMap,
    ) -> Result<(), WriteError> {
        let Some((signer, ids)) = &self.signer else { return Ok(()) };
        let made_up;
        let id = match message.id() {
            Some(id) if signature::is_valid_id(id) => id,
            Some(_) => return Err(Failure::permanent(DeliveryError::Id).into()),
            None => {
                made_up = ids.text(*number.get_or_insert_with(|| ids.next()));
                &made_up
            }
        };
        for (name, value) in signer.sign(id, SystemTime::now(), message.body()) {
            // All three are ASCII.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        Ok(())
    }

    fn post(&self, body: &[u8], headers: HeaderMap) -> Result<(), WriteError> {
        let now = Instant::now();
        let answer = match self.idle.take(now) {
            Some(connection) => {
                let request = exchange::Request { prelude: &self.prelude, headers: &headers, body };
                exchange::post(connection, &request, now + self.timeout, &self.idle)
            }
            None => self.connect_and_post(body, headers),
        };
        let answer = answer.map_err(|error| {
            // The host may have moved.
            self.hosts.forget();
            Failure::transient(error)
        })?;
        answer::judge(answer.status, &self.success, || {
            answer::retry_after(answer.retry_after.as_ref()?, SystemTime::now(), self.max_retry_after)
        })
    }

    /// The first request of a connection is the HTTP client's, which looks up and connects, and so is each that is encrypted.
    fn connect_and_post(&self, body: &[u8], headers: HeaderMap) -> Result<Answer, DeliveryError> {
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.endpoint.uri().clone();
        *request.headers_mut() = headers;
        let response = self.agent.run(request).map_err(DeliveryError::from_client)?;
        let (mut parts, body) = response.into_parts();
        if exchange::is_odd_answer(parts.status.as_u16(), &parts.headers) {
            // The client would use it again. A body that is not read closes its connection; where there is none, it waits already.
            drop(body);
            self.idle.clear();
        } else {
            discard(body);
        }
        Ok(Answer { status: parts.status.as_u16(), retry_after: parts.headers.remove(RETRY_AFTER) })
    }
}

impl<E: ?Sized, F: Format<E>> Sink<E> for Webhook<F> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        // Acquire, with the Release below: whoever sees the close also sees what its caller did before.
        if self.closed.load(Ordering::Acquire) && !mutation!("webhook_sees_the_close") {
            return Err(WriteError::Closed);
        }
        // The body is made in memory before anything is sent, so that an event that cannot be encoded leaves no half
        // request behind, and the request has a length that the simplest receiver understands.
        let mut message = Message::new(self.max_body);
        if let Err(error) = self.format.encode(event, &mut message) {
            let too_large = DeliveryError::TooLarge { max: self.max_body };
            let error = if message.is_too_large() { too_large } else { DeliveryError::Encode(error) };
            return Err(Failure::permanent(error).into());
        }
        let mut headers = self.headers.clone();
        match message.take_content_type() {
            ContentType::Default if self.has_content_type => None,
            ContentType::Default => headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.format.content_type())),
            ContentType::Own(value) => headers.insert(CONTENT_TYPE, value),
            ContentType::None => headers.remove(CONTENT_TYPE),
        };
        for (name, value) in message.take_headers() {
            headers.insert(name, value);
        }
        let mut number = if self.signer.is_some() { delivery.resume() } else { None };
        self.sign(&message, &mut number, &mut headers)?;
        let answer = self.post(message.body(), headers);
        match (&answer, number) {
            // Whoever repeats this write repeats it with the same id.
            (Err(WriteError::Failed(failure)), Some(number)) if failure.class() == Class::Transient => {
                delivery.save(number);
            }
            (Err(WriteError::Closed), _) => {
                self.gone.store(true, Ordering::Relaxed);
                // Release, with the Acquire above: who is refused since then sees why.
                if !mutation!("webhook_gone_is_closed") {
                    self.closed.store(true, Ordering::Release);
                }
                self.idle.clear();
            }
            _ => {}
        }
        answer
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        // Release, with the Acquire above.
        self.closed.store(true, Ordering::Release);
        self.idle.clear();
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
impl<F> fmt::Debug for Webhook<F> {
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

/// The method of a request: those that have a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Method {
    /// `POST`.
    #[default]
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
}

impl From<Method> for http::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Patch => Self::PATCH,
        }
    }
}
