//! Which addresses a webhook may connect to.
//!
//! Whoever names an endpoint decides where this machine connects, and it reaches what its owner does not: its own loopback, the private network around
//! it, the metadata service of a cloud. So only public addresses are allowed unless told otherwise (server-side request forgery; the Standard
//! Webhooks specification asks for the same).
//!
//! A name says nothing about its address, and may have another one at the next look-up (DNS rebinding). So the rule is asked at one place: about
//! the very address that is about to be connected to, each time a connection is made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Which addresses a webhook may connect to: public ones, and what is allowed besides, but never what is denied.
///
/// A denied network counts for more than an allowed one, however large each is. An IPv6 address that stands for an IPv4 address (mapped, NAT64, 6to4)
/// is judged as that IPv4 address too.
///
/// ```
/// use sinkworks::webhook::AddressPolicy;
///
/// let policy = AddressPolicy::public_only().allow("10.20.0.0/16".parse()?).deny("10.20.7.0/24".parse()?);
/// assert!(policy.check("10.20.1.1".parse()?).is_ok());
/// assert!(policy.check("10.20.7.1".parse()?).is_err());
/// assert!(policy.check("169.254.169.254".parse()?).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressPolicy {
    allowed: Vec<Network>,
    denied: Vec<Network>,
}

impl AddressPolicy {
    /// Public addresses only. This is the default.
    #[must_use]
    pub fn public_only() -> Self {
        Self::default()
    }

    /// Every address. For endpoints that only the operator of the service names.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
            .allow(Network::v4([0, 0, 0, 0], 0))
            .allow(Network { base: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 })
    }

    /// Allows a network as well.
    #[must_use]
    pub fn allow(mut self, network: Network) -> Self {
        self.allowed.push(network);
        self
    }

    /// Allows this machine's loopback as well: `127.0.0.0/8` and `::1`.
    #[must_use]
    pub fn allow_loopback(self) -> Self {
        self.allow(Network::v4([127, 0, 0, 0], 8)).allow(Network::v6([0, 0, 0, 0, 0, 0, 0, 1], 128))
    }

    /// Allows private networks as well: `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16` and `fc00::/7`.
    #[must_use]
    pub fn allow_private(self) -> Self {
        self.allow(Network::v4([10, 0, 0, 0], 8))
            .allow(Network::v4([172, 16, 0, 0], 12))
            .allow(Network::v4([192, 168, 0, 0], 16))
            .allow(Network::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7))
    }

    /// Denies a network, even where it is public or allowed.
    #[must_use]
    pub fn deny(mut self, network: Network) -> Self {
        self.denied.push(network);
        self
    }

    /// Whether the address may be connected to.
    ///
    /// # Errors
    ///
    /// A [`RefusedAddress`] that says why not.
    pub fn check(&self, address: IpAddr) -> Result<(), RefusedAddress> {
        let address = address.to_canonical();
        let embedded = embedded(address);
        let within = |networks: &[Network], address| networks.iter().any(|network| network.contains(address));
        let denied = within(&self.denied, address)
            || embedded.is_some_and(|embedded| within(&self.denied, IpAddr::V4(embedded)));
        let kind = AddressKind::of(address);
        if denied {
            return Err(RefusedAddress { kind, denied });
        }
        let allowed = within(&self.allowed, address)
            || embedded.is_some_and(|embedded| within(&self.allowed, IpAddr::V4(embedded)))
            || kind == AddressKind::Public;
        if allowed { Ok(()) } else { Err(RefusedAddress { kind, denied }) }
    }
}

/// Why an address is refused. The text does not name the address: it may be a part of a URL that is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint's address is refused: it is {}", if *denied { "in a network that is denied" } else { kind.text() })]
pub struct RefusedAddress {
    kind: AddressKind,
    denied: bool,
}

impl RefusedAddress {
    /// What kind of address it is.
    #[must_use]
    pub fn kind(&self) -> AddressKind {
        self.kind
    }

    /// Whether it is refused because of a rule that [denies](AddressPolicy::deny) it. If not, nothing allows it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.denied
    }
}

/// What an address is for, as the IANA special-purpose address registries say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressKind {
    /// Any host of the internet.
    Public,
    /// This machine: `127.0.0.0/8`, `::1`.
    Loopback,
    /// A private network: `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16`, `fc00::/7` (unique local), `fec0::/10`.
    Private,
    /// The link only: `169.254.0.0/16`, where clouds have their metadata service, and `fe80::/10`.
    LinkLocal,
    /// Between a provider and its customers (carrier-grade NAT): `100.64.0.0/10`.
    Shared,
    /// Many hosts: `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// No address, which systems take for this machine: `0.0.0.0/8`, `::`.
    Unspecified,
    /// Anything else that is no host of the internet: documentation, benchmarks, broadcast, protocols' own, not given out.
    Reserved,
}

