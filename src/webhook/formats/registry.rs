//! The notifications of a Docker registry ([distribution](https://distribution.github.io/distribution/about/notifications)): an envelope with one event or several.
//!
//! A registry posts them to its endpoints; [`Envelope::parse`] reads what it has posted, and [`Notifications`] writes the same.
//!
//! ```
//! use sinkworks::webhook::formats::registry::Envelope;
//!
//! let body = br#"{"events": [{
//!     "id": "320678d8-ca14-430f-8bb6-4ca139cd83f7",
//!     "timestamp": "2016-03-09T14:44:26.402973972-08:00",
//!     "action": "pull",
//!     "target": {"digest": "sha256:fea8895f450959fa676bcc1df0611ea93823a735a01205fd8622846041d0c7cf", "repository": "hello-world"}
//! }]}"#;
//! let envelope = Envelope::parse(body, 1_000)?;
//! assert_eq!(envelope.events[0].action, "pull");
//! assert_eq!(envelope.events[0].target.repository, "hello-world");
//! # Ok::<(), sinkworks::webhook::formats::registry::EnvelopeError>(())
//! ```

use std::borrow::Borrow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::bounded::Bounded;
use super::malformed::{Malformed, text};
use super::{EncodeError, Format, Message};

/// The media type of an envelope. Registries of version 3 say `…events.v2+json` for the same with more members.
pub const MEDIA_TYPE: &str = "application/vnd.docker.distribution.events.v1+json";
/// The media type that registries of version 3 send.
pub const MEDIA_TYPE_V2: &str = "application/vnd.docker.distribution.events.v2+json";

/// One event or several in one request. They need not have to do with each other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Envelope {
    /// The events.
    pub events: Vec<Event>,
}

/// What happened in a registry. Members that version 2 of the registry does not have are not kept.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Tells the event from all others.
    pub id: String,
    /// When it happened, as RFC 3339 has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub timestamp: String,
    /// `pull`, `push`, `mount` or `delete`.
    pub action: String,
    /// What it happened to.
    pub target: Target,
    /// The request that made it happen.
    pub request: Request,
    /// Who made it happen.
    pub actor: Actor,
    /// Where it happened.
    pub source: Source,
}

/// What an event happened to: a blob, a manifest, a tag, a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Target {
    /// The media type of the content.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The size of the content in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// The digest of the content: `sha256:…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The same as `size`.
    #[serde(skip_serializing_if = "is_zero")]
    pub length: u64,
    /// The name of the repository.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repository: String,
    /// The repository that a blob was mounted from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from_repository: String,
    /// Where the content can be fetched.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// The tag of a manifest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// What a manifest refers to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
}

/// What a manifest refers to: a layer, a configuration, another manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Reference {
    /// The media type of the content.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The size of the content in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// The digest of the content.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Where else the content can be fetched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

/// The request that made an event happen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Tells the request from all others.
    pub id: String,
    /// The address of the client.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub addr: String,
    /// The name of the registry, as the client called it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The method of the request.
    pub method: String,
    /// The client's program.
    #[serde(rename = "useragent")]
    pub user_agent: String,
}

/// Who made an event happen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// The user's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// The node of the registry where an event happened.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Source {
    /// Its host and port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub addr: String,
    /// The running process: another one after each start.
    #[serde(rename = "instanceID", skip_serializing_if = "String::is_empty")]
    pub instance_id: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(size: &u64) -> bool {
    *size == 0
}

/// Without who did it and from where.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("id", &self.id).field("action", &self.action).finish_non_exhaustive()
    }
}

/// Why a body is no envelope. The text has nothing of the body in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The body is not the JSON that it should be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The body has no member `events`: it is something else.
    #[error("the body has no events")]
    NoEvents,
    /// The event at this index has no id or no action.
    #[error("the event at index {index} has no id or no action")]
    Incomplete {
        /// The place of the event in the envelope, from 0.
        index: usize,
    },
    /// The envelope has more events than allowed, or an event more references than 1,000.
    #[error("there are too many events or references")]
    TooMany,
}

/// How many references an event may have that is read.
const MAX_REFERENCES: usize = 1_000;

impl Envelope {
    /// Reads an envelope with at most `max_events` events. Members that are not known are passed over.
    ///
    /// # Errors
    ///
    /// An [`EnvelopeError`] that says where the body is malformed, or what is missing.
    pub fn parse(body: &[u8], max_events: usize) -> Result<Self, EnvelopeError> {
        let mut deserializer = serde_json::Deserializer::from_str(text(body)?);
        let parsed = Parse { max_events }.deserialize(&mut deserializer).map_err(Malformed::from)?;
        deserializer.end().map_err(Malformed::from)?;
        let events = parsed.ok_or(EnvelopeError::NoEvents)?.ok_or(EnvelopeError::TooMany)?;
        if let Some(index) = events.iter().position(|event| event.id.is_empty() || event.action.is_empty()) {
            return Err(EnvelopeError::Incomplete { index });
        }
        if events.iter().any(|event| event.target.references.len() > MAX_REFERENCES) {
            return Err(EnvelopeError::TooMany);
        }
        Ok(Self { events })
    }
}

/// The events, `None` where there are too many, or `None` around it where there is no member `events`.
type Parsed = Option<Option<Vec<Event>>>;

struct Parse {
    max_events: usize,
}

impl<'de> DeserializeSeed<'de> for Parse {
    type Value = Parsed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Parse {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let mut events = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == "events" {
                // The last one counts, as in Go.
                events = Some(map.next_value_seed(Bounded::new(self.max_events))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(events)
    }
}

/// The format of a registry's notifications: an envelope for each event, or for each slice of events. Whole [`Envelope`]s are written as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notifications;

#[derive(Serialize)]
struct Borrowed<'a> {
    events: &'a [&'a Event],
}

impl<E: Borrow<Event>> Format<E> for Notifications {
    fn content_type(&self) -> &'static str {
        MEDIA_TYPE
    }

    fn encode(&self, event: &E, message: &mut Message) -> Result<(), EncodeError> {
        message.write_json(&Borrowed { events: &[event.borrow()] })
    }
}

impl<E: Borrow<Event>> Format<[E]> for Notifications {
    fn content_type(&self) -> &'static str {
        MEDIA_TYPE
    }

    fn encode(&self, events: &[E], message: &mut Message) -> Result<(), EncodeError> {
        let events: Vec<&Event> = events.iter().map(Borrow::borrow).collect();
        message.write_json(&Borrowed { events: &events })
    }
}

impl Format<Envelope> for Notifications {
    fn content_type(&self) -> &'static str {
        MEDIA_TYPE
    }

    fn encode(&self, envelope: &Envelope, message: &mut Message) -> Result<(), EncodeError> {
        message.write_json(envelope)
    }
}
