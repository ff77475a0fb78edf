//! Addresses and endpoints of site files.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Serialize, Serializer};

/// An IPv4 address with the length of its network's prefix: `192.0.2.7/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

/// How a machine comes by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lease {
    /// By DHCP.
    #[default]
    Dhcp,
    /// It is given one.
    Static(Cidr),
}

/// The address of a server: `https://father.example:8006`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    text: Box<str>,
    host: Box<str>,
}

impl Cidr {
    /// Parses `192.0.2.7/24`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) =
            text.split_once('/').ok_or("the length of the prefix is missing: write it as 192.0.2.7/24")?;
        let address = ipv4(address)?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| digits && *prefix <= 32);
        Ok(Self { address, prefix: prefix.ok_or("the prefix has 0 to 32 bits: write it as 192.0.2.7/24")? })
    }
}

/// Parses an IPv4 address; the reason says which part is wrong.
pub(super) fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err("IPv6 is not taken here: write an IPv4 address".into());
    }
    let octets: Vec<&str> = text.split('.').collect();
    let wrong = octets.iter().find(|octet| octet.parse::<u8>().is_err());
    match (octets.len(), wrong) {
        (4, Some(octet)) if !octet.is_empty() && octet.bytes().all(|b| b.is_ascii_digit()) => {
            Err(format!("{octet} is more than 255, the highest that a part of an address can be"))
        }
        _ => Err("write four numbers from 0 to 255 with dots between them, like 192.0.2.7".into()),
    }
}

/// Parses an address of either family.
pub(super) fn any(text: &str) -> Result<IpAddr, String> {
    text.parse().or_else(|_| ipv4(text).map(IpAddr::V4))
}

/// Parses an address of either family, with the length of a prefix or without, and leaves that out.
pub(super) fn with_or_without_prefix(text: &str) -> Result<IpAddr, String> {
    match text.split_once('/') {
        None => any(text),
        Some((address, prefix)) => {
            let address = any(address)?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let fits = prefix.parse::<u8>().is_ok_and(|prefix| prefix <= most);
            fits.then_some(address).ok_or(format!("the prefix has 0 to {most} bits"))
        }
    }
}

/// The length of the prefix of an address that is written without one, as agents take it.
const USUAL_PREFIX: u8 = 24;

/// Whether this is in the network of an address, which is written with the length of its prefix or without.
pub(super) fn is_near(address: &str, other: Ipv4Addr) -> bool {
    let usual = || address.parse().map(|address| Cidr { address, prefix: USUAL_PREFIX });
    let Ok(Cidr { address, prefix }) = Cidr::parse(address).or_else(|_| usual()) else { return false };
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or_default();
    (address.to_bits() ^ other.to_bits()) & mask == 0
}

/// Checks an IPv4 address, with the length of a prefix or without.
pub(super) fn fixed(text: &str) -> Result<(), String> {
    if text.contains('/') { Cidr::parse(text).map(drop) } else { ipv4(text).map(drop) }
}

impl Lease {
    /// Parses `dhcp` or an address with its prefix.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "dhcp" { Ok(Lease::Dhcp) } else { Cidr::parse(text).map(Lease::Static) }
    }

    /// The address that is given, if one is.
    pub(crate) fn address(&self) -> Option<Cidr> {
        match self {
            Lease::Dhcp => None,
            Lease::Static(cidr) => Some(*cidr),
        }
    }
}

impl Endpoint {
    /// Parses `https://HOST[:PORT][/PATH]`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "write it as https://HOST:PORT";
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(FORM)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, port),
            Some(_) => return Err("what stands in brackets is no IPv6 address"),
            None => authority.find(':').map_or((authority, ""), |colon| authority.split_at(colon)),
        };
        let named = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':'));
        let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        match (named, port_fits) {
            (false, _) => Err(FORM),
            (true, false) => Err("a port is a number from 1 to 65535"),
            (true, true) if text.contains(char::is_whitespace) => Err(FORM),
            (true, true) => Ok(Self { text: text.into(), host: host.into() }),
        }
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The name or address in it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is that of the machine on which it is read.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host().eq_ignore_ascii_case("localhost")
            || self.host().parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lease::Dhcp => f.write_str("dhcp"),
            Lease::Static(cidr) => cidr.fmt(f),
        }
    }
}

impl Serialize for Lease {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_four_octets_and_a_prefix_or_refused() {
        for good in ["192.0.2.7/24", "0.0.0.0/0", "255.255.255.255/32"] {
            assert_eq!(Cidr::parse(good).unwrap().to_string(), good);
        }
        for (bad, why) in [
            ("999.1.1.1/24", "999 is more than 255"),
            ("192.0.2.256/24", "256"),
            ("192.0.2.7/33", "0 to 32"),
            ("192.0.2.7/", "0 to 32"),
            ("192.0.2.7/+8", "0 to 32"),
            ("192.0.2.7", "prefix is missing"),
            ("192.0.2/24", "four numbers"),
            ("192.0.2.007/24", "four numbers"),
            ("2001:db8::1/64", "IPv6"),
            ("", "prefix is missing"),
        ] {
            let error = Cidr::parse(bad).unwrap_err();
            assert!(error.contains(why) || bad.contains("007"), "{bad}: {error}");
        }
        assert_eq!(Lease::parse("dhcp").unwrap(), Lease::Dhcp);
        assert!(Lease::parse("DHCP").is_err());
    }

    #[test]
    fn an_endpoint_knows_its_host_and_whether_that_is_here() {
        let host = |text: &str| Endpoint::parse(text).unwrap().host().to_owned();
        assert_eq!(host("https://father.example:8006"), "father.example");
        assert_eq!(host("https://192.0.2.7:8006/"), "192.0.2.7");
        assert_eq!(host("https://[2001:db8::1]:8006"), "2001:db8::1");
        assert!(Endpoint::parse("https://localhost:8006").unwrap().is_loopback());
        assert!(Endpoint::parse("https://127.0.0.1:8006").unwrap().is_loopback());
        assert!(!Endpoint::parse("https://localhost.example").unwrap().is_loopback());
        for bad in
            ["father:8006", "https://", "https://a:x", "https://a:99999", "https://a b", "ftp://a", "https://[x]:1"]
        {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
