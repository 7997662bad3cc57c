//! The URL that a webhook posts to: what is wrong with it is said when it is built and not by every event.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::http::Uri;

use super::address::AddressPolicy;
use super::connect::MAX_HEADER;
use super::error::WebhookError;

/// A URL that a request can be sent to. Its text forms have scheme, host and port only, since every other part may
/// hold a secret.
pub(super) struct Endpoint(Uri);

impl Endpoint {
    pub(super) fn parse(url: &str) -> Result<Self, WebhookError> {
        let (scheme, rest) =
            url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).ok_or(WebhookError::NotAbsolute)?;
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(WebhookError::Scheme);
        }
        if rest.is_empty() || rest.starts_with(['/', '?', '#']) {
            return Err(WebhookError::NoHost);
        }
        let uri: Uri = url.parse().map_err(|_| WebhookError::Unparsable)?;
        let authority = uri.authority().ok_or(WebhookError::NoHost)?;
        let (credentials, host_and_port) = authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
        if authority.host().is_empty() {
            return Err(WebhookError::NoHost);
        }
        // The HTTP client takes a port that it cannot read for the default port.
        if host_and_port != authority.host() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(WebhookError::Port);
        }
        // The HTTP client sends credentials as they are written and parts them at the last colon. A password that needs
        // more than that would be refused by the endpoint, for no reason that anybody could see.
        if credentials.contains('%') || credentials.matches(':').count() > 1 {
            return Err(WebhookError::Credentials);
        }
        // The client sends the line with the path as a whole.
        if uri.path_and_query().is_some_and(|path| path.as_str().len() > MAX_HEADER - 32) {
            return Err(WebhookError::TooLong);
        }
        Ok(Self(uri))
    }

    /// Whether the policy allows the host, as far as the URL tells: an address, or a name that every system has for its loopback. About any other name it is asked
    /// when its address is known.
    pub(super) fn check(&self, policy: &AddressPolicy) -> Result<(), WebhookError> {
        let checked = match self.address() {
            Some(address) => policy.check(address),
            None if self.is_localhost() => {
                policy.check(Ipv4Addr::LOCALHOST.into()).or_else(|_| policy.check(Ipv6Addr::LOCALHOST.into()))
            }
            None => Ok(()),
        };
        checked.map_err(WebhookError::Address)
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether the host is this machine, as far as its name tells.
    pub(super) fn is_loopback(&self) -> bool {
        self.is_localhost() || self.address().is_some_and(|address| address.to_canonical().is_loopback())
    }

    fn address(&self) -> Option<IpAddr> {
        self.host().trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The names that RFC 6761 keeps for the loopback.
    fn is_localhost(&self) -> bool {
        let host = self.host().trim_end_matches('.');
        let last = host.rsplit('.').next().unwrap_or_default();
        last.eq_ignore_ascii_case("localhost")
    }

    fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }
}

/// What stands before the `://` in a URL, so that a `://` in a path or in a query is not taken for one.
fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme_str().unwrap_or_default(), self.0.host().unwrap_or_default())?;
        self.0.port_u16().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_has_scheme_host_and_port_only() {
        let text = |url| Endpoint::parse(url).unwrap().to_string();
        assert_eq!(text("https://user:secret@example.com/path?token=1#x"), "https://example.com");
        assert_eq!(text("HTTP://user@[::1]:8080/path"), "http://[::1]:8080");
    }

    #[test]
    fn loopback_is_told_from_the_host_alone() {
        let is_loopback = |host: &str| Endpoint::parse(&format!("http://{host}/")).unwrap().is_loopback();
        assert!(
            [
                "localhost",
                "LocalHost:80",
                "a.localhost",
                "localhost.",
                "127.0.0.1",
                "127.9.9.9:1",
                "[::1]:80",
                "u:p@127.0.0.1"
            ]
            .map(is_loopback)
            .iter()
            .all(|is| *is)
        );
        assert!(
            !["example.com", "localhost.example.com", "10.0.0.1", "[2001:db8::1]"]
                .map(is_loopback)
                .iter()
                .any(|is| *is)
        );
    }
}
