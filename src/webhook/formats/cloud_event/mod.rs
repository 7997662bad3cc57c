//! [CloudEvents](https://github.com/cloudevents/spec) 1.0 over HTTP: the structured, the binary and the batched mode, with the JSON format.
//!
//! | mode | `content-type` | out | in |
//! |---|---|---|---|
//! | structured | `application/cloudevents+json` | [`Structured`] | [`CloudEvent::from_json`] |
//! | binary | that of the data | [`Binary`] | [`CloudEvent::from_binary`] |
//! | batched | `application/cloudevents-batch+json` | [`Batch`], for slices of events | [`CloudEvent::from_json_batch`] |
//!
//! The formats write [`CloudEvent`]s, and what borrows as one: `Arc<CloudEvent>`. For events of another type see [`mapped`](super::mapped).

mod batch;
mod binary;
mod json;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{EncodeError, Format, Message, is_json, time};

pub use batch::Batch;
pub use binary::Binary;

/// The media type of one event in JSON.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";
/// The media type of a batch of events in JSON.
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// The largest number of attributes that an event read from outside may have.
pub const MAX_ATTRIBUTES: usize = 128;

/// One event.
///
/// What is set is checked when the event is written and when it is read, not before: see [`validate`](Self::validate).
///
/// ```
/// use sinkworks::webhook::formats::cloud_event::CloudEvent;
///
/// let event = CloudEvent::new("1234", "/registry", "com.example.pushed")
///     .with_subject("library/alpine")
///     .with_time("2018-04-05T17:31:00Z")
///     .with_extension("sequence", 7)
///     .with_json(&["3", "latest"])?;
/// let json = serde_json::to_string(&event)?;
/// assert_eq!(
///     json,
///     r#"{"specversion":"1.0","id":"1234","source":"/registry","type":"com.example.pushed","subject":"library/alpine","#.to_owned()
///         + r#""time":"2018-04-05T17:31:00Z","datacontenttype":"application/json","sequence":7,"data":["3","latest"]}"#
/// );
/// assert_eq!(CloudEvent::from_json(json.as_bytes())?, event);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CloudEvent {
    id: String,
    source: String,
    kind: String,
    subject: Option<String>,
    time: Option<String>,
    data_content_type: Option<String>,
    data_schema: Option<String>,
    extensions: BTreeMap<String, Attribute>,
    data: Option<Data>,
}

impl CloudEvent {
    /// An event without data. `source` and `id` together tell it from all others; `kind` is the attribute `type`.
    #[must_use]
    pub fn new(id: impl Into<String>, source: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            source: source.into(),
            kind: kind.into(),
            subject: None,
            time: None,
            data_content_type: None,
            data_schema: None,
            extensions: BTreeMap::new(),
            data: None,
        }
    }

    /// Sets what of the source the event is about.
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets when it happened, as RFC 3339 has it: `2018-04-05T17:31:00Z`.
    #[must_use]
    pub fn with_time(mut self, time: impl Into<String>) -> Self {
        self.time = Some(time.into());
        self
    }

    /// Sets the URI of the schema that the data keeps to.
    #[must_use]
    pub fn with_data_schema(mut self, schema: impl Into<String>) -> Self {
        self.data_schema = Some(schema.into());
        self
    }

    /// Sets an extension attribute. Its name has only the letters a to z and digits.
    #[must_use]
    pub fn with_extension(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }

    /// Sets the data and its media type. JSON goes with a media type of JSON, text with any other.
    #[must_use]
    pub fn with_data(mut self, content_type: impl Into<String>, data: Data) -> Self {
        self.data_content_type = Some(content_type.into());
        self.data = Some(data);
        self
    }

    /// Sets the data to a value as `application/json`.
    ///
    /// # Errors
    ///
    /// The value cannot be written as JSON.
    pub fn with_json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, serde_json::Error> {
        Ok(self.with_data("application/json", Data::Json(serde_json::value::to_raw_value(value)?)))
    }

    /// The attribute `id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The attribute `source`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The attribute `type`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The attribute `subject`.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The attribute `time`.
    pub fn time(&self) -> Option<&str> {
        self.time.as_deref()
    }

    /// The attribute `datacontenttype`. Where it is absent, data is JSON.
    pub fn data_content_type(&self) -> Option<&str> {
        self.data_content_type.as_deref()
    }

    /// The attribute `dataschema`.
    pub fn data_schema(&self) -> Option<&str> {
        self.data_schema.as_deref()
    }

    /// The extension attributes, in order of their names.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.extensions.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The data.
    pub fn data(&self) -> Option<&Data> {
        self.data.as_ref()
    }

    /// Whether the event is what the specification asks for.
    ///
    /// # Errors
    ///
    /// An [`InvalidEvent`] with the first thing that is not.
    pub fn validate(&self) -> Result<(), InvalidEvent> {
        for (name, value) in [("id", &self.id), ("source", &self.source), ("type", &self.kind)] {
            required(name, value)?;
        }
        for (name, value) in [
            ("subject", &self.subject),
            ("time", &self.time),
            ("datacontenttype", &self.data_content_type),
            ("dataschema", &self.data_schema),
        ] {
            if let Some(value) = value {
                required(name, value)?;
            }
        }
        // What goes into a header as it is, and comes out of it the same.
        let is_media_type =
            |text: &str| text.trim_ascii() == text && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if self.data_content_type.as_deref().is_some_and(|text| !is_media_type(text)) {
            return Err(InvalidEvent::Value { name: "datacontenttype" });
        }
        if self.time.as_deref().is_some_and(|time| !time::is_timestamp(time)) {
            return Err(InvalidEvent::Value { name: "time" });
        }
        for (name, value) in &self.extensions {
            if !is_name(name) || STANDARD.contains(&name.as_str()) {
                return Err(InvalidEvent::Name);
            }
            if let Attribute::String(text) = value {
                clean("an extension", text)?;
            }
        }
        let is_json = self.data_content_type.as_deref().is_none_or(is_json);
        match &self.data {
            Some(Data::Json(_)) if !is_json => Err(InvalidEvent::Data),
            Some(Data::Text(_)) if is_json => Err(InvalidEvent::Data),
            _ => Ok(()),
        }
    }
}

