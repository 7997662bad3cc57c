//! The options of a webhook and their checks.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector};
use ureq::{Agent, Proxy, ProxyProtocol};

use super::address::AddressPolicy;
use super::answer::Statuses;
use super::connect::{Guarded, INPUT_BUFFER, MAX_HEADER, OUTPUT_BUFFER};
use super::endpoint::Endpoint;
use super::error::WebhookError;
use super::exchange::Prelude;
use super::formats::{Identified, Json};
use super::hosts::Hosts;
use super::identity::MessageIds;
use super::idle::{Idle, Keeping};
use super::signature::{self, Signer};
use super::tls::Identity;
use super::{Method, Webhook};
use crate::name::Name;
use crate::sink::SinkId;

pub(super) const USER_AGENT: &str = concat!("sinkworks/", env!("CARGO_PKG_VERSION"));

/// The HTTP client adds its timeouts to the time now, which panics where the sum does not fit. Nobody waits so long.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Headers that frame the request or rule the connection. A wrong one makes a receiver read what was not sent.
const RESERVED: [HeaderName; 7] = [CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// How many bytes the names and values of all headers may have together.
const MAX_HEADERS: usize = 16 * 1024;

/// Builds a [`Webhook`].
///
/// ```
/// use std::time::Duration;
/// use sinkworks::webhook::Webhook;
/// use sinkworks::webhook::signature::Signer;
///
/// let webhook = Webhook::builder("https://example.com/hook")
///     .timeout(Duration::from_secs(10))
///     .header("authorization", "Bearer 123")
///     .signer(Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?))
///     .build()?;
/// assert!(!format!("{webhook:?}").contains("123"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct WebhookBuilder<F = Json> {
    url: String,
    format: F,
    options: Options,
}

/// All that does not depend on the format.
struct Options {
    name: Option<String>,
    method: Method,
    headers: Vec<(String, String)>,
    timeout: Duration,
    connect_timeout: Duration,
    max_retry_after: Duration,
    max_body: usize,
    success: Option<Statuses>,
    addresses: AddressPolicy,
    signer: Option<Signer>,
    identity: Identity,
    has_proxy: bool,
}

impl WebhookBuilder {
    pub(super) fn new(url: &str) -> Self {
        let options = Options {
            name: None,
            method: Method::Post,
            headers: Vec::new(),
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            max_retry_after: Duration::from_secs(3600),
            max_body: 1024 * 1024,
            success: Some(Statuses::default()),
            addresses: AddressPolicy::public_only(),
            signer: None,
            identity: Identity::default(),
            has_proxy: false,
        };
        Self { url: url.to_owned(), format: Json, options }
    }
}

impl<F> WebhookBuilder<F> {
    /// What the webhook is called in `Debug`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// The method of the requests. `POST` unless set.
    pub fn method(mut self, method: Method) -> Self {
        self.options.method = method;
        self
    }

