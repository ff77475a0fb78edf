//! This machine's network as the kernel has it now: its interfaces, their addresses, and where the default routes go.

use std::net::IpAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::command::Command;
use crate::config::system::Target;
use crate::config::trouble::Trouble;

/// What `ip -json` says of the network.
#[derive(Debug, Clone, Default)]
pub(in crate::host) struct Links {
    links: Vec<Link>,
    routes: Vec<Route>,
    routes_v6: Vec<Route>,
}

#[derive(Debug, Clone, Deserialize)]
struct Link {
    ifname: String,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    addr_info: Vec<Address>,
    linkinfo: Option<LinkInfo>,
}

#[derive(Debug, Clone, Deserialize)]
struct LinkInfo {
    info_kind: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Address {
    local: Option<IpAddr>,
    #[serde(default)]
    prefixlen: u8,
    #[serde(default)]
    scope: String,
    /// Whether it goes by itself after a while: DHCP and router advertisements give such addresses.
    #[serde(default)]
    dynamic: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Route {
    dev: Option<String>,
    gateway: Option<IpAddr>,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    metric: u32,
}

/// The interface that leads to the rest of the world, and how it has its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct Uplink {
    /// Its name.
    pub(super) device: String,
    /// IPv4.
    pub(super) v4: Addressing,
    /// IPv6.
    pub(super) v6: Addressing,
}

/// How an interface has its addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Addressing {
    /// It has none.
    None,
    /// Somebody out there gives them: DHCP, or router advertisements.
    Given,
    /// They are its own.
    Own {
        /// Each with its prefix length.
        addresses: Vec<String>,
        /// Where everything else goes.
        gateway: Option<IpAddr>,
    },
}

impl Uplink {
    /// Whether it has an address of either family.
    pub(super) fn has_addresses(&self) -> bool {
        self.v4 != Addressing::None || self.v6 != Addressing::None
    }
}

impl Links {
    /// Asks the kernel.
    pub(in crate::host) async fn read(target: &Target) -> Result<Self, Trouble> {
        Ok(Self {
            links: ask(target, &["-details", "address", "show"]).await?,
            routes: ask(target, &["-4", "route", "show", "default"]).await?,
            routes_v6: ask(target, &["-6", "route", "show", "default"]).await?,
        })
    }

    /// Every address of this machine that others can reach it by.
    pub(in crate::host) fn addresses(&self) -> Vec<IpAddr> {
        let real = self.links.iter().filter(|link| !link.flags.iter().any(|flag| flag == "LOOPBACK"));
        real.flat_map(|link| link.addr_info.iter())
            .filter(|address| address.scope == "global")
            .filter_map(|address| address.local)
            .collect()
    }

    /// The one that it is known by: an IPv4 address of the interface with the default route, where there is one.
    pub(in crate::host) fn primary(&self) -> Result<IpAddr, Trouble> {
        let of = |link: &Link| {
            let global = link.addr_info.iter().filter(|address| address.scope == "global");
            let mut all: Vec<IpAddr> = global.filter_map(|address| address.local).collect();
            all.sort_by_key(|address| !address.is_ipv4());
            all.first().copied()
        };
        let leading = self.leading().and_then(|device| self.link(&device)).and_then(of);
        leading.or_else(|| self.addresses().first().copied()).ok_or_else(|| Trouble::Refused {
            what: "this machine has no address that others can reach it by".to_owned(),
            hint: Some("give it one by DHCP, or by `ip` and `gateway` in the manifest's preset"),
        })
    }

    /// Every bridge.
    pub(in crate::host) fn bridges(&self) -> Vec<String> {
        let is_bridge =
            |link: &&Link| link.linkinfo.as_ref().is_some_and(|info| info.info_kind.as_deref() == Some("bridge"));
        self.links.iter().filter(is_bridge).map(|link| link.ifname.clone()).collect()
    }

