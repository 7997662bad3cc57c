//! Looking hosts up, but not for every event.
//!
//! The HTTP client looks the host up before it sees whether it has a connection already, and since the look-up has to end in time, it starts a
//! thread for each. Measured on 2 busy cores, for posts to a loopback receiver: 134 to 397 µs a post with a look-up of `127.0.0.1`, 270 to
//! 1807 µs with one of `localhost`, which reads files; 38 to 75 µs without. So
//!
//! - an address is taken as it is;
//! - what was found for a name is used for a while, and forgotten when a connection fails, so that a host that has moved is found at once.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::{Authority, Scheme};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long the addresses of a name are used. Shorter than most names' time to live, long against the time between two events
/// where the look-up matters.
const KEPT: Duration = Duration::from_secs(10);

/// A handle: clones share what they know.
#[derive(Clone)]
pub(super) struct Hosts(Arc<Inner>);

struct Inner {
    system: Box<dyn Resolver>,
    /// One entry: a webhook has one host, and with some proxies the proxy's.
    known: Mutex<Option<Known>>,
}

struct Known {
    scheme: Scheme,
    authority: Authority,
    addresses: ResolvedSocketAddrs,
    until: Instant,
}

impl Hosts {
    pub(super) fn new() -> Self {
        Self::with(DefaultResolver::default())
    }

    fn with(system: impl Resolver) -> Self {
        Self(Arc::new(Inner { system: Box::new(system), known: Mutex::new(None) }))
    }

    /// The next request looks its host up.
    pub(super) fn forget(&self) {
        *self.known() = None;
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
        now: Instant,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return self.0.system.resolve(uri, config, timeout);
        };
        if let Some(address) = literal(scheme, authority) {
            let mut addresses = self.empty();
            addresses.push(address);
            return Ok(addresses);
        }
        let is_known = |known: &&Known| known.scheme == *scheme && known.authority == *authority && now < known.until;
        if let Some(known) = self.known().as_ref().filter(is_known) {
            return Ok(known.addresses.clone());
        }
        // Without the lock, since this takes time; two that look up at once find the same.
        let addresses = self.0.system.resolve(uri, config, timeout)?;
        *self.known() = Some(Known {
            scheme: scheme.clone(),
            authority: authority.clone(),
            addresses: addresses.clone(),
            until: now + KEPT,
        });
        Ok(addresses)
    }
}

/// The address that the host is, if it is one.
fn literal(scheme: &Scheme, authority: &Authority) -> Option<SocketAddr> {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let ip: IpAddr = host.parse().ok()?;
    let port = match (authority.port_u16(), scheme.as_str()) {
        (Some(port), _) => port,
        (None, "http") => 80,
        (None, "https") => 443,
        // A proxy's, whose default is the client's to know.
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

impl Resolver for Hosts {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        self.find(uri, config, timeout, Instant::now())
    }
}

/// Without what is known: a URL may have credentials in it.
impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;

    /// Finds port 1 at the first look-up, port 2 at the second, …
    #[derive(Debug, Default, Clone)]
    struct Counting(Arc<AtomicU16>);

    impl Resolver for Counting {
        fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
            let port = self.0.fetch_add(1, Ordering::Relaxed) + 1;
            let mut addresses = self.empty();
            addresses.push(([10, 0, 0, 1], port).into());
            Ok(addresses)
        }
    }

    fn found(hosts: &Hosts, url: &'static str, now: Instant) -> String {
        let addresses = hosts.find(&Uri::from_static(url), &Config::default(), NextTimeout::default(), now).unwrap();
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_name_is_looked_up_once_in_a_while_and_after_a_failure() {
        let (hosts, now) = (Hosts::with(Counting::default()), Instant::now());
        let found = |url, now| found(&hosts, url, now);
        assert_eq!(found("http://a.example/x", now), "10.0.0.1:1");
        assert_eq!(found("http://a.example/y", now + KEPT / 2), "10.0.0.1:1");
        assert_eq!(found("http://a.example/x", now + KEPT), "10.0.0.1:2");
        hosts.forget();
        assert_eq!(found("http://a.example/x", now + KEPT), "10.0.0.1:3");
        assert_eq!(found("https://a.example/x", now + KEPT), "10.0.0.1:4", "another port");
        assert_eq!(found("https://b.example/x", now + KEPT), "10.0.0.1:5", "another name");
    }

    #[test]
    fn an_address_is_not_looked_up() {
        let (hosts, now) = (Hosts::with(Counting::default()), Instant::now());
        let found = |url| found(&hosts, url, now);
        assert_eq!(found("http://127.0.0.1/"), "127.0.0.1:80");
        assert_eq!(found("https://u:p@127.0.0.1/"), "127.0.0.1:443");
        assert_eq!(found("https://[::1]:8443/"), "[::1]:8443");
        assert_eq!(found("http://1.2.3.4.example/"), "10.0.0.1:1");
    }
}
