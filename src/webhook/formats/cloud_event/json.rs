//! The JSON format of an event.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::bounded::Bounded;
use super::super::is_json;
use super::super::malformed::{ParseError, text};
use super::{Attribute, CloudEvent, Data, InvalidEvent, MAX_ATTRIBUTES};

/// As the JSON format has it. It does not check whether the event is valid.
impl Serialize for CloudEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("type", &self.kind)?;
        for (name, value) in [
            ("subject", &self.subject),
            ("time", &self.time),
            ("datacontenttype", &self.data_content_type),
            ("dataschema", &self.data_schema),
        ] {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        for (name, value) in &self.extensions {
            match value {
                Attribute::Boolean(value) => map.serialize_entry(name, value)?,
                Attribute::Integer(value) => map.serialize_entry(name, value)?,
                Attribute::String(value) => map.serialize_entry(name, value)?,
            }
        }
        match &self.data {
            None => {}
            Some(Data::Json(value)) => map.serialize_entry("data", value)?,
            Some(Data::Text(text)) => map.serialize_entry("data", text)?,
            Some(Data::Binary(bytes)) => map.serialize_entry("data_base64", &BASE64_STANDARD.encode(bytes))?,
        }
        map.end()
    }
}

/// From JSON alone: the data is kept as it was written, which no other format of serde can give.
impl<'de> Deserialize<'de> for CloudEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::deserialize(deserializer)?.into_event().map_err(de::Error::custom)
    }
}

impl CloudEvent {
    /// Reads an event in JSON, the body of a message in structured mode.
    ///
    /// # Errors
    ///
    /// A [`ParseError`] that says where the JSON is malformed or what of the event is not valid.
    pub fn from_json(body: &[u8]) -> Result<Self, ParseError> {
        let members: Members = serde_json::from_str(text(body)?)?;
        Ok(members.into_event()?)
    }

    /// Reads a batch of at most `max_events` events in JSON, the body of a message in batched mode. It may be empty.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json), with the place of the event in the batch, and [`ParseError::TooMany`].
    pub fn from_json_batch(body: &[u8], max_events: usize) -> Result<Vec<Self>, ParseError> {
        let mut deserializer = serde_json::Deserializer::from_str(text(body)?);
        let batch = Bounded::<Members>::new(max_events).deserialize(&mut deserializer)?;
        deserializer.end()?;
        let batch = batch.ok_or(ParseError::TooMany { max: max_events })?;
        let events = batch.into_iter().enumerate();
        events
            .map(|(index, members)| members.into_event().map_err(|error| ParseError::EventAt { index, error }))
            .collect()
    }
}

/// The members of the object, not looked at yet: so what is wrong with them has a type of ours. `None` where there are too many.
struct Members(Option<Vec<(String, Box<RawValue>)>>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key()? {
                    if members.len() == MAX_ATTRIBUTES {
                        map.next_value::<IgnoredAny>()?;
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        return Ok(Members(None));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Members(Some(members)))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Members {
    fn into_event(self) -> Result<CloudEvent, InvalidEvent> {
        let members = self.0.ok_or(InvalidEvent::TooMany)?;
        let mut event = CloudEvent::new("", "", "");
        let (mut seen, mut has_version) = (std::collections::HashSet::with_capacity(members.len()), false);
        let (mut data, mut base64) = (None, None);
        for (name, value) in members {
            if !seen.insert(name.clone()) {
                return Err(InvalidEvent::Duplicate);
            }
            match name.as_str() {
                "data" => data = Some(value),
                "data_base64" => base64 = string("data_base64", &value).map_err(|_| InvalidEvent::Data)?,
                "specversion" => has_version = string("specversion", &value)?.as_deref() == Some("1.0"),
                "id" => event.id = string("id", &value)?.unwrap_or_default(),
                "source" => event.source = string("source", &value)?.unwrap_or_default(),
                "type" => event.kind = string("type", &value)?.unwrap_or_default(),
                "subject" => event.subject = string("subject", &value)?,
                "time" => event.time = string("time", &value)?,
                "datacontenttype" => event.data_content_type = string("datacontenttype", &value)?,
                "dataschema" => event.data_schema = string("dataschema", &value)?,
                _ => {
                    if let Some(value) = attribute(&value)? {
                        event.extensions.insert(name, value);
                    }
                }
            }
        }
        if !has_version {
            return Err(InvalidEvent::Version);
        }
        event.data = match (data, base64) {
            (None, None) => None,
            (Some(_), Some(_)) => return Err(InvalidEvent::Data),
            (None, Some(base64)) => Some(Data::Binary(BASE64_STANDARD.decode(base64).map_err(|_| InvalidEvent::Data)?)),
            (Some(data), None) if event.data_content_type.as_deref().is_none_or(is_json) => Some(Data::Json(data)),
            (Some(data), None) => Some(Data::Text(serde_json::from_str(data.get()).map_err(|_| InvalidEvent::Data)?)),
        };
        event.validate()?;
        Ok(event)
    }
}

/// A text. What is null is not set.
fn string(name: &'static str, value: &RawValue) -> Result<Option<String>, InvalidEvent> {
    serde_json::from_str(value.get()).map_err(|_| InvalidEvent::Value { name })
}

fn attribute(value: &RawValue) -> Result<Option<Attribute>, InvalidEvent> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Boolean(bool),
        Integer(i32),
        String(String),
    }
    let value: Option<Value> =
        serde_json::from_str(value.get()).map_err(|_| InvalidEvent::Value { name: "an extension" })?;
    Ok(value.map(|value| match value {
        Value::Boolean(value) => Attribute::Boolean(value),
        Value::Integer(value) => Attribute::Integer(value),
        Value::String(value) => Attribute::String(value),
    }))
}
