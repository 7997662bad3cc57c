//! One request in the making: what a format writes into.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use ureq::http::{HeaderName, HeaderValue};

use crate::webhook::builder::is_reserved;
use crate::webhook::connect::MAX_HEADER;

/// How many bytes of names and values a format may set as headers.
const MAX_HEADERS: usize = 16 * 1024;

/// What is sent for one event: a body, and headers of its own.
///
/// The body is written with [`write_json`](Self::write_json) or as to any [`Write`]. It takes no more than the webhook's
/// [`max_body`](super::super::WebhookBuilder::max_body); a write beyond it fails, and the event with it.
pub struct Message {
    body: Vec<u8>,
    max_body: usize,
    is_too_large: bool,
    content_type: ContentType,
    headers: Vec<(HeaderName, HeaderValue)>,
    header_bytes: usize,
    id: Option<String>,
}

/// What a message says of its content.
pub(in crate::webhook) enum ContentType {
    /// What its format says.
    Default,
    Own(HeaderValue),
    None,
}

impl Message {
    /// An empty message whose body may have as many bytes. For tests of formats; a webhook makes its own.
    #[must_use]
    pub fn new(max_body: usize) -> Self {
        Self {
            body: Vec::with_capacity(max_body.min(512)),
            max_body,
            is_too_large: false,
            content_type: ContentType::Default,
            headers: Vec::new(),
            header_bytes: 0,
            id: None,
        }
    }

    /// Adds `value` as JSON to the body.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Json`] if the value cannot be written as JSON or is too large.
    pub fn write_json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        serde_json::to_writer(self, value).map_err(EncodeError::Json)
    }

    /// Sets a header, in place of the webhook's own of the same name.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Header`] if the name or the value cannot be one, if the header is the HTTP client's or the signature's business, or if it has more than
    /// 8 KB or all headers of this message more than 16 KiB.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), EncodeError> {
        let header = |_| EncodeError::Header;
        let parsed = HeaderName::try_from(name).map_err(|_| EncodeError::Header)?;
        if is_reserved(&parsed) {
            return Err(EncodeError::Header);
        }
        let mut value = HeaderValue::try_from(value).map_err(header)?;
        value.set_sensitive(true);
        let size = name.len() + value.len();
        self.header_bytes += size;
        if size > MAX_HEADER - 4 || self.header_bytes > MAX_HEADERS {
            return Err(EncodeError::Header);
        }
        self.headers.push((parsed, value));
        Ok(())
    }

    /// Sets the `content-type` of this message, or leaves it out.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Header`] if it cannot be the value of a header.
    pub fn set_content_type(&mut self, content_type: Option<&str>) -> Result<(), EncodeError> {
        self.content_type = match content_type {
            None => ContentType::None,
            Some(text) => ContentType::Own(HeaderValue::try_from(text).map_err(|_| EncodeError::Header)?),
        };
        Ok(())
    }

    /// Sets the `webhook-id` that a signed message has: the same for each attempt, and for no other event. See
    /// [`id_from`](super::super::WebhookBuilder::id_from).
    pub fn set_id(&mut self, id: impl Into<String>) {
        self.id = Some(id.into());
    }

    /// What has been written so far.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The headers that have been set, names in lower case. Without the `content-type`.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// The `content-type` that has been set, if one has.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        if let ContentType::Own(value) = &self.content_type { value.to_str().ok() } else { None }
    }

    pub(in crate::webhook) fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    pub(in crate::webhook) fn take_content_type(&mut self) -> ContentType {
        std::mem::replace(&mut self.content_type, ContentType::Default)
    }

    pub(in crate::webhook) fn take_headers(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        std::mem::take(&mut self.headers)
    }

    pub(in crate::webhook) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

impl Write for Message {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.max_body - self.body.len() < bytes.len() {
            self.is_too_large = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shows sizes only.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("body", &self.body.len())
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// Why an event cannot be written in a format.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The event cannot be written as JSON. The text is that of the event's own `Serialize`.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The event would be sent with a header that HTTP cannot have, that is the HTTP client's own, or with too many of them.
    #[error("a header of the event is not valid")]
    Header,
    /// The event is not what the format's specification asks for.
    #[error("the event is not valid: {0}")]
    CloudEvent(#[from] super::cloud_event::InvalidEvent),
    /// Why a format of yours cannot write the event.
    #[error("{0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl EncodeError {
    /// An error of your own.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}