impl AddressKind {
    /// The kind of an address. An IPv6 address that stands for an IPv4 address (mapped, NAT64, 6to4) is of that one's kind.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match (address.to_canonical(), embedded(address)) {
            (IpAddr::V4(address), _) | (IpAddr::V6(_), Some(address)) => Self::of_v4(address),
            (IpAddr::V6(address), None) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [0, ..] => Self::Unspecified,
            [127, ..] => Self::Loopback,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
            [169, 254, ..] => Self::LinkLocal,
            [100, 64..=127, ..] => Self::Shared,
            [224..=239, ..] => Self::Multicast,
            // Protocols' own, documentation, the old 6to4 relays, benchmarks, the rest of class E with broadcast; and a public address that inside
            // Azure is the host's own service.
            [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [240..=255, ..]
            | [168, 63, 129, 16] => Self::Reserved,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Self::Private,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xff00..=0xffff, ..] => Self::Multicast,
            // Protocols' own (Teredo, ORCHID, benchmarks …), documentation.
            [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Self::Reserved,
            // All that IANA has ever given out for hosts of the internet.
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Reserved,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Shared => "a shared address of a provider",
            Self::Multicast => "a multicast address",
            Self::Unspecified => "an unspecified address",
            Self::Reserved => "a reserved address",
        }
    }
}

/// The IPv4 address that a router takes out of an IPv6 address, where it does: NAT64's well-known prefix (RFC 6052) and 6to4 (RFC 3056). On a network
/// without IPv4 every host that has only an IPv4 address is reached by the first.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let bits = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(bits(high, low)),
        _ => None,
    }
}

/// A network: an address and how many of its leading bits count.
///
/// It is written like `10.0.0.0/8` or `fd00::/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    base: IpAddr,
    length: u8,
}

impl Network {
    /// The network of all addresses that share the first `length` bits with `base`. A network of IPv4-mapped IPv6 addresses is taken for that of the IPv4
    /// addresses.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Length`] if `length` is more than 32 for IPv4 or 128 for IPv6, [`NetworkError::HostBits`] if `base` has a bit set beyond it.
    pub fn new(base: IpAddr, length: u8) -> Result<Self, NetworkError> {
        let (base, length) = match base.to_canonical() {
            canonical @ IpAddr::V4(_) if base.is_ipv6() && (96..=128).contains(&length) => (canonical, length - 96),
            _ => (base, length),
        };
        if length > bits(base).1 {
            return Err(NetworkError::Length);
        }
        let network = Self { base, length };
        if bits(base).0 & !network.mask() == 0 { Ok(network) } else { Err(NetworkError::HostBits) }
    }

    const fn v4(base: [u8; 4], length: u8) -> Self {
        Self { base: IpAddr::V4(Ipv4Addr::new(base[0], base[1], base[2], base[3])), length }
    }

    const fn v6(s: [u16; 8], length: u8) -> Self {
        Self { base: IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7])), length }
    }

    /// Whether the address is in the network. An IPv4-mapped IPv6 address counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && bits(address).0 & self.mask() == bits(self.base).0
    }

    fn mask(&self) -> u128 {
        let width = bits(self.base).1;
        let low = u128::MAX.checked_shr(u32::from(128 - width + self.length)).unwrap_or(0);
        !low & u128::MAX.checked_shr(u32::from(128 - width)).unwrap_or(0)
    }
}

/// The bits of an address, and how many there are.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (base, length) = text.split_once('/').map_or((text, None), |(base, length)| (base, Some(length)));
        let base: IpAddr = base.parse().map_err(|_| NetworkError::Address)?;
        let length = match length {
            None => bits(base).1,
            // Digits only: the number's own parser takes a sign.
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map_err(|_| NetworkError::Length)?
            }
            Some(_) => return Err(NetworkError::Length),
        };
        Self::new(base, length)
    }
}

