//! Why a webhook cannot be built, and why an event was not delivered. No text of these errors has any part of the URL,
//! a header's value or the answer in it, so that they are safe to log.

use std::io;

use super::address::RefusedAddress;
use super::formats::EncodeError;

/// Why a [`Webhook`](super::Webhook) cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The URL has no scheme: it is a path, a bare host, or no URL at all.
    #[error("the URL must be absolute, with a scheme and a host")]
    NotAbsolute,
    /// The name is empty, longer than 128 bytes, or has a control character in it.
    #[error("a name must have 1 to 128 bytes and no control character")]
    Name,
    /// The URL has a scheme other than `http` and `https`.
    #[error("the URL's scheme must be http or https")]
    Scheme,
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
    /// The URL's port is not a number from 1 to 65535.
    #[error("the URL's port must be a number from 1 to 65535")]
    Port,
    /// The URL's credentials have a percent sign or a second colon in them, which can be read in more than one way.
    /// Send them in a header `authorization` instead.
    #[error("the URL's credentials are ambiguous: send them in an authorization header")]
    Credentials,
    /// The URL has a character that must be encoded, or its host or port is malformed.
    #[error("the URL cannot be parsed")]
    Unparsable,
    /// The URL's path and query are longer than 8 KB.
    #[error("the URL is too long")]
    TooLong,
    /// The URL has an address, or a name of the loopback, that the [`AddressPolicy`](super::AddressPolicy) does not allow.
    #[error(transparent)]
    Address(#[from] RefusedAddress),
    /// The environment names a proxy that is none for HTTP.
    #[error("the environment's proxy must be one for HTTP")]
    Proxy,
    /// No status means success, or one that does is not from 200 to 599.
    #[error("the statuses that mean success must be from 200 to 599, and at least one")]
    SuccessStatuses,
    /// A header has more than 8 KB, or all of them more than 16 KiB.
    #[error("the headers are too large")]
    HeadersTooLarge,
    /// A header's name is empty or has a character that a name cannot have.
    #[error("a header's name is not valid")]
    HeaderName,
    /// A header's value has a line break or another character that a value cannot have.
    #[error("the value of the header {name} is not valid")]
    HeaderValue {
        /// The header's name, in lower case.
        name: String,
    },
    /// The header says where a request ends or what becomes of the connection, which is the HTTP client's business, or it is one of the signature's and requests
    /// are signed.
    #[error("the header {name} is set by the HTTP client or by the signature")]
    ReservedHeader {
        /// The header's name, in lower case.
        name: String,
    },
    /// What [`root_certificates`](super::WebhookBuilder::root_certificates) was given is no PEM, has no certificate, or one that is none.
    #[error("the root certificates must be PEM with at least one certificate, and no other")]
    RootCertificates,
    /// What [`client_certificate`](super::WebhookBuilder::client_certificate) was given is no PEM, or the key is not that of the first certificate.
    #[error("the client certificate must be a chain and the private key of its first certificate, as PEM")]
    ClientCertificate,
    /// A timeout of zero: no request could ever succeed.
    #[error("{option} must be longer than zero")]
    ZeroTimeout {
        /// The builder's option.
        option: &'static str,
    },
}

/// Why an event was not delivered: the [`cause`](crate::Failure::cause) of the failure that a
/// [`Webhook`](super::Webhook) answers.
///
/// ```
/// use sinkworks::WriteError;
/// use sinkworks::webhook::DeliveryError;
///
/// fn is_unknown(error: &WriteError) -> bool {
///     let WriteError::Failed(failure) = error else { return false };
///     matches!(failure.cause().downcast_ref(), Some(DeliveryError::Status(404)))
/// }
/// # assert!(is_unknown(&sinkworks::Failure::permanent(DeliveryError::Status(404)).into()));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The endpoint answered with this status, which does not mean success.
    #[error("the endpoint answered with status {0}")]
    Status(u16),
    /// There was no answer within the timeout. The endpoint may have received the event all the same.
    #[error("the endpoint did not answer in time")]
    Timeout,
    /// There is no connection, or it broke: unknown host, refused, reset, failed TLS handshake.
    #[error("the connection failed: {0}")]
    Connection(#[source] io::Error),
    /// What the endpoint sent is not HTTP, or its headers are larger than 16 KiB.
    #[error("the endpoint's answer cannot be understood")]
    Answer,
    /// The host's addresses are none that the [`AddressPolicy`](super::AddressPolicy) allows. Nothing was sent.
    #[error(transparent)]
    Refused(RefusedAddress),
    /// The event cannot be written in the webhook's format. The text may be that of the event's own `Serialize`.
    #[error("the event cannot be encoded: {0}")]
    Encode(#[source] EncodeError),
    /// The event is larger than the webhook's [`max_body`](super::WebhookBuilder::max_body). Nothing was sent.
    #[error("the event has more than {max} bytes")]
    TooLarge {
        /// The largest body in bytes.
        max: usize,
    },
    /// What [`id_from`](super::WebhookBuilder::id_from) made of the event is no id. Nothing was sent.
    #[error("the event's id is not valid")]
    Id,
}

impl DeliveryError {
    /// What the HTTP client reports. Some of its errors quote the URL or what a proxy said, so only those are passed on
    /// that are known not to.
    pub(super) fn from_client(error: ureq::Error) -> Self {
        use ureq::Error;
        match error {
            Error::Timeout(_) => Self::Timeout,
            Error::Io(error) => Self::Connection(error),
            Error::HostNotFound => Self::Connection(io::Error::new(io::ErrorKind::NotFound, "the host was not found")),
            Error::Rustls(error) => Self::Connection(io::Error::other(error)),
            Error::Tls(text) => Self::Connection(io::Error::other(text)),
            Error::ConnectProxyFailed(_) => Self::Connection(io::Error::other("the proxy did not connect")),
            Error::Other(error) => match error.downcast() {
                Ok(refused) => Self::Refused(*refused),
                Err(_) => Self::Connection(io::Error::other("the HTTP client failed")),
            },
            Error::Protocol(_) | Error::LargeResponseHeader(..) => Self::Answer,
            _ => Self::Connection(io::Error::other("the HTTP client failed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_quotes_is_not_passed_on() {
        let url = || "https://user:secret@example.com/?token=secret".to_owned();
        for error in
            [ureq::Error::BadUri(url()), ureq::Error::RequireHttpsOnly(url()), ureq::Error::ConnectProxyFailed(url())]
        {
            let error = DeliveryError::from_client(error);
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }
}