/// Without the data, and without the attributes beside those that say where it comes from.
impl fmt::Debug for CloudEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudEvent")
            .field("id", &self.id)
            .field("source", &self.source)
            .field("type", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What extension attributes cannot be called.
const STANDARD: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    // No name at all, because of its underscore; here for the sake of completeness.
    "data_base64",
];

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn required(name: &'static str, value: &str) -> Result<(), InvalidEvent> {
    if value.is_empty() { Err(InvalidEvent::Missing { name }) } else { clean(name, value) }
}

/// Whether a text has only what the specification's strings may have: neither control characters nor noncharacters.
fn clean(name: &'static str, value: &str) -> Result<(), InvalidEvent> {
    let is_noncharacter = |c: char| matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    if value.chars().any(|c| c.is_control() || is_noncharacter(c)) {
        return Err(InvalidEvent::Value { name });
    }
    Ok(())
}

/// The value of an attribute. The specification's other types are texts too: binary values in Base64, URIs, timestamps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribute {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i32),
    /// A text, without control characters.
    String(String),
}

impl From<bool> for Attribute {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Attribute {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

impl From<String> for Attribute {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

/// As HTTP's headers have it: the specification's canonical text.
impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::String(value) => value.fmt(f),
        }
    }
}

/// What an event carries.
#[derive(Clone)]
#[non_exhaustive]
pub enum Data {
    /// JSON, as it was written: numbers keep all their digits.
    Json(Box<RawValue>),
    /// Text that is no JSON.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// JSON is compared as text.
impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(a), Self::Json(b)) => a.get() == b.get(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Binary(a), Self::Binary(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Data {}

/// Shows the kind and the size in bytes.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(value) => write!(f, "Json({} bytes)", value.get().len()),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// What is not as the specification asks for. The text has nothing of the event in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEvent {
    /// The attribute `specversion` is absent or not `1.0`.
    #[error("the attribute specversion must be 1.0")]
    Version,
    /// A required attribute is absent, or any attribute of the specification's own is empty.
    #[error("the attribute {name} is missing or empty")]
    Missing {
        /// The attribute.
        name: &'static str,
    },
    /// An extension attribute has a name with other characters than the letters a to z and digits, or one of the specification's own.
    #[error("an attribute has a name that is not valid")]
    Name,
    /// An attribute's value has a type or characters that it cannot have.
    #[error("the value of {name} is not valid")]
    Value {
        /// The attribute, or `an extension`.
        name: &'static str,
    },
    /// The data does not go with its media type, or there is data twice, or what should be Base64 is not.
    #[error("the data does not go with its media type")]
    Data,
    /// An attribute is there twice.
    #[error("an attribute is there twice")]
    Duplicate,
    /// There are more than [`MAX_ATTRIBUTES`].
    #[error("there are too many attributes")]
    TooMany,
}

/// The structured mode: attributes and data in one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Structured;

impl<E: Borrow<CloudEvent>> Format<E> for Structured {
    fn content_type(&self) -> &'static str {
        MEDIA_TYPE
    }

    fn encode(&self, event: &E, message: &mut Message) -> Result<(), EncodeError> {
        let event = event.borrow();
        event.validate()?;
        message.write_json(event)
    }
}
