//! What an event looks like in a request: raw JSON, `CloudEvents`, a Docker registry's notifications, or a format of yours.
//!
//! A [`Format`] writes an event into a [`Message`]. [`Json`] is what a webhook has unless told otherwise; [`mapped`] puts a function in front of a format,
//! for events of other types. The types of [`cloud_event`] and [`registry`] are also read back, by receivers.
//!
//! ```
//! # use std::{io::Read, thread};
//! use sinkworks::Sink;
//! use sinkworks::webhook::Webhook;
//! use sinkworks::webhook::formats::{cloud_event, mapped};
//!
//! #[derive(serde::Serialize)]
//! struct Order {
//!     number: u32,
//! }
//!
//! let as_cloud_event = |order: &Order| {
//!     Ok(cloud_event::CloudEvent::new(order.number.to_string(), "/shop", "com.example.order").with_json(order)?)
//! };
//! # let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
//! # let url = format!("http://{}/hook", server.server_addr());
//! # let received = thread::spawn(move || {
//! #     let (mut request, mut body) = (server.recv().unwrap(), String::new());
//! #     request.as_reader().read_to_string(&mut body).unwrap();
//! #     request.respond(tiny_http::Response::empty(204)).unwrap();
//! #     body
//! # });
//! let webhook = Webhook::builder(&url).allow_loopback().format(mapped(as_cloud_event, cloud_event::Structured)).build()?;
//! webhook.write(&Order { number: 7 })?;
//! # let received = received.join().unwrap();
//! let event = cloud_event::CloudEvent::from_json(received.as_bytes())?;
//! assert_eq!((event.id(), event.kind()), ("7", "com.example.order"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bounded;
pub mod cloud_event;
mod malformed;
mod message;
pub mod registry;
mod time;

use std::fmt;

use serde::Serialize;

pub use malformed::{Malformed, ParseError};
pub(super) use message::ContentType;
pub use message::{EncodeError, Message};

/// Writes an event into the message that is sent for it.
///
/// ```
/// use std::io::Write;
/// use sinkworks::webhook::formats::{EncodeError, Format, Message};
///
/// /// One line of text for each event.
/// struct Lines;
///
/// impl Format<String> for Lines {
///     fn content_type(&self) -> &'static str {
///         "text/plain; charset=utf-8"
///     }
///     fn encode(&self, event: &String, message: &mut Message) -> Result<(), EncodeError> {
///         writeln!(message, "{event}").map_err(EncodeError::other)
///     }
/// }
/// # let webhook = sinkworks::webhook::Webhook::builder("https://example.com/").format(Lines).build();
/// # assert!(webhook.is_ok());
/// ```
pub trait Format<E: ?Sized>: Send + Sync {
    /// The `content-type` of a message. One that the webhook's builder was given as a header counts for more, and one that a message has
    /// [of its own](Message::set_content_type) for most. It must be one line of ASCII.
    fn content_type(&self) -> &'static str;

    /// Writes `event` into `message`, which is empty. It is called anew for each attempt and must write the same each time.
    ///
    /// # Errors
    ///
    /// An [`EncodeError`]: the event cannot be written, now and at any other time. The webhook then fails for good, and nothing is sent.
    fn encode(&self, event: &E, message: &mut Message) -> Result<(), EncodeError>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<E: ?Sized, F: Format<E> + ?Sized> Format<E> for $pointer {
            fn content_type(&self) -> &'static str {
                (**self).content_type()
            }
            fn encode(&self, event: &E, message: &mut Message) -> Result<(), EncodeError> {
                (**self).encode(event, message)
            }
        }
    )*};
}

forward!(&F, Box<F>, std::sync::Arc<F>);

/// The event as JSON, as its `Serialize` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Json;

impl<E: Serialize + ?Sized> Format<E> for Json {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn encode(&self, event: &E, message: &mut Message) -> Result<(), EncodeError> {
        message.write_json(event)
    }
}

/// What `map` makes of an event, in another format. Its error is that of the event, for good.
pub fn mapped<M, F>(map: M, format: F) -> Mapped<M, F> {
    Mapped { map, format }
}

/// The format that [`mapped`] makes.
#[derive(Clone, Copy)]
pub struct Mapped<M, F> {
    map: M,
    format: F,
}

impl<E: ?Sized, T, M, F> Format<E> for Mapped<M, F>
where
    M: Fn(&E) -> Result<T, EncodeError> + Send + Sync,
    F: Format<T>,
{
    fn content_type(&self) -> &'static str {
        self.format.content_type()
    }

    fn encode(&self, event: &E, message: &mut Message) -> Result<(), EncodeError> {
        self.format.encode(&(self.map)(event)?, message)
    }
}

impl<M, F: fmt::Debug> fmt::Debug for Mapped<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("format", &self.format).finish_non_exhaustive()
    }
}

/// The format that [`WebhookBuilder::id_from`](super::WebhookBuilder::id_from) makes: another one, with an id for each event.
#[derive(Clone, Copy)]
pub struct Identified<I, F> {
    id: I,
    format: F,
}

impl<I, F> Identified<I, F> {
    pub(super) fn new(id: I, format: F) -> Self {
        Self { id, format }
    }
}

impl<E: ?Sized, I, F> Format<E> for Identified<I, F>
where
    I: Fn(&E) -> String + Send + Sync,
    F: Format<E>,
{
    fn content_type(&self) -> &'static str {
        self.format.content_type()
    }

    fn encode(&self, event: &E, message: &mut Message) -> Result<(), EncodeError> {
        self.format.encode(event, message)?;
        message.set_id((self.id)(event));
        Ok(())
    }
}

impl<I, F: fmt::Debug> fmt::Debug for Identified<I, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identified").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Whether a media type says that the content is JSON: its subtype is `json`, or ends with `+json`.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let Some((_, subtype)) = essence.split_once('/') else { return false };
    let suffix = |end: &str| {
        subtype.len() >= end.len()
            && subtype.as_bytes()[subtype.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
    };
    subtype.eq_ignore_ascii_case("json") || suffix("+json")
}