    /// How long one request may take in all, from the look-up of the host to the end of the answer. 15 seconds unless
    /// set; more than a day counts as a day; zero is refused.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// How long it may take to connect, with the TLS handshake, after the host was looked up. 5 seconds unless set;
    /// [`timeout`](Self::timeout) still holds; zero is refused.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// Sends this header with every request, in place of an earlier one of the same name. It may replace the
    /// `content-type` and the `user-agent`. The value never shows in a text form of the webhook or of an error.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.headers.push((name.into(), value.into()));
        self
    }

    /// The longest `Retry-After` that is passed on; a longer one counts as this. An hour unless set.
    pub fn max_retry_after(mut self, cap: Duration) -> Self {
        self.options.max_retry_after = cap;
        self
    }

    /// The largest body that is sent, in bytes. An event that is larger fails for good, with [`DeliveryError::TooLarge`](super::DeliveryError::TooLarge), and
    /// nothing of it is sent. 1 MiB unless set.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.options.max_body = bytes;
        self
    }

    /// The statuses that mean that the event was delivered, in place of all from 200 to 299. One that is left out is a permanent failure, unless it is one that
    /// asks for another attempt.
    ///
    /// ```
    /// use sinkworks::webhook::Webhook;
    ///
    /// // This endpoint answers 409 to an event that it has got already.
    /// let builder = Webhook::builder("https://example.com/hook").success_statuses((200..=299).chain([409]));
    /// # assert!(builder.build().is_ok());
    /// ```
    pub fn success_statuses(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.options.success = Statuses::new(statuses);
        self
    }

    /// Which addresses may be connected to. [Public ones only](AddressPolicy::public_only) unless set.
    pub fn addresses(mut self, policy: AddressPolicy) -> Self {
        self.options.addresses = policy;
        self
    }

    /// Allows this machine's loopback besides: for tests, and for endpoints on the same machine.
    pub fn allow_loopback(mut self) -> Self {
        self.options.addresses = self.options.addresses.allow_loopback();
        self
    }

    /// The certificate authorities that an endpoint's certificate must be of, as PEM, in place of the public ones (those of Mozilla, compiled in): for endpoints with
    /// certificates of an authority of your own.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.options.identity.roots = Some(pem.into());
        self
    }

    /// What the webhook shows of itself where the endpoint asks who connects (mutual TLS): a certificate with those that lead to its authority, and its private key, as PEM.
    pub fn client_certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.options.identity.client = Some((chain.into(), key.into()));
        self
    }

    /// Uses the proxy that the environment names (`ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, with the exceptions of `NO_PROXY`), except for a
    /// loopback host. Not unless set.
    ///
    /// The proxy then looks up names and connects, so it has to refuse [addresses](Self::addresses): here only those are seen that are written in
    /// the URL, and those that `NO_PROXY` excepts.
    pub fn environment_proxy(mut self) -> Self {
        self.options.has_proxy = true;
        self
    }

    /// Signs each request: see [`signature`]. Not unless set.
    ///
    /// The `webhook-id` is made up by this webhook, no other event of any other has it, and it stays the same when a [`RetryingSink`](crate::RetryingSink) repeats a
    /// write. An event that is written anew, as [`replay`](crate::replay) does, has another one, unless [`id_from`](Self::id_from) says which.
    pub fn signer(mut self, signer: Signer) -> Self {
        self.options.signer = Some(signer);
        self
    }

    /// How events are written into a request. [`Json`] unless set.
    pub fn format<G>(self, format: G) -> WebhookBuilder<G> {
        WebhookBuilder { url: self.url, format, options: self.options }
    }

    /// What the `webhook-id` of an event is when requests are [signed](Self::signer), in place of one that is made up. It must be different for each event, since receivers
    /// pass over one that they know, and one that [`is_valid_id`](signature::is_valid_id) accepts: else the event fails for good. Call it after [`format`](Self::format).
    ///
    /// ```
    /// use sinkworks::webhook::Webhook;
    ///
    /// struct Order {
    ///     number: u32,
    /// }
    ///
    /// let builder = Webhook::builder("https://example.com/hook").id_from(|order: &Order| format!("order-{}", order.number));
    /// # assert!(builder.build().is_ok());
    /// ```
    pub fn id_from<E: ?Sized, I>(self, id: I) -> WebhookBuilder<Identified<I, F>>
    where
        I: Fn(&E) -> String + Send + Sync,
    {
        WebhookBuilder { url: self.url, format: Identified::new(id, self.format), options: self.options }
    }

    /// Builds the webhook. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// A [`WebhookError`] that says which part of the URL, which header or which other option cannot be used.
    pub fn build(self) -> Result<Webhook<F>, WebhookError> {
        let Options { name, method, headers, addresses, max_retry_after, max_body, signer, .. } = self.options;
        let endpoint = Endpoint::parse(&self.url)?;
        endpoint.check(&addresses)?;
        let id = SinkId::unique();
        let name = Name::or_default(name.as_deref(), "webhook", id).map_err(|_| WebhookError::Name)?;
        // A proxy cannot reach what listens on this machine's loopback.
        let proxy = if self.options.has_proxy && !endpoint.is_loopback() { Proxy::try_from_env() } else { None };
        if proxy.as_ref().is_some_and(|proxy| !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)) {
            return Err(WebhookError::Proxy);
        }
        let proxied = proxy.is_some();
        let guarded = Guarded { policy: addresses, proxied };
        let timeout = usable("timeout", self.options.timeout)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // An event goes where its owner said and nowhere else.
            .max_redirects(0)
            .user_agent(USER_AGENT)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(usable("connect_timeout", self.options.connect_timeout)?))
            .input_buffer_size(INPUT_BUFFER)
            // Below the buffer's size, or the client takes headers that fill the buffer for the end of the connection.
            .max_response_header_size(INPUT_BUFFER - 1)
            .output_buffer_size(OUTPUT_BUFFER)
            .proxy(proxy)
            .tls_config(self.options.identity.check()?)
            .build();
        let (hosts, idle) = (Hosts::new(), Idle::default());
        let keeping = Keeping { idle: idle.clone(), proxied };
        let connector =
            ConnectProxyConnector::default().chain(guarded).chain(RustlsConnector::default()).chain(keeping);
        let method = method.into();
        Ok(Webhook {
            agent: Agent::with_parts(config, connector, hosts.clone()),
            hosts,
            idle,
            prelude: Prelude::new(&method, endpoint.uri()),
            endpoint,
            method,
            timeout,
            headers: checked(&headers, signer.is_some())?,
            format: self.format,
            has_content_type: headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str())),
            success: self.options.success.ok_or(WebhookError::SuccessStatuses)?,
            max_retry_after,
            max_body,
            signer: signer.map(|signer| (signer, MessageIds::new())),
            closed: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            id,
            name,
        })
    }
}

fn usable(option: &'static str, timeout: Duration) -> Result<Duration, WebhookError> {
    if timeout.is_zero() { Err(WebhookError::ZeroTimeout { option }) } else { Ok(timeout.min(MAX_TIMEOUT)) }
}

/// Whether no format may set the header.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(name) || is_signature(name)
}

fn is_signature(name: &HeaderName) -> bool {
    [signature::ID, signature::TIMESTAMP, signature::SIGNATURE].contains(&name.as_str())
}

fn checked(headers: &[(String, String)], is_signed: bool) -> Result<HeaderMap, WebhookError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|_| WebhookError::HeaderName)?;
        if RESERVED.contains(&name) || is_signed && is_signature(&name) {
            return Err(WebhookError::ReservedHeader { name: name.to_string() });
        }
        let mut value =
            HeaderValue::try_from(value).map_err(|_| WebhookError::HeaderValue { name: name.to_string() })?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    if map.iter().map(size).sum::<usize>() > MAX_HEADERS || map.iter().map(size).any(|size| size > MAX_HEADER - 4) {
        return Err(WebhookError::HeadersTooLarge);
    }
    Ok(map)
}

/// Shows the timeouts. The URL has not been taken apart yet, so it is left out as a whole.
impl<F> fmt::Debug for WebhookBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookBuilder")
            .field("timeout", &self.options.timeout)
            .field("connect_timeout", &self.options.connect_timeout)
            .field("max_retry_after", &self.options.max_retry_after)
            .finish_non_exhaustive()
    }
}
