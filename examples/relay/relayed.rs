//! An event as the listening relay holds it, from whichever format, and as each endpoint is sent it, alone or with others.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sinkworks::webhook::formats::cloud_event::{self, CloudEvent, InvalidEvent};
use sinkworks::webhook::formats::{EncodeError, Format, Json, Message, registry};

use crate::config::{Endpoint, Filter, FormatName};

/// Shared: every queue holds it.
pub(crate) type Shared = Arc<Relayed>;

pub(crate) struct Relayed {
    /// The `webhook-id`, wherever and however often it is sent.
    pub(crate) id: String,
    pub(crate) content: Content,
    /// For which endpoints it is, in the order of the file.
    routes: Vec<bool>,
    size: u64,
}

/// The event, in what came in.
pub(crate) enum Content {
    Json(Box<RawValue>),
    CloudEvent(Box<CloudEvent>),
    Registry(Box<registry::Event>),
}

impl Content {
    /// A registry's event, unless its id, its action or its repository can be in no `CloudEvent`, as which an endpoint may want it.
    pub(crate) fn registry(event: registry::Event) -> Result<Self, InvalidEvent> {
        of_registry("source", &event).validate()?;
        Ok(Self::Registry(Box::new(event)))
    }
}

/// What a registry's event is as a `CloudEvent`, but for its data.
fn of_registry(source: &str, event: &registry::Event) -> CloudEvent {
    let cloud_event = CloudEvent::new(&event.id, source, format!("registry.{}", event.action));
    let subject = &event.target.repository;
    if subject.is_empty() { cloud_event } else { cloud_event.with_subject(subject) }
}

impl Relayed {
    pub(crate) fn new(content: Content, endpoints: &[Endpoint]) -> Self {
        Self::with_id(new_id(), content, endpoints)
    }

    /// An event that has been here before.
    pub(crate) fn with_id(id: String, content: Content, endpoints: &[Endpoint]) -> Self {
        // Made once, and only if a filter asks. What is nested deeper than the parser goes has no value, and passes no filter.
        let mut value = None;
        let routes = endpoints.iter().map(|endpoint| {
            let suits = endpoint.format != FormatName::Registry || matches!(content, Content::Registry(_));
            suits
                && endpoint
                    .filter
                    .as_ref()
                    .is_none_or(|filter| filter.passes(value.get_or_insert_with(|| to_value(&content)).as_ref()))
        });
        let routes = routes.collect();
        Self { size: size_of(&content), id, routes, content }
    }

    pub(crate) fn is_for(&self, endpoint: usize) -> bool {
        self.routes.get(endpoint).copied().unwrap_or_default()
    }

    /// About what it takes in memory, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(value) => value.serialize(serializer),
            Self::CloudEvent(event) => event.serialize(serializer),
            Self::Registry(event) => event.serialize(serializer),
        }
    }
}

fn to_value(content: &Content) -> Option<Value> {
    serde_json::to_value(content).ok()
}

impl Filter {
    fn passes(&self, event: Option<&Value>) -> bool {
        event.and_then(|event| event.pointer(&self.field)).is_some_and(|value| self.values.contains(value))
    }
}

/// The length of the event as JSON, and what is around it.
fn size_of(content: &Content) -> u64 {
    struct Length(u64);
    impl Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(256);
    // What cannot be written as JSON is refused by each endpoint.
    let _ = serde_json::to_writer(&mut length, content);
    length.0
}

/// An id that no other event has, of this run of the relay or of another.
fn new_id() -> String {
    static RUN: OnceLock<u128> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let run = RUN.get_or_init(|| fastrand::u128(..));
    format!("relay_{run:032x}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// How an endpoint wants its events.
pub(crate) struct AsEndpointWants {
    pub(crate) format: FormatName,
    /// The `source` and the `type` of what was no `CloudEvent` and becomes one.
    pub(crate) source: String,
    pub(crate) kind: String,
}

impl AsEndpointWants {
    fn cloud_event(&self, event: &Relayed) -> Result<CloudEvent, EncodeError> {
        match &event.content {
            Content::CloudEvent(event) => Ok((**event).clone()),
            Content::Json(value) => Ok(CloudEvent::new(&event.id, &self.source, &self.kind).with_json(value)?),
            Content::Registry(event) => Ok(of_registry(&self.source, event).with_json(event)?),
        }
    }
}

/// A batch in one message. Only a message of one event has that event's id: the same event may be sent again with others, and is another message then. What is in a batch
/// has ids of its own.
impl Format<[Shared]> for AsEndpointWants {
    fn content_type(&self) -> &'static str {
        match self.format {
            FormatName::CloudeventsStructured => cloud_event::BATCH_MEDIA_TYPE,
            _ => <Self as Format<Shared>>::content_type(self),
        }
    }

    fn encode(&self, events: &[Shared], message: &mut Message) -> Result<(), EncodeError> {
        if let [event] = events {
            message.set_id(&event.id);
        }
        match self.format {
            FormatName::CloudeventsStructured => {
                let events = events.iter().map(|event| self.cloud_event(event)).collect::<Result<Vec<_>, _>>()?;
                cloud_event::Batch.encode(&events[..], message)
            }
            FormatName::Registry => {
                let events = events.iter().map(notification).collect::<Result<Vec<_>, _>>()?;
                registry::Notifications.encode(&events[..], message)
            }
            FormatName::Json | FormatName::CloudeventsBinary => Err(EncodeError::other("the format has no batches")),
        }
    }
}

fn notification(event: &Shared) -> Result<&registry::Event, EncodeError> {
    match &event.content {
        Content::Registry(event) => Ok(event),
        _ => Err(EncodeError::other("it is no notification of a registry")),
    }
}

impl Format<Shared> for AsEndpointWants {
    fn content_type(&self) -> &'static str {
        match self.format {
            FormatName::Json | FormatName::CloudeventsBinary => "application/json",
            FormatName::CloudeventsStructured => cloud_event::MEDIA_TYPE,
            FormatName::Registry => registry::MEDIA_TYPE,
        }
    }

    fn encode(&self, event: &Shared, message: &mut Message) -> Result<(), EncodeError> {
        message.set_id(&event.id);
        match (self.format, &event.content) {
            (FormatName::Json, content) => Json.encode(content, message),
            (FormatName::CloudeventsStructured, _) => {
                cloud_event::Structured.encode(&self.cloud_event(event)?, message)
            }
            (FormatName::CloudeventsBinary, _) => cloud_event::Binary.encode(&self.cloud_event(event)?, message),
            (FormatName::Registry, _) => registry::Notifications.encode(notification(event)?, message),
        }
    }
}
