//! The address policy: which IP addresses may be dialled (protection against SSRF). The engine can dial only a
//! [`Dialable`], which only a [`Policy`] makes; so each address is checked before each `connect`, on every hop and for
//! every answer of the resolver, and a name that changes its address between check and use (DNS rebinding) gains nothing.
//!
//! An IPv6 address that embeds an IPv4 address (mapped, compatible, NAT64, 6to4) is checked as both.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::error::ErrorKind;
use crate::outcome::Failure;

/// What an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The public internet.
    Public,
    /// This machine, a private network, or nothing at all; and which of them.
    Private(&'static str),
    /// A cloud's metadata service or the local link: refused unless `--allow-address` names it.
    Guarded(&'static str),
}

impl Reach {
    /// What an address leads to.
    ///
    /// ```
    /// use overlapped_proto::address::Reach;
    ///
    /// assert_eq!(Reach::of("1.1.1.1".parse()?), Reach::Public);
    /// assert_eq!(Reach::of("::ffff:10.0.0.1".parse()?), Reach::Private("private use"));
    /// assert_eq!(Reach::of("169.254.169.254".parse()?), Reach::Guarded("link-local"));
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// The stricter of the two.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Guarded(_), _) | (_, Self::Public) => self,
            (_, Self::Guarded(_)) | (Self::Public, _) => other,
            (Self::Private(_), Self::Private(_)) => self,
        }
    }
}

/// Which addresses the user allows.
///
/// ```
/// use overlapped_proto::address::Policy;
///
/// let mut policy = Policy { public_only: true, ..Policy::default() };
/// assert!(policy.judge("10.0.0.1".parse()?).is_err());
/// policy.allow.push("10.0.0.0/8".parse()?);
/// assert!(policy.judge("10.0.0.1".parse()?).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Only the public internet (`--public-only`): for untrusted lists.
    pub public_only: bool,
    /// What is allowed all the same (`--allow-address`).
    pub allow: Vec<Network>,
}

impl Policy {
    /// Checks an address to which a row's own URL leads.
    ///
    /// ```compile_fail
    /// // There is no other way to a `Dialable`.
    /// let address: std::net::IpAddr = "127.0.0.1".parse().unwrap();
    /// let unjudged = overlapped_proto::address::Dialable(address);
    /// ```
    ///
    /// # Errors
    ///
    /// `policy.address`, saying what the address is and how to allow it.
    pub fn judge(&self, address: IpAddr) -> Result<Dialable, Failure> {
        match Reach::of(address) {
            Reach::Private(what) if self.public_only => self.unless_allowed(address, what, ""),
            Reach::Guarded(what) => self.unless_allowed(address, what, ""),
            Reach::Public | Reach::Private(_) => Ok(Dialable(address)),
        }
    }

    /// Checks an address to which a row leads after a public address has redirected it: it must be public.
    ///
    /// # Errors
    ///
    /// `policy.address`, saying what the address is and how to allow it.
    pub fn judge_from_public(&self, address: IpAddr) -> Result<Dialable, Failure> {
        match Reach::of(address) {
            Reach::Private(what) => {
                self.unless_allowed(address, what, " by a redirect from a public address")
            }
            Reach::Public | Reach::Guarded(_) => self.judge(address),
        }
    }

    fn unless_allowed(&self, address: IpAddr, what: &str, why: &str) -> Result<Dialable, Failure> {
        if self.allow.iter().any(|network| network.contains(address)) {
            return Ok(Dialable(address));
        }
        let message =
            format!("{address} ({what}) may not be dialled{why}; --allow-address {address} allows it");
        Err(Failure::new(ErrorKind::PolicyAddress, message))
    }
}

/// An address that a [`Policy`] allows to be dialled.
///
/// ```
/// use overlapped_proto::address::Policy;
///
/// let dialable = Policy::default().judge("192.0.2.7".parse()?)?;
/// assert_eq!(dialable.address(), "192.0.2.7".parse::<std::net::IpAddr>()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialable(IpAddr);

impl Dialable {
    /// The address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.0
    }
}

