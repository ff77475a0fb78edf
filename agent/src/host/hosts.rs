//! That this machine's name stands for an address that others reach it by. PVE takes no loopback address: its services do
//! not start, and its certificate would name nothing that anybody dials.

use std::net::IpAddr;

use super::bridge::links::Links;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::resources::hostname::addresses_of;
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;

const HOSTS: &str = "/etc/hosts";

/// The line of `/etc/hosts` for this machine's own address.
pub(super) struct OwnAddress {
    pub(super) name: String,
    pub(super) domain: Option<String>,
}

impl OwnAddress {
    /// Whether one of these addresses is what the name stands for, and no loopback one is.
    fn holds(&self, hosts: &str, own: &[IpAddr]) -> bool {
        let all: Vec<IpAddr> = addresses_of(hosts, &self.name).collect();
        !all.is_empty() && all.iter().all(|address| own.contains(address))
    }

    /// The file with that line. What others have written stays, except where it says that the name is somewhere else.
    fn with(&self, hosts: &str, address: IpAddr) -> String {
        let own = match &self.domain {
            Some(domain) => format!("{address} {name}.{domain} {name}", name = self.name),
            None => format!("{address} {}", self.name),
        };
        let mut lines: Vec<String> = hosts.lines().filter_map(|line| self.without_name(line)).collect();
        lines.insert(lines.len().min(1), own);
        lines.join("\n") + "\n"
    }

    /// A line without our name; none where nothing else is left of it.
    fn without_name(&self, line: &str) -> Option<String> {
        if addresses_of(line, &self.name).next().is_none() {
            return Some(line.to_owned());
        }
        let full = self.domain.as_ref().map(|domain| format!("{}.{domain}", self.name));
        let ours = |word: &&str| **word == *self.name || full.as_deref() == Some(*word);
        let entry = line.split('#').next().unwrap_or_default();
        let left: Vec<&str> = entry.split_whitespace().filter(|word| !ours(word)).collect();
        (left.len() > 1).then(|| left.join(" "))
    }
}

impl Resource for OwnAddress {
    fn name(&self) -> String {
        "own address".to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let (mut found, links) = (Differences::default(), Links::read(target).await?);
            let hosts = target.read(HOSTS)?.unwrap_or_default();
            if !self.holds(&hosts, &links.addresses()) {
                let primary = links.primary()?;
                found.text(HOSTS, Some(&hosts), &self.with(&hosts, primary));
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let primary = Links::read(target).await?.primary()?;
            let hosts = target.read(HOSTS)?.unwrap_or_default();
            let done: Result<(), Trouble> = Ok(target.write(HOSTS, &self.with(&hosts, primary), PUBLIC)?);
            done
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_stands_for_the_own_address_and_for_no_other() {
        let own = OwnAddress { name: "root-pve".into(), domain: Some("site.example".into()) };
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        let before =
            "127.0.0.1 localhost root-pve\n127.0.1.1 root-pve.site.example root-pve\n::1 localhost\n192.0.2.1 father\n";
        assert!(!own.holds(before, &[address]));
        let after = own.with(before, address);
        assert_eq!(
            after,
            "127.0.0.1 localhost\n192.0.2.7 root-pve.site.example root-pve\n::1 localhost\n192.0.2.1 father\n"
        );
        assert!(own.holds(&after, &[address]) && !own.holds(&after, &["192.0.2.8".parse().unwrap()]));
        assert_eq!(own.with(&after, address), after);
        assert_eq!(own.with("", address), "192.0.2.7 root-pve.site.example root-pve\n");
    }
}
