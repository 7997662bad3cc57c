//! The binary mode: attributes as headers, the data as the body.

use std::borrow::Borrow;
use std::io::Write;

use serde_json::value::RawValue;

use super::super::malformed::{ParseError, text};
use super::super::{EncodeError, Format, Message, is_json};
use super::{Attribute, CloudEvent, Data, InvalidEvent, MAX_ATTRIBUTES, STANDARD};

/// The binary mode: the attributes in headers `ce-…`, the data as it is in the body, and its media type as the message's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Binary;

impl<E: Borrow<CloudEvent>> Format<E> for Binary {
    /// Each message has its own.
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn encode(&self, event: &E, message: &mut Message) -> Result<(), EncodeError> {
        let event = event.borrow();
        event.validate()?;
        message.set_header("ce-specversion", "1.0")?;
        for (name, value) in [("ce-id", &event.id), ("ce-source", &event.source), ("ce-type", &event.kind)] {
            message.set_header(name, &encode(value))?;
        }
        for (name, value) in
            [("ce-subject", &event.subject), ("ce-time", &event.time), ("ce-dataschema", &event.data_schema)]
        {
            if let Some(value) = value {
                message.set_header(name, &encode(value))?;
            }
        }
        for (name, value) in &event.extensions {
            message.set_header(&format!("ce-{name}"), &encode(&value.to_string()))?;
        }
        // What is JSON without saying so says so here, as the JSON format asks for.
        let implied = matches!(event.data, Some(Data::Json(_))).then_some("application/json");
        message.set_content_type(event.data_content_type.as_deref().or(implied))?;
        match &event.data {
            None => Ok(()),
            Some(Data::Json(value)) => message.write_all(value.get().as_bytes()),
            Some(Data::Text(text)) => message.write_all(text.as_bytes()),
            Some(Data::Binary(bytes)) => message.write_all(bytes),
        }
        .map_err(EncodeError::other)
    }
}

impl CloudEvent {
    /// Reads an event of a message in binary mode. Of `headers` those count whose names begin with `ce-`, and `content-type`, in whatever case.
    ///
    /// An extension attribute is a text: a header does not say its type. Data is [`Data::Json`] if its media type says so, [`Data::Text`] if that is `text/…` and the
    /// body UTF-8, and [`Data::Binary`] otherwise. A body without a byte is no data.
    ///
    /// # Errors
    ///
    /// A [`ParseError`] that says what of the event is not valid, or where its data, which should be JSON, is malformed.
    pub fn from_binary<N, V>(headers: impl IntoIterator<Item = (N, V)>, body: &[u8]) -> Result<Self, ParseError>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let mut event = Self::new("", "", "");
        let (mut seen, mut has_version) = (std::collections::HashSet::new(), false);
        for (name, value) in headers {
            let name = name.as_ref().to_ascii_lowercase();
            let attribute = match name.strip_prefix("ce-") {
                Some(attribute) => attribute,
                None if name == "content-type" => "datacontenttype",
                None => continue,
            };
            // There is one place for it, and it is not `ce-datacontenttype`.
            if name == "ce-datacontenttype" {
                return Err(InvalidEvent::Name.into());
            }
            if !seen.insert(attribute.to_owned()) {
                return Err(InvalidEvent::Duplicate.into());
            }
            if seen.len() > MAX_ATTRIBUTES {
                return Err(InvalidEvent::TooMany.into());
            }
            let known = STANDARD.into_iter().find(|known| *known == attribute).unwrap_or("an extension");
            let invalid = InvalidEvent::Value { name: known };
            let value = if attribute == "datacontenttype" {
                std::str::from_utf8(value.as_ref().trim_ascii()).map_err(|_| invalid)?.to_owned()
            } else {
                decode(value.as_ref()).ok_or(invalid)?
            };
            match attribute {
                "specversion" => has_version = value == "1.0",
                "id" => event.id = value,
                "source" => event.source = value,
                "type" => event.kind = value,
                "subject" => event.subject = Some(value),
                "time" => event.time = Some(value),
                "datacontenttype" => event.data_content_type = Some(value),
                "dataschema" => event.data_schema = Some(value),
                name => {
                    event.extensions.insert(name.to_owned(), Attribute::String(value));
                }
            }
        }
        if !has_version {
            return Err(InvalidEvent::Version.into());
        }
        event.data = data(event.data_content_type.as_deref(), body)?;
        event.validate()?;
        Ok(event)
    }
}

fn data(content_type: Option<&str>, body: &[u8]) -> Result<Option<Data>, ParseError> {
    if body.is_empty() {
        return Ok(None);
    }
    let data = match content_type {
        Some(content_type) if is_json(content_type) => {
            let value: Box<RawValue> = serde_json::from_str(text(body)?)?;
            Data::Json(value)
        }
        Some(content_type) if content_type.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/")) => {
            std::str::from_utf8(body).map_or_else(|_| Data::Binary(body.to_vec()), |text| Data::Text(text.to_owned()))
        }
        _ => Data::Binary(body.to_vec()),
    };
    Ok(Some(data))
}

/// The percent-encoding of the HTTP protocol binding: of spaces, double quotes, percent signs, and all that is not printable ASCII.
pub(super) fn encode(value: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            encoded.push(byte.into());
        } else {
            encoded.push('%');
            encoded.push(DIGITS[usize::from(byte >> 4)].into());
            encoded.push(DIGITS[usize::from(byte & 15)].into());
        }
    }
    encoded
}

/// What [`encode`] has encoded, and the quoted strings of older senders. `None` if that is not UTF-8, or if a quoted string does not end.
pub(super) fn decode(value: &[u8]) -> Option<String> {
    let value = unquote(value.trim_ascii())?;
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_slice();
    while let [first, after @ ..] = rest {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                decoded.push(digit(*high)? << 4 | digit(*low)?);
                after
            }
            // A percent sign that encodes nothing stands for itself.
            (byte, after) => {
                decoded.push(*byte);
                after
            }
        };
    }
    String::from_utf8(decoded).ok()
}

fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(value.len());
    let (mut bytes, mut is_quoted) = (value.iter(), false);
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' if is_quoted => plain.push(*bytes.next()?),
            byte => plain.push(*byte),
        }
    }
    (!is_quoted).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn the_specification_s_example_of_percent_encoding() {
        let (text, encoded) = ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(encode(text), encoded);
        assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(text));
        assert_eq!(decode(encoded.to_lowercase().as_bytes()).as_deref(), Some("euro € 😀"));
    }

    #[test]
    fn a_header_is_decoded_once_and_leniently() {
        let decoded = |value: &str| decode(value.as_bytes());
        assert_eq!(decoded("%2520").as_deref(), Some("%20"));
        assert_eq!(decoded("100%").as_deref(), Some("100%"));
        assert_eq!(decoded("%zz%4").as_deref(), Some("%zz%4"));
        assert_eq!(decoded("%41").as_deref(), Some("A"), "encoded without need");
        assert_eq!(decoded("\"a b\\\"c\"").as_deref(), Some("a b\"c"), "quoted, by an older sender");
        assert_eq!(decoded("\"a"), None);
        assert_eq!(decoded("%C0%A0"), None, "overlong, and so no UTF-8");
    }
}