/// A network in CIDR notation, or a single address.
///
/// ```
/// use overlapped_proto::address::Network;
///
/// let network: Network = "192.168.0.0/16".parse()?;
/// assert!(network.contains("192.168.7.7".parse()?));
/// assert!(network.contains("::ffff:192.168.7.7".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// True if the address, or the IPv4 address that it maps, lies in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same_prefix_32(network.to_bits(), address.to_bits(), self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same_prefix_128(network.to_bits(), address.to_bits(), self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = |problem| NetworkError { text: text.into(), problem };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error("is not an address"))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= bits),
            None => Some(bits),
        };
        let prefix = prefix.ok_or_else(|| error("has no such prefix length"))?;
        let beyond = match address {
            IpAddr::V4(address) => address.to_bits().checked_shl(prefix).unwrap_or(0) != 0,
            IpAddr::V6(address) => address.to_bits().checked_shl(prefix).unwrap_or(0) != 0,
        };
        if beyond { Err(error("has bits set beyond its prefix")) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Text that is not a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError {
    text: Box<str>,
    problem: &'static str,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}; a network is written like 10.0.0.0/8 or fd00::/8", self.text, self.problem)
    }
}

impl std::error::Error for NetworkError {}

use Reach::{Guarded, Private};

/// A network as its first address and the length of its prefix, and what it leads to.
type Range<Bits> = (Bits, u32, Reach);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u32, reach: Reach) -> Range<u32> {
    (Ipv4Addr::new(a, b, c, d).to_bits(), prefix, reach)
}

const fn v6(start: [u16; 3], end: u16, prefix: u32, reach: Reach) -> Range<u128> {
    let [a, b, c] = start;
    (Ipv6Addr::new(a, b, c, 0, 0, 0, 0, end).to_bits(), prefix, reach)
}

/// IANA's registry of special IPv4 addresses, and those where clouds answer; the first match counts.
const V4: &[Range<u32>] = &[
    v4(100, 100, 100, 200, 32, Guarded("cloud metadata")),
    v4(168, 63, 129, 16, 32, Guarded("cloud metadata")),
    v4(169, 254, 0, 0, 16, Guarded("link-local")),
    v4(0, 0, 0, 0, 8, Private("unspecified")),
    v4(10, 0, 0, 0, 8, Private("private use")),
    v4(100, 64, 0, 0, 10, Private("carrier-grade NAT")),
    v4(127, 0, 0, 0, 8, Private("loopback")),
    v4(172, 16, 0, 0, 12, Private("private use")),
    v4(192, 0, 0, 0, 24, Private("protocol assignment")),
    v4(192, 0, 2, 0, 24, Private("documentation")),
    v4(192, 88, 99, 0, 24, Private("6to4 relay")),
    v4(192, 168, 0, 0, 16, Private("private use")),
    v4(198, 18, 0, 0, 15, Private("benchmarking")),
    v4(198, 51, 100, 0, 24, Private("documentation")),
    v4(203, 0, 113, 0, 24, Private("documentation")),
    v4(224, 0, 0, 0, 4, Private("multicast")),
    v4(240, 0, 0, 0, 4, Private("reserved")),
];

/// The same for IPv6. Only 2000::/3 is given out for the public internet.
const V6: &[Range<u128>] = &[
    v6([0xfd00, 0xec2, 0], 0x254, 128, Guarded("cloud metadata")),
    v6([0xfe80, 0, 0], 0, 10, Guarded("link-local")),
    v6([0x2001, 0, 0], 0, 32, Guarded("Teredo")),
    v6([0, 0, 0], 0, 128, Private("unspecified")),
    v6([0, 0, 0], 1, 128, Private("loopback")),
    v6([0, 0, 0], 0, 96, Private("IPv4-compatible")),
    v6([0x64, 0xff9b, 1], 0, 48, Private("local NAT64")),
    v6([0x2001, 0, 0], 0, 23, Private("protocol assignment")),
    v6([0x2001, 0xdb8, 0], 0, 32, Private("documentation")),
    v6([0x3fff, 0, 0], 0, 20, Private("documentation")),
    v6([0x2000, 0, 0], 0, 3, Reach::Public),
    v6([0xfc00, 0, 0], 0, 7, Private("private use")),
    v6([0xfec0, 0, 0], 0, 10, Private("site-local")),
    v6([0xff00, 0, 0], 0, 8, Private("multicast")),
    v6([0, 0, 0], 0, 0, Private("reserved")),
];

fn of_v4(address: Ipv4Addr) -> Reach {
    let bits = address.to_bits();
    let found = V4.iter().find(|(first, prefix, _)| same_prefix_32(bits, *first, *prefix));
    found.map_or(Reach::Public, |(_, _, reach)| *reach)
}

