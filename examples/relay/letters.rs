//! Dead letters as lines of a file, and back: what was dropped, by which queue, why, and when.

use std::task::{Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sinkworks::ndjson::NdjsonFile;
use sinkworks::webhook::formats::cloud_event::CloudEvent;
use sinkworks::{CloseError, CloseReport, DeadLetter, Delivery, Shutdown, Sink, SinkId, WriteError};

use crate::config::Endpoint;
use crate::relayed::{Content, Relayed, Shared};

/// Writes each letter as a line.
pub(crate) struct LetterFile(pub(crate) NdjsonFile);

#[derive(Serialize)]
struct Written<'a> {
    queue: &'a str,
    reason: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// In milliseconds since 1970, as the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure_ms: Option<u128>,
    dropped_ms: u128,
    id: &'a str,
    kind: Kind,
    event: &'a Content,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Json,
    CloudEvent,
    Registry,
}

fn milliseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

impl Sink<DeadLetter<Shared>> for LetterFile {
    fn try_write(&self, letter: &DeadLetter<Shared>, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let written = Written {
            queue: &letter.queue,
            reason: letter.reason.as_str(),
            attempts: letter.attempts,
            first_error: letter.first_error.as_ref().map(ToString::to_string),
            last_error: letter.last_error.as_ref().map(ToString::to_string),
            first_failure_ms: letter.first_failure.map(milliseconds),
            dropped_ms: milliseconds(letter.dropped),
            id: &letter.event.id,
            kind: match letter.event.content {
                Content::Json(_) => Kind::Json,
                Content::CloudEvent(_) => Kind::CloudEvent,
                Content::Registry(_) => Kind::Registry,
            },
            event: &letter.event.content,
        };
        self.0.try_write(&written, delivery)
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Sink::<Written<'_>>::poll_close(&self.0, how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Sink::<Written<'_>>::id(&self.0)
    }
}

/// A letter that was read: the event, and whose it was. Its other members are for people.
#[derive(Deserialize)]
pub(crate) struct Letter {
    pub(crate) queue: String,
    id: String,
    kind: Kind,
    event: Box<RawValue>,
}

impl Letter {
    /// Reads a line. The error has nothing of the event in it.
    pub(crate) fn read(line: &RawValue) -> Result<Self, String> {
        serde_json::from_str(line.get()).map_err(|error| {
            let line = if error.is_data() { "it is no letter" } else { "it is no JSON" };
            format!("{line}, at column {}", error.column())
        })
    }

    /// The event, with the id that it had.
    pub(crate) fn into_event(self, endpoints: &[Endpoint]) -> Result<Relayed, String> {
        let text = self.event.get();
        let content = match self.kind {
            Kind::Json => Content::Json(self.event),
            Kind::CloudEvent => {
                let event = CloudEvent::from_json(text.as_bytes()).map_err(|error| format!("its event: {error}"))?;
                Content::CloudEvent(Box::new(event))
            }
            Kind::Registry => {
                let event = serde_json::from_str(text).map_err(|_| "its event is none of a registry".to_owned())?;
                Content::registry(event).map_err(|error| format!("its event: {error}"))?
            }
        };
        Ok(Relayed::with_id(self.id, content, endpoints))
    }
}