    fn link(&self, device: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.ifname == device)
    }

    /// Whether there is an interface of this name.
    pub(super) fn has(&self, device: &str) -> bool {
        self.link(device).is_some()
    }

    /// The interface that the default route goes over; IPv4's first, the lowest metric first.
    fn leading(&self) -> Option<String> {
        let best = |routes: &[Route]| {
            routes
                .iter()
                .filter(|route| route.dev.is_some())
                .min_by_key(|route| route.metric)
                .and_then(|route| route.dev.clone())
        };
        best(&self.routes).or_else(|| best(&self.routes_v6))
    }

    /// The interface that leads to the world; none where nothing does.
    pub(super) fn uplink(&self) -> Option<Uplink> {
        let device = self.leading()?;
        let link = self.link(&device)?;
        let way = |routes: &[Route]| routes.iter().find(|route| route.dev.as_deref() == Some(device.as_str())).cloned();
        let addressing = |v4: bool| {
            let of_family =
                |address: &&Address| address.scope == "global" && address.local.is_some_and(|ip| ip.is_ipv4() == v4);
            let all: Vec<&Address> = link.addr_info.iter().filter(of_family).collect();
            if all.is_empty() {
                return Addressing::None;
            }
            let route = way(if v4 { &self.routes } else { &self.routes_v6 });
            let given = route.as_ref().is_some_and(|route| matches!(route.protocol.as_str(), "dhcp" | "ra"));
            let own: Vec<String> = all
                .iter()
                .filter(|address| !address.dynamic)
                .filter_map(|address| Some(format!("{}/{}", address.local?, address.prefixlen)))
                .collect();
            // A lease that some clients take never ends in the kernel's eyes; their routes tell it.
            if own.is_empty() || given {
                return Addressing::Given;
            }
            Addressing::Own { addresses: own, gateway: route.and_then(|route| route.gateway) }
        };
        Some(Uplink { v4: addressing(true), v6: addressing(false), device })
    }
}

async fn ask<T: DeserializeOwned>(target: &Target, words: &[&str]) -> Result<T, Trouble> {
    let text = target.run(Command::new("ip").args(["-json"]).args(words.iter().copied())).await?.well()?;
    let text = if text.trim().is_empty() { "[]" } else { &text };
    serde_json::from_str(text).map_err(|error| Trouble::Tool {
        what: format!("ip {} does not answer as iproute2 does", words.join(" ")),
        words: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_what_the_kernel_calls_one() {
        let told = r#"[{"ifname":"vmbr0","linkinfo":{"info_kind":"bridge"}},{"ifname":"eth0"},{"ifname":"tap1","linkinfo":{"info_kind":"tun"}}]"#;
        assert_eq!(links(told, "[]").bridges(), ["vmbr0"]);
    }

    fn links(addresses: &str, routes: &str) -> Links {
        Links {
            links: serde_json::from_str(addresses).unwrap(),
            routes: serde_json::from_str(routes).unwrap(),
            routes_v6: Vec::new(),
        }
    }

    const OWN: &str = r#"[
        {"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[{"local":"127.0.0.1","prefixlen":8,"scope":"host"}]},
        {"ifname":"eth0","flags":["UP"],"addr_info":[
            {"local":"192.0.2.7","prefixlen":24,"scope":"global"},
            {"local":"fe80::1","prefixlen":64,"scope":"link"}]}]"#;
    const ROUTE: &str = r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","protocol":"static"}]"#;

    #[test]
    fn an_uplink_keeps_the_addresses_that_are_its_own_and_asks_for_the_others() {
        let own = links(OWN, ROUTE);
        let addressing =
            Addressing::Own { addresses: vec!["192.0.2.7/24".into()], gateway: Some("192.0.2.1".parse().unwrap()) };
        assert_eq!(own.uplink(), Some(Uplink { device: "eth0".into(), v4: addressing, v6: Addressing::None }));
        assert_eq!(own.primary().unwrap(), "192.0.2.7".parse::<IpAddr>().unwrap());
        let given = links(&OWN.replace("\"scope\":\"global\"", "\"scope\":\"global\",\"dynamic\":true"), ROUTE);
        assert_eq!(given.uplink().unwrap().v4, Addressing::Given);
        assert_eq!(links(OWN, &ROUTE.replace("static", "dhcp")).uplink().unwrap().v4, Addressing::Given);
        assert_eq!(links(OWN, "[]").uplink(), None);
        assert!(links("[]", "[]").primary().is_err());
    }
}
