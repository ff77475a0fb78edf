//! The file of systemd-networkd (systemd.network(5)) for one device: what is there for it already, with the address that is
//! wanted in place of those that it had.

use std::fmt::Write as _;

use super::Wanted;
use crate::config::command::Command;
use crate::config::system::Target;
use crate::config::trouble::Trouble;

/// Before those of others: the first file that fits a device counts.
pub(super) const FILE: &str = "/etc/systemd/network/05-homestak.network";
/// What networkd knows of a device, by the device's number.
const LINKS: &str = "/run/systemd/netif/links";

/// The text of the file that networkd goes by for a device; none where networkd leaves it alone.
pub(super) fn base(target: &Target, device: &str) -> Result<Option<String>, Trouble> {
    let number = target.read(&format!("/sys/class/net/{device}/ifindex"))?.unwrap_or_default();
    let Some(link) = target.read(&format!("{LINKS}/{}", number.trim()))? else { return Ok(None) };
    let value = |key: &str| link.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    if matches!(value("ADMIN_STATE"), None | Some("unmanaged" | "initialized" | "linger")) {
        return Ok(None);
    }
    match value("NETWORK_FILE") {
        Some(file) => Ok(Some(target.read(file)?.unwrap_or_default())),
        None => Ok(None),
    }
}

/// The file, made of the one that counted before it. Made of itself, it stays the same.
pub(super) fn text(base: &str, matches: &str, wanted: &Wanted<'_>) -> String {
    let mut ours = String::from("[Network]\n");
    let mut add = |key: &str, value: &dyn std::fmt::Display| {
        let _infallible = writeln!(ours, "{key}={value}");
    };
    add("Address", &wanted.net.address());
    add("Gateway", &wanted.net.gateway);
    wanted.net.dns.iter().for_each(|server| add("DNS", server));
    if let Some(domain) = wanted.domain {
        add("Domains", &domain);
    }
    let mut rest = String::new();
    for section in sections(base) {
        match section.name {
            "Match" => {}
            "Network" => section.lines.iter().filter_map(|line| kept(line, wanted)).for_each(|line| {
                let _infallible = writeln!(ours, "{line}");
            }),
            "Address" if section.value("Address").is_none_or(is_v4) => {}
            "Route" if section.is_default_v4() => {}
            name => {
                let _infallible = writeln!(rest, "\n[{name}]");
                section.lines.iter().for_each(|line| {
                    let _infallible = writeln!(rest, "{line}");
                });
            }
        }
    }
    format!("{}\n[Match]\nName={matches}\n\n{ours}{rest}", super::HEAD)
}

/// A line of `[Network]` as far as it is kept: what is about IPv6 is nobody's business here.
fn kept(line: &str, wanted: &Wanted<'_>) -> Option<String> {
    let (key, value) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim()))?;
    let stays = match key {
        "DHCP" if matches!(value, "yes" | "true" | "ipv6" | "1" | "on" | "both") => {
            return Some("DHCP=ipv6".to_owned());
        }
        "DHCP" => false,
        "Address" | "Gateway" => !is_v4(value),
        "DNS" => wanted.net.dns.is_empty(),
        "Domains" => wanted.domain.is_none(),
        _ => true,
    };
    stays.then(|| format!("{key}={value}"))
}

fn is_v4(value: &str) -> bool {
    !value.contains(':')
}

struct Section<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Section<'a> {
    fn value(&self, key: &str) -> Option<&'a str> {
        self.lines.iter().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim())
        })
    }

    fn is_default_v4(&self) -> bool {
        let everywhere = matches!(self.value("Destination"), None | Some("0.0.0.0/0"));
        everywhere && self.value("Gateway").is_some_and(is_v4)
    }
}

/// The sections of such a file, without comments and empty lines.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut all: Vec<Section<'_>> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => all.push(Section { name, lines: Vec::new() }),
            None => all.last_mut().into_iter().for_each(|section| section.lines.push(line)),
        }
    }
    all
}

/// Has networkd read its files again, for this device.
pub(super) async fn bring_up(target: &Target, device: &str) -> Result<(), Trouble> {
    target.run(Command::new("networkctl").args(["reload"])).await?.well()?;
    target.run(Command::new("networkctl").args(["reconfigure", device])).await?.well().map(drop)
}
