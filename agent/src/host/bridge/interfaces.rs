//! `/etc/network/interfaces` with a bridge over the uplink (interfaces(5), and PVE's own way to write it). Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::links::{Addressing, Uplink};

/// What every machine has.
pub(super) const LOOPBACK: &str = "auto lo\niface lo inet loopback\n";
/// What begins a stanza.
const BEGINNINGS: [&str; 8] = ["iface", "auto", "mapping", "source", "source-directory", "rename", "template", "vlan"];
/// What other files there are is read too.
const SOURCE: &str = "source /etc/network/interfaces.d/*";

/// The text of a file without the stanzas of this device; none where it has none.
pub(super) fn without(text: &str, device: &str) -> Option<String> {
    let mut kept = String::new();
    let (mut ours, mut found) = (false, false);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first == "iface" {
            ours = words.next() == Some(device);
            found |= ours;
        } else if first == "auto" || first.starts_with("allow-") {
            ours = false;
            let all: Vec<&str> = words.collect();
            let left: Vec<&str> = all.iter().copied().filter(|word| *word != device).collect();
            if left.len() < all.len() {
                found = true;
                if !left.is_empty() {
                    // Writing to a text does not fail.
                    let _infallible = writeln!(kept, "{first} {}", left.join(" "));
                }
                continue;
            }
        } else if BEGINNINGS.contains(&first) {
            ours = false;
        }
        if !ours {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    found.then_some(kept)
}

/// The text of the file, in which the uplink is a port of the bridge, and the bridge has its addresses.
pub(super) fn with_bridge(text: &str, bridge: &str, uplink: &Uplink) -> String {
    let device = &uplink.device;
    let others = without(text, device).unwrap_or_else(|| text.to_owned());
    let others = without(&others, bridge).unwrap_or(others);
    let has = |wanted: &str| others.lines().any(|line| line.split_whitespace().eq(wanted.split_whitespace()));
    let mut new = String::new();
    if !has("iface lo inet loopback") {
        new = format!("{LOOPBACK}\n");
    }
    new.push_str(others.trim_end());
    if !others.trim().is_empty() {
        new.push_str("\n\n");
    }
    let ports = format!("\tbridge-ports {device}\n\tbridge-stp off\n\tbridge-fd 0\n");
    let _infallible = write!(new, "iface {device} inet manual\n\nauto {bridge}\n");
    match &uplink.v4 {
        Addressing::Own { addresses, gateway } => {
            let _infallible = write!(new, "iface {bridge} inet static\n{}{ports}", own(addresses, *gateway));
        }
        Addressing::Given => {
            let _infallible = write!(new, "iface {bridge} inet dhcp\n{ports}");
        }
        Addressing::None => {
            let _infallible = write!(new, "iface {bridge} inet manual\n{ports}");
        }
    }
    match &uplink.v6 {
        Addressing::Own { addresses, gateway } => {
            let _infallible = write!(new, "\niface {bridge} inet6 static\n{}", own(addresses, *gateway));
        }
        Addressing::Given => {
            let _infallible = write!(new, "\niface {bridge} inet6 auto\n");
        }
        Addressing::None => {}
    }
    if !has(SOURCE) {
        let _infallible = write!(new, "\n{SOURCE}\n");
    }
    new
}

fn own(addresses: &[String], gateway: Option<IpAddr>) -> String {
    let mut lines: String = addresses.iter().map(|address| format!("\taddress {address}\n")).collect();
    if let Some(gateway) = gateway {
        let _infallible = writeln!(lines, "\tgateway {gateway}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink(v4: Addressing) -> Uplink {
        Uplink { device: "eth0".into(), v4, v6: Addressing::None }
    }

    fn static_address() -> Addressing {
        Addressing::Own { addresses: vec!["192.0.2.7/24".into()], gateway: Some("192.0.2.1".parse().unwrap()) }
    }

    #[test]
    fn the_uplink_becomes_a_port_and_the_bridge_has_its_address() {
        let before = "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\nallow-hotplug eth0\niface eth0 inet dhcp\n\tmtu 1500\n\nauto eth1\niface eth1 inet manual\n";
        let after = with_bridge(before, "vmbr0", &uplink(static_address()));
        assert_eq!(
            after,
            "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\nauto eth1\niface eth1 inet manual\n\n\
             iface eth0 inet manual\n\nauto vmbr0\niface vmbr0 inet static\n\taddress 192.0.2.7/24\n\tgateway 192.0.2.1\n\
             \tbridge-ports eth0\n\tbridge-stp off\n\tbridge-fd 0\n"
        );
        assert_eq!(with_bridge(&after, "vmbr0", &uplink(static_address())), after);
    }

    #[test]
    fn a_machine_without_the_file_gets_a_whole_one() {
        let given = Uplink { v6: Addressing::Given, ..uplink(Addressing::Given) };
        assert_eq!(
            with_bridge("", "vmbr0", &given),
            "auto lo\niface lo inet loopback\n\niface eth0 inet manual\n\nauto vmbr0\niface vmbr0 inet dhcp\n\
             \tbridge-ports eth0\n\tbridge-stp off\n\tbridge-fd 0\n\niface vmbr0 inet6 auto\n\nsource /etc/network/interfaces.d/*\n"
        );
    }

    #[test]
    fn the_other_devices_of_a_file_stay() {
        let cloud = "auto lo eth0 eth1\niface eth0 inet dhcp\n    metric 10\n\niface eth1 inet dhcp\n";
        assert_eq!(without(cloud, "eth0").unwrap(), "auto lo eth1\niface eth1 inet dhcp\n");
        assert_eq!(without("auto lo\niface lo inet loopback\n", "eth0"), None);
        assert_eq!(without("auto eth0\niface eth0 inet dhcp\n", "eth0").unwrap(), "");
    }
}
