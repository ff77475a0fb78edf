//! The machine's name, and that it is found by it.

use std::net::IpAddr;

use rustix::system::{sethostname, uname};

use crate::config::resource::{Differences, Resource, Step};
use crate::config::system::{PUBLIC, System, Target};
use crate::config::trouble::Trouble;

const HOSTNAME: &str = "/etc/hostname";
const HOSTS: &str = "/etc/hosts";
/// What a machine without a hosts file gets.
const NO_HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
/// The address that Debian has for a machine's own name.
const OWN: &str = "127.0.1.1";

/// The machine's name and domain.
pub(crate) struct Hostname {
    pub(crate) name: String,
    pub(crate) domain: Option<String>,
}

impl Hostname {
    /// The name with the domain, if there is one.
    pub(crate) fn whole(&self) -> String {
        let domain = self.domain.iter().flat_map(|domain| [".", domain]);
        [self.name.as_str()].into_iter().chain(domain).collect()
    }

    /// `/etc/hosts` with a line for this machine; the other lines stay. Where another address than a loopback one has its
    /// name, it is found by that: a Proxmox VE host has to be.
    fn hosts(&self, is: Option<&str>) -> String {
        if let Some(text) = is.filter(|text| addresses_of(text, &self.name).any(|address| !address.is_loopback())) {
            return text.to_owned();
        }
        let own = match &self.domain {
            Some(domain) => format!("{OWN} {name}.{domain} {name}", name = self.name),
            None => format!("{OWN} {}", self.name),
        };
        let is_own = |line: &&str| line.split_whitespace().next() == Some(OWN);
        let lines: Vec<&str> = is.unwrap_or(NO_HOSTS).lines().collect();
        // In its place, or after the first line, which is the loopback address.
        let at = lines.iter().position(is_own).unwrap_or(1);
        let mut lines: Vec<&str> = lines.into_iter().filter(|line| !is_own(line)).collect();
        lines.insert(at.min(lines.len()), &own);
        lines.join("\n") + "\n"
    }
}

/// The addresses that a hosts file has for a name.
pub(crate) fn addresses_of<'a>(hosts: &'a str, name: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
    hosts.lines().filter_map(move |line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word == name).then_some(address)
    })
}

impl Resource for Hostname {
    fn name(&self) -> String {
        "hostname".to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<crate::config::resource::Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            found.text(HOSTNAME, target.read(HOSTNAME)?.as_deref(), &format!("{}\n", self.name));
            let hosts = target.read(HOSTS)?;
            let wanted = self.hosts(hosts.as_deref());
            found.text(HOSTS, hosts.as_deref(), &wanted);
            if target.system == System::Machine {
                let is = uname().nodename().to_string_lossy().into_owned();
                if is != self.name {
                    found.add(format!("is {is} now, and not {}", self.name));
                }
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            target.write(HOSTNAME, &format!("{}\n", self.name), PUBLIC)?;
            target.write(HOSTS, &self.hosts(target.read(HOSTS)?.as_deref()), PUBLIC)?;
            if target.system == System::Machine {
                sethostname(self.name.as_bytes())
                    .map_err(|error| Trouble::refused(format!("the name cannot be set: {error}")))?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_hosts_is_ours_and_the_others_stay() {
        let named = |domain: Option<&str>| Hostname { name: "edge".into(), domain: domain.map(str::to_owned) };
        let before = "127.0.0.1 localhost\n127.0.1.1\told.example old\n\n# mine\n192.0.2.1 father\n";
        let after = named(Some("site.example")).hosts(Some(before));
        assert_eq!(after, "127.0.0.1 localhost\n127.0.1.1 edge.site.example edge\n\n# mine\n192.0.2.1 father\n");
        assert_eq!(named(Some("site.example")).hosts(Some(&after)), after);
        let new = named(None).hosts(None);
        assert_eq!(new, "127.0.0.1 localhost\n127.0.1.1 edge\n::1 localhost ip6-localhost ip6-loopback\n");
        assert_eq!(named(None).hosts(Some("")), "127.0.1.1 edge\n");
        let host = "127.0.0.1 localhost # edge\n192.0.2.7 edge.site.example edge\n";
        assert_eq!(named(None).hosts(Some(host)), host, "it is found by its own address");
        assert!(named(None).hosts(Some("127.0.0.1 edge\n192.0.2.7 edge.other\n")).contains("127.0.1.1 edge"));
    }
}
