//! Where a hub can be reached: what it tells its children, so that they keep it and try each.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use homestak_protocol::path::NodePath;

use super::limits::MAX_ADDRESSES;

/// Says for a child what to tell it; none for what [`Addresses`] finds by itself.
pub type Override = Arc<dyn Fn(&NodePath) -> Option<Vec<String>> + Send + Sync>;

/// A hub's addresses and names.
#[derive(Clone, Default)]
pub struct Addresses {
    /// Names and addresses that the machine does not know of itself: DNS names, the outside of a NAT. `host` or
    /// `host:port`; they come first.
    pub advertise: Vec<String>,
    /// Takes the place of everything else for the children that it names: a relay in between, another network.
    pub override_for: Option<Override>,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Addresses").field("advertise", &self.advertise).finish_non_exhaustive()
    }
}

impl Addresses {
    /// What to tell a child: at `bound` we listen, at `met` it has reached us, from `peer` it came.
    pub fn tell(&self, child: &NodePath, bound: SocketAddr, met: Option<IpAddr>, peer: IpAddr) -> Vec<String> {
        if let Some(told) = self.override_for.as_ref().and_then(|of| of(child)) {
            return told;
        }
        let port = bound.port();
        let mut told: Vec<String> = Vec::new();
        let mut add = |address: String| {
            if !told.contains(&address) && told.len() < MAX_ADDRESSES {
                told.push(address);
            }
        };
        self.advertise.iter().for_each(|name| add(with_port(name, port)));
        let met = met.filter(|met| !met.is_unspecified()).map(canonical);
        let found = if bound.ip().is_unspecified() { local(bound.is_ipv4()) } else { vec![bound.ip()] };
        for address in met.into_iter().chain(found) {
            // An address of the loopback leads a child on another machine to itself.
            if !address.is_loopback() || peer.is_loopback() || canonical(peer) == address {
                add(SocketAddr::new(address, port).to_string());
            }
        }
        told
    }

    /// The names and addresses that the hub's own certificate should carry.
    pub fn names(&self, bound: SocketAddr) -> Vec<String> {
        let advertised = self.advertise.iter().map(|name| without_port(name).to_owned());
        let found = if bound.ip().is_unspecified() { local(bound.is_ipv4()) } else { vec![bound.ip()] };
        let mut names: Vec<String> = advertised.chain(found.iter().map(IpAddr::to_string)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Everything that leads to a hub bound there, for machines whose own address is not known yet.
    pub fn all(&self, child: &NodePath, bound: SocketAddr) -> Vec<String> {
        let told = self.tell(child, bound, None, IpAddr::from([192, 0, 2, 0]));
        if told.is_empty() { self.tell(child, bound, None, IpAddr::from([127, 0, 0, 1])) } else { told }
    }
}

/// The addresses of this machine's interfaces, without those that mean something on one link only.
fn local(v4_only: bool) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the addresses of this machine cannot be read");
        Vec::new()
    });
    let mut found: Vec<IpAddr> = interfaces
        .iter()
        .filter(|interface| !interface.is_link_local())
        .map(if_addrs::Interface::ip)
        .filter(|address| address.is_ipv4() || !v4_only)
        .collect();
    found.sort_unstable_by_key(|address| (address.is_loopback(), address.is_ipv6()));
    found
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn with_port(name: &str, port: u16) -> String {
    match name.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_) if has_port(name) => name.to_owned(),
        Err(_) => format!("{name}:{port}"),
    }
}

fn has_port(name: &str) -> bool {
    name.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn without_port(name: &str) -> &str {
    if name.parse::<IpAddr>().is_ok() || !has_port(name) {
        return name;
    }
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// `https://host:port[,…]` or `host:port[,…]`, as `HOMESTAK_SERVER` has it: the `host:port` of each.
pub fn parse_servers(text: &str, default_port: u16) -> Vec<String> {
    let each = text.split(',').map(str::trim).filter(|server| !server.is_empty());
    each.map(|server| {
        let bare = server.strip_prefix("https://").unwrap_or(server);
        with_port(bare.split('/').next().unwrap_or(bare), default_port)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> NodePath {
        NodePath::parse("father").unwrap()
    }

    #[test]
    fn servers_are_read_in_every_way_that_they_are_written() {
        let read = |text| parse_servers(text, 44443);
        assert_eq!(
            read("https://192.0.2.1:1234, father,[2001:db8::1]:7,2001:db8::2,https://x:5/"),
            ["192.0.2.1:1234", "father:44443", "[2001:db8::1]:7", "[2001:db8::2]:44443", "x:5"]
        );
        assert!(read(" , ").is_empty());
    }

    #[test]
    fn a_child_elsewhere_is_never_sent_to_its_own_loopback() {
        let addresses =
            Addresses { advertise: vec!["father.example".into(), "192.0.2.9:99".into()], override_for: None };
        let bound = "0.0.0.0:44443".parse().unwrap();
        let met = Some(IpAddr::from([192, 0, 2, 1]));
        let told = addresses.tell(&path(), bound, met, IpAddr::from([192, 0, 2, 7]));
        assert_eq!(told[..3], ["father.example:44443", "192.0.2.9:99", "192.0.2.1:44443"]);
        assert!(told.iter().all(|address| !address.starts_with("127.")), "{told:?}");
        let near = addresses.tell(&path(), bound, None, IpAddr::from([127, 0, 0, 1]));
        assert!(near.contains(&"127.0.0.1:44443".to_owned()), "{near:?}");
        let only = Addresses::default().all(&path(), "127.0.0.1:5".parse().unwrap());
        assert_eq!(only, ["127.0.0.1:5"]);
    }

    #[test]
    fn an_override_replaces_everything_for_the_child_that_it_names() {
        let told = Addresses {
            advertise: vec!["x".into()],
            override_for: Some(Arc::new(|child| child.is_host().then(|| vec!["127.0.0.1:1".to_owned()]))),
        };
        let bound = "127.0.0.1:5".parse().unwrap();
        assert_eq!(told.tell(&path(), bound, None, bound.ip()), ["127.0.0.1:1"]);
        let deeper = NodePath::parse("father/m/a").unwrap();
        assert_eq!(told.tell(&deeper, bound, None, bound.ip()), ["x:5", "127.0.0.1:5"]);
        assert_eq!(told.names(bound), ["127.0.0.1", "x"]);
    }
}
