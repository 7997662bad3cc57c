//! The options of a webhook and their checks.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Proxy};

use super::Webhook;
use super::endpoint::Endpoint;
use super::error::WebhookError;
use super::hosts::Hosts;
use crate::name::Name;
use crate::sink::SinkId;

const USER_AGENT: &str = concat!("sinkworks/", env!("CARGO_PKG_VERSION"));

/// The HTTP client adds its timeouts to the time now, which panics where the sum does not fit. Nobody waits so long.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The sizes of a connection's buffers in bytes, not the client's 128 KiB each: every webhook keeps a connection,
/// and a service can have thousands of them. The first bounds the headers of an answer as well.
const INPUT_BUFFER: usize = 16 * 1024;
const OUTPUT_BUFFER: usize = 8 * 1024;

/// Headers that frame the request or rule the connection. A wrong one makes a receiver read what was not sent.
const RESERVED: [HeaderName; 7] = [CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Builds a [`Webhook`].
///
/// A proxy that the environment names (`ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, with the exceptions of `NO_PROXY`) is
/// used, except for a loopback host.
///
/// ```
/// use std::time::Duration;
/// use sinkworks::webhook::Webhook;
///
/// let webhook = Webhook::builder("https://example.com/hook")
///     .timeout(Duration::from_secs(10))
///     .header("authorization", "Bearer 123")
///     .build()?;
/// assert!(!format!("{webhook:?}").contains("123"));
/// # Ok::<(), sinkworks::webhook::WebhookError>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct WebhookBuilder {
    url: String,
    name: Option<String>,
    headers: Vec<(String, String)>,
    timeout: Duration,
    connect_timeout: Duration,
    max_retry_after: Duration,
}

impl WebhookBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            name: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            max_retry_after: Duration::from_secs(3600),
        }
    }

    /// What the webhook is called in `Debug`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long one request may take in all, from the look-up of the host to the end of the answer. 15 seconds unless
    /// set; more than a day counts as a day; zero is refused.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long it may take to connect, with the TLS handshake, after the host was looked up. 5 seconds unless set;
    /// [`timeout`](Self::timeout) still holds; zero is refused.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sends this header with every request, in place of an earlier one of the same name. It may replace the
    /// `content-type` and the `user-agent`. The value never shows in a text form of the webhook or of an error.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The longest `Retry-After` that is passed on; a longer one counts as this. An hour unless set.
    pub fn max_retry_after(mut self, cap: Duration) -> Self {
        self.max_retry_after = cap;
        self
    }

    /// Builds the webhook. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// A [`WebhookError`] that says which part of the URL, which header or which timeout cannot be used.
    pub fn build(self) -> Result<Webhook, WebhookError> {
        let endpoint = Endpoint::parse(&self.url)?;
        let id = SinkId::unique();
        let name = Name::or_default(self.name.as_deref(), "webhook", id).map_err(|_| WebhookError::Name)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // An event goes where its owner said and nowhere else.
            .max_redirects(0)
            .user_agent(USER_AGENT)
            .timeout_global(Some(usable("timeout", self.timeout)?))
            .timeout_connect(Some(usable("connect_timeout", self.connect_timeout)?))
            .input_buffer_size(INPUT_BUFFER)
            // Below the buffer's size, or the client takes headers that fill the buffer for the end of the connection.
            .max_response_header_size(INPUT_BUFFER - 1)
            .output_buffer_size(OUTPUT_BUFFER)
            // A proxy cannot reach what listens on this machine's loopback.
            .proxy(if endpoint.is_loopback() { None } else { Proxy::try_from_env() })
            .build();
        let hosts = Hosts::new();
        Ok(Webhook {
            agent: Agent::with_parts(config, DefaultConnector::default(), hosts.clone()),
            hosts,
            endpoint,
            headers: checked(&self.headers)?,
            max_retry_after: self.max_retry_after,
            closed: AtomicBool::new(false),
            id,
            name,
        })
    }
}

fn usable(option: &'static str, timeout: Duration) -> Result<Duration, WebhookError> {
    if timeout.is_zero() { Err(WebhookError::ZeroTimeout { option }) } else { Ok(timeout.min(MAX_TIMEOUT)) }
}

fn checked(headers: &[(String, String)]) -> Result<HeaderMap, WebhookError> {
    let mut map = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|_| WebhookError::HeaderName)?;
        if RESERVED.contains(&name) {
            return Err(WebhookError::ReservedHeader { name: name.to_string() });
        }
        let mut value =
            HeaderValue::try_from(value).map_err(|_| WebhookError::HeaderValue { name: name.to_string() })?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    Ok(map)
}

/// Shows the timeouts. The URL has not been taken apart yet, so it is left out as a whole.
impl fmt::Debug for WebhookBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookBuilder")
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_retry_after", &self.max_retry_after)
            .finish_non_exhaustive()
    }
}