/// Why a text is no [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// What stands before the slash is no IP address.
    #[error("a network must begin with an IP address")]
    Address,
    /// The number of bits is missing, no number, or more than the address has.
    #[error("the length of a network must be a number of bits that its address has")]
    Length,
    /// The address has a bit set beyond the length, so it is not clear what is meant.
    #[error("the address of a network must have no bit set beyond its length")]
    HostBits,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str) -> AddressKind {
        AddressKind::of(address.parse().unwrap())
    }

    #[test]
    fn every_special_address_has_its_kind() {
        use AddressKind::{LinkLocal, Loopback, Multicast, Private, Public, Reserved, Shared, Unspecified};
        let table = [
            (
                Public,
                "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255",
            ),
            (Public, "172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255"),
            (
                Public,
                "2000:: 2606:4700:4700::1111 2001:200:: 2001:4860:4860::8888 3ffe:: ::ffff:1.1.1.1 64:ff9b::1.1.1.1",
            ),
            (Public, "2002:101:101::1"),
            (Loopback, "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 64:ff9b::127.0.0.1 2002:7f00:1::"),
            (Private, "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255"),
            (Private, "fc00:: fdff:ffff:: fd00:ec2::254 fec0::1 ::ffff:10.0.0.1 64:ff9b::10.0.0.1 2002:a00:1::"),
            (LinkLocal, "169.254.0.0 169.254.169.254 169.254.255.255 fe80:: febf:ffff:: ::ffff:169.254.169.254"),
            (Shared, "100.64.0.0 100.100.100.200 100.127.255.255 ::ffff:100.64.0.1"),
            (Multicast, "224.0.0.0 239.255.255.255 ff00:: ff02::1"),
            (Unspecified, "0.0.0.0 0.255.255.255 :: ::ffff:0.0.0.0 64:ff9b::"),
            (
                Reserved,
                "192.0.0.0 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.1",
            ),
            (Reserved, "240.0.0.0 255.255.255.255 168.63.129.16 ::2 ::127.0.0.1 ::a00:1 100::1 64:ff9b:1::a00:1"),
            (Reserved, "2001::1 2001:10::1 2001:1ff:: 2001:db8::1 3fff:fff::1 4000:: 5f00::1 ::ffff:0:127.0.0.1"),
        ];
        for (expected, addresses) in table {
            for address in addresses.split(' ') {
                assert_eq!(kind(address), expected, "{address}");
                let policy = AddressPolicy::public_only();
                let checked = policy.check(address.parse().unwrap());
                let refused = RefusedAddress { kind: expected, denied: false };
                assert_eq!(checked, if expected == Public { Ok(()) } else { Err(refused) }, "{address}");
            }
        }
    }

    #[test]
    fn what_is_allowed_is_allowed_besides() {
        let loopback = AddressPolicy::public_only().allow_loopback();
        let private = AddressPolicy::public_only().allow_private();
        let may = |policy: &AddressPolicy, address: &str| policy.check(address.parse().unwrap()).is_ok();
        assert!(["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "1.1.1.1"].iter().all(|a| may(&loopback, a)));
        assert!(!["10.0.0.1", "::", "0.0.0.0", "169.254.169.254", "fd00::1"].iter().any(|a| may(&loopback, a)));
        assert!(
            ["10.9.9.9", "172.31.0.1", "192.168.1.1", "fd00::1", "64:ff9b::10.0.0.1"].iter().all(|a| may(&private, a))
        );
        assert!(!["127.0.0.1", "100.64.0.1", "fe80::1", "fec0::1"].iter().any(|a| may(&private, a)));
        assert!(["127.0.0.1", "::", "ff02::1", "1.1.1.1", "4000::"].iter().all(|a| may(&AddressPolicy::any(), a)));
    }

    #[test]
    fn what_is_denied_is_denied_whatever_allows_it() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let policy =
            AddressPolicy::any().deny(network("10.0.0.0/8")).deny(network("2606::/16")).allow(network("10.1.0.0/16"));
        for address in ["10.1.0.1", "::ffff:10.1.0.1", "64:ff9b::10.1.0.1", "2002:a01:1::", "2606::1"] {
            let refused = policy.check(address.parse().unwrap()).unwrap_err();
            assert!(refused.is_denied(), "{address}");
            assert!(refused.to_string().contains("denied"));
        }
        assert!(policy.check("11.0.0.1".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_network_is_parsed_or_refused_with_its_reason() {
        let parse = |text: &str| text.parse::<Network>();
        assert_eq!(parse("10.0.0.0/8"), Ok(Network::v4([10, 0, 0, 0], 8)));
        assert_eq!(parse("10.0.0.1"), Ok(Network::v4([10, 0, 0, 1], 32)));
        assert_eq!(parse("0.0.0.0/0"), Ok(Network::v4([0, 0, 0, 0], 0)));
        assert_eq!(parse("::ffff:10.0.0.0/104"), Ok(Network::v4([10, 0, 0, 0], 8)));
        assert_eq!(parse("fd00::/8"), Ok(Network::v6([0xfd00, 0, 0, 0, 0, 0, 0, 0], 8)));
        assert_eq!(parse("::1"), Ok(Network::v6([0, 0, 0, 0, 0, 0, 0, 1], 128)));
        for (text, error) in [
            ("", NetworkError::Address),
            ("example.com/8", NetworkError::Address),
            ("10.0.0/8", NetworkError::Address),
            ("10.0.0.0/", NetworkError::Length),
            ("10.0.0.0/33", NetworkError::Length),
            ("10.0.0.0/-1", NetworkError::Length),
            ("10.0.0.0/+8", NetworkError::Length),
            ("::/129", NetworkError::Length),
            ("10.0.0.1/8", NetworkError::HostBits),
            ("fd00::1/64", NetworkError::HostBits),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }
}