fn of_v6(address: Ipv6Addr) -> Reach {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return of_v4(mapped);
    }
    let bits = address.to_bits();
    let found = V6.iter().find(|(first, prefix, _)| same_prefix_128(bits, *first, *prefix));
    let own = found.map_or(Private("reserved"), |(_, _, reach)| *reach);
    let [a, b, c, d, e, f, g, h] = address.segments();
    let inside = |high: u16, low: u16| of_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match [a, b, c] {
        [0x64, 0xff9b, 0] if [d, e, f] == [0; 3] => inside(g, h),
        // RFC 8215 leaves the layout to the network: at the end, or around the byte that RFC 6052 keeps free.
        [0x64, 0xff9b, 1] => own.and(inside(g, h)).and(inside(d, e << 8 | f >> 8)),
        [0x2002, high, low] => own.and(inside(high, low)),
        [0, 0, 0] if [d, e, f] == [0; 3] && bits > 1 => own.and(inside(g, h)),
        _ => own,
    }
}

fn same_prefix_32(a: u32, b: u32, prefix: u32) -> bool {
    (a ^ b).checked_shr(32_u32.saturating_sub(prefix)).unwrap_or(0) == 0
}

fn same_prefix_128(a: u128, b: u128, prefix: u32) -> bool {
    (a ^ b).checked_shr(128_u32.saturating_sub(prefix)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expected: Reach) {
        assert_eq!(Reach::of(address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn ipv4() {
        for (address, expected) in [
            ("1.1.1.1", Reach::Public),
            ("0.0.0.0", Private("unspecified")),
            ("0.255.255.255", Private("unspecified")),
            ("1.0.0.0", Reach::Public),
            ("9.255.255.255", Reach::Public),
            ("10.0.0.0", Private("private use")),
            ("10.255.255.255", Private("private use")),
            ("11.0.0.0", Reach::Public),
            ("100.63.255.255", Reach::Public),
            ("100.64.0.0", Private("carrier-grade NAT")),
            ("100.100.100.199", Private("carrier-grade NAT")),
            ("100.100.100.200", Guarded("cloud metadata")),
            ("100.127.255.255", Private("carrier-grade NAT")),
            ("100.128.0.0", Reach::Public),
            ("127.0.0.1", Private("loopback")),
            ("127.255.255.255", Private("loopback")),
            ("168.63.129.15", Reach::Public),
            ("168.63.129.16", Guarded("cloud metadata")),
            ("169.253.255.255", Reach::Public),
            ("169.254.0.0", Guarded("link-local")),
            ("169.254.169.254", Guarded("link-local")),
            ("169.254.170.2", Guarded("link-local")),
            ("169.255.0.0", Reach::Public),
            ("172.15.255.255", Reach::Public),
            ("172.16.0.0", Private("private use")),
            ("172.31.255.255", Private("private use")),
            ("172.32.0.0", Reach::Public),
            ("192.0.0.192", Private("protocol assignment")),
            ("192.0.1.0", Reach::Public),
            ("192.0.2.1", Private("documentation")),
            ("192.88.99.1", Private("6to4 relay")),
            ("192.167.255.255", Reach::Public),
            ("192.168.0.0", Private("private use")),
            ("192.168.255.255", Private("private use")),
            ("192.169.0.0", Reach::Public),
            ("198.17.255.255", Reach::Public),
            ("198.18.0.0", Private("benchmarking")),
            ("198.19.255.255", Private("benchmarking")),
            ("198.20.0.0", Reach::Public),
            ("198.51.100.1", Private("documentation")),
            ("203.0.113.1", Private("documentation")),
            ("223.255.255.255", Reach::Public),
            ("224.0.0.1", Private("multicast")),
            ("239.255.255.255", Private("multicast")),
            ("240.0.0.1", Private("reserved")),
            ("255.255.255.255", Private("reserved")),
        ] {
            check(address, expected);
            check(&format!("::ffff:{address}"), expected);
            check(&format!("64:ff9b::{address}"), expected);
        }
    }

    #[test]
    fn ipv6() {
        check("2606:4700:4700::1111", Reach::Public);
        check("3ffe:ffff::1", Reach::Public);
        check("::", Private("unspecified"));
        check("::1", Private("loopback"));
        check("::1.1.1.1", Private("IPv4-compatible"));
        check("::127.0.0.1", Private("IPv4-compatible"));
        check("::169.254.169.254", Guarded("link-local"));
        check("100::1", Private("reserved"));
        check("64:ff9b::1:0:1", Private("reserved"));
        check("64:ff9b:1::1.1.1.1", Private("local NAT64"));
        check("64:ff9b:1::169.254.169.254", Guarded("link-local"));
        check("64:ff9b:1:a9fe:a9:fe00::", Guarded("link-local"));
        check("2001::1", Guarded("Teredo"));
        check("2001:0:ffff::1", Guarded("Teredo"));
        check("2001:2::1", Private("protocol assignment"));
        check("2001:1ff:ffff::1", Private("protocol assignment"));
        check("2001:200::1", Reach::Public);
        check("2001:db8::1", Private("documentation"));
        check("3fff::1", Private("documentation"));
        check("4000::1", Private("reserved"));
        check("5f00::1", Private("reserved"));
        check("fc00::1", Private("private use"));
        check("fd00:ec2::253", Private("private use"));
        check("fd00:ec2::254", Guarded("cloud metadata"));
        check("fe80::1", Guarded("link-local"));
        check("febf:ffff::1", Guarded("link-local"));
        check("fec0::1", Private("site-local"));
        check("ff02::1", Private("multicast"));
    }

    #[test]
    fn ipv4_inside_6to4() {
        check("2002:101:101::", Reach::Public);
        check("2002:a00:1::", Private("private use"));
        check("2002:7f00:1::1", Private("loopback"));
        check("2002:a9fe:a9fe::1", Guarded("link-local"));
    }

    #[test]
    fn policies() {
        let any = Policy::default();
        let public = Policy { public_only: true, ..Policy::default() };
        let check = |policy: &Policy, address: &str, from: Option<&str>, expected: bool| {
            let address = address.parse().unwrap();
            let public = from.is_some_and(|from| Reach::of(from.parse().unwrap()) == Reach::Public);
            let judged = if public { policy.judge_from_public(address) } else { policy.judge(address) };
            assert_eq!(judged.is_ok(), expected, "{address} from {from:?}: {judged:?}");
        };
        check(&any, "127.0.0.1", None, true);
        check(&any, "169.254.169.254", None, false);
        check(&any, "10.0.0.1", Some("1.1.1.1"), false);
        check(&any, "::ffff:10.0.0.1", Some("1.1.1.1"), false);
        check(&any, "10.0.0.1", Some("10.0.0.2"), true);
        check(&any, "169.254.169.254", Some("10.0.0.2"), false);
        check(&any, "169.254.169.254", Some("169.254.169.253"), false);
        check(&any, "8.8.8.8", Some("1.1.1.1"), true);
        check(&public, "127.0.0.1", None, false);
        check(&public, "1.1.1.1", None, true);
        check(&public, "127.0.0.1", Some("127.0.0.1"), false);

        let allow = vec!["10.0.0.0/8".parse().unwrap(), "169.254.169.254".parse().unwrap()];
        let some = Policy { public_only: true, allow };
        check(&some, "10.9.9.9", None, true);
        check(&some, "::ffff:10.9.9.9", None, true);
        check(&some, "10.9.9.9", Some("1.1.1.1"), true);
        check(&some, "11.0.0.1", None, true);
        check(&some, "192.168.0.1", None, false);
        check(&some, "169.254.169.254", None, true);
        check(&some, "169.254.169.253", None, false);
    }

    #[test]
    fn networks() {
        let check = |text: &str, expected: Result<&str, &str>| match text.parse::<Network>() {
            Ok(network) => assert_eq!(Ok(&*network.to_string()), expected),
            Err(error) => assert_eq!(Err(error.problem), expected, "{text}"),
        };
        check("10.0.0.0/8", Ok("10.0.0.0/8"));
        check("10.1.2.3", Ok("10.1.2.3/32"));
        check("fd00::/8", Ok("fd00::/8"));
        check("::1", Ok("::1/128"));
        check("0.0.0.0/0", Ok("0.0.0.0/0"));
        check("::/0", Ok("::/0"));
        check("10.1.0.0/8", Err("has bits set beyond its prefix"));
        check("10.0.0.0/33", Err("has no such prefix length"));
        check("::/129", Err("has no such prefix length"));
        check("10.0.0.0/", Err("has no such prefix length"));
        check("10.0.0.0/-1", Err("has no such prefix length"));
        check("example.org", Err("is not an address"));
        check("", Err("is not an address"));
    }
}
