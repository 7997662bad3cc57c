//! What is posted to `/events`: which content types there are, the events in each, and what is answered.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;
use sinkworks::webhook::formats::cloud_event::{self, CloudEvent};
use sinkworks::webhook::formats::registry::{self, Envelope, EnvelopeError};
use sinkworks::webhook::formats::{Malformed, ParseError};

use crate::endpoints::{Endpoints, Refused};
use crate::http::{Answer, Head, Service};
use crate::relayed::{Content, Relayed, Shared};

/// How many events one request may have: each takes some hundred bytes beside its text.
const MAX_EVENTS: usize = 10_000;
/// What a sender is asked to wait when a queue is full, in seconds.
const RETRY_AFTER: &str = "1";

/// Takes what is posted.
pub(crate) struct Posts {
    pub(crate) endpoints: Endpoints,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ndjson,
    Json,
    CloudEvent,
    CloudEventBatch,
    CloudEventBinary,
    Registry,
}

impl Kind {
    fn of(head: &Head) -> Option<Self> {
        let media_type = head.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        Some(match media_type.trim().to_ascii_lowercase().as_str() {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Self::Ndjson,
            cloud_event::MEDIA_TYPE => Self::CloudEvent,
            cloud_event::BATCH_MEDIA_TYPE => Self::CloudEventBatch,
            registry::MEDIA_TYPE | registry::MEDIA_TYPE_V2 => Self::Registry,
            // The binary mode has the data's own content type, or none.
            _ if head.header("ce-specversion").is_some() => Self::CloudEventBinary,
            "application/json" => Self::Json,
            _ => return None,
        })
    }
}

impl Service for Posts {
    fn admit(&self, head: &Head) -> Result<(), Answer> {
        if head.path() != "/events" {
            return Err(refusal(404, "there is nothing but /events"));
        }
        if head.method != "POST" {
            return Err(refusal(405, "events are posted").with("allow", "POST"));
        }
        if !head.is_only("content-encoding", "identity") {
            return Err(refusal(415, "a content-encoding is not understood"));
        }
        if Kind::of(head).is_none() {
            let known = [
                "application/x-ndjson",
                "application/json",
                cloud_event::MEDIA_TYPE,
                cloud_event::BATCH_MEDIA_TYPE,
                registry::MEDIA_TYPE,
            ];
            return Err(refusal(415, "the content-type is none of those that are understood")
                .with("accept-post", &known.join(", ")));
        }
        Ok(())
    }

    fn serve(&self, head: &Head, body: &[u8]) -> Answer {
        let events = match events(head, body) {
            Ok(events) => events,
            Err(Unusable::Malformed(why)) => return refusal(400, &why),
            Err(Unusable::TooMany) => return refusal(413, &format!("there are more than {MAX_EVENTS} events")),
        };
        let events = events.into_iter().map(|content| Shared::new(Relayed::new(content, &self.endpoints.specs)));
        let events: Vec<Shared> = events.collect();
        match self.endpoints.take(&events) {
            Ok(()) => Answer::json(202, &json!({"accepted": events.len()})),
            Err(Refused::Full(name)) => {
                refusal(429, &format!("the queue of {name} is full")).with("retry-after", RETRY_AFTER)
            }
            Err(Refused::TooMuch(name)) => refusal(413, &format!("this is more than the queue of {name} holds")),
            Err(Refused::Gone(name)) => {
                refusal(503, &format!("{name} takes no events any more, or the relay is closing"))
            }
            Err(Refused::Closing) => refusal(503, "the relay is closing"),
        }
    }
}

fn refusal(status: u16, why: &str) -> Answer {
    Answer::json(status, &json!({ "error": why }))
}

/// Why a body's events cannot be used. The texts have nothing of the body in them.
enum Unusable {
    Malformed(String),
    TooMany,
}

impl From<ParseError> for Unusable {
    fn from(error: ParseError) -> Self {
        if matches!(error, ParseError::TooMany { .. }) { Self::TooMany } else { Self::Malformed(error.to_string()) }
    }
}

impl From<EnvelopeError> for Unusable {
    fn from(error: EnvelopeError) -> Self {
        if error == EnvelopeError::TooMany { Self::TooMany } else { Self::Malformed(error.to_string()) }
    }
}

impl From<serde_json::Error> for Unusable {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(Malformed::from(error).to_string())
    }
}

fn events(head: &Head, body: &[u8]) -> Result<Vec<Content>, Unusable> {
    let cloud_event = |event| Content::CloudEvent(Box::new(event));
    Ok(match Kind::of(head) {
        Some(Kind::Ndjson) => ndjson(body)?,
        Some(Kind::Json) if body.trim_ascii_start().first() == Some(&b'[') => array(body)?,
        Some(Kind::Json) => vec![Content::Json(serde_json::from_slice(body)?)],
        Some(Kind::CloudEvent) => vec![cloud_event(CloudEvent::from_json(body)?)],
        Some(Kind::CloudEventBatch) => {
            CloudEvent::from_json_batch(body, MAX_EVENTS)?.into_iter().map(cloud_event).collect()
        }
        Some(Kind::CloudEventBinary) => vec![cloud_event(CloudEvent::from_binary(head.headers(), body)?)],
        Some(Kind::Registry) => {
            let events = Envelope::parse(body, MAX_EVENTS)?.events;
            let contents = (0..).zip(events).map(|(index, event)| {
                Content::registry(event)
                    .map_err(|error| Unusable::Malformed(format!("the event at index {index}: {error}")))
            });
            contents.collect::<Result<_, _>>()?
        }
        None => return Err(Unusable::Malformed("the content-type is not understood".to_owned())),
    })
}

fn ndjson(body: &[u8]) -> Result<Vec<Content>, Unusable> {
    let mut events = Vec::new();
    for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty())
    {
        if events.len() == MAX_EVENTS {
            return Err(Unusable::TooMany);
        }
        let event = serde_json::from_slice(line).map_err(|error: serde_json::Error| {
            Unusable::Malformed(format!("line {number} is not JSON, at column {}", error.column()))
        })?;
        events.push(Content::Json(event));
    }
    Ok(events)
}

fn array(body: &[u8]) -> Result<Vec<Content>, Unusable> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let events = Array.deserialize(&mut deserializer)?;
    deserializer.end()?;
    events.ok_or(Unusable::TooMany)
}

/// Reads an array, or nothing if it is too long: then the rest is only passed over.
struct Array;

impl<'de> DeserializeSeed<'de> for Array {
    type Value = Option<Vec<Content>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array {
    type Value = Option<Vec<Content>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = items.next_element::<Box<RawValue>>()? {
            if events.len() == MAX_EVENTS {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            events.push(Content::Json(event));
        }
        Ok(Some(events))
    }
}
