//! That this machine's name stands for an address that others reach it by. PVE takes no loopback address: its services do
//! not start, and its certificate would name nothing that anybody dials.

use std::net::IpAddr;

use super::bridge::links::Links;
use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::resources::hostname::{Hostname, addresses_of};
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;

const HOSTS: &str = "/etc/hosts";
/// Where cloud-init is told things. Debian's cloud images tell it to write `/etc/hosts` anew at each start, with the name
/// beside 127.0.1.1, after which PVE's services do not start any more.
const CLOUD: &str = "/etc/cloud/cloud.cfg.d";
const CLOUD_HOSTS: &str = "/etc/cloud/cloud.cfg.d/99-homestak-hosts.cfg";
const LEFT_ALONE: &str = "manage_etc_hosts: false\n";
/// PVE's own file system and what knows the host's address by its name: each takes another only when it starts.
const CLUSTER: &str = "pve-cluster.service";
const CLUSTER_PROGRAM: &str = "/usr/bin/pmxcfs";

/// The line of `/etc/hosts` for this machine's own address.
pub(super) struct OwnAddress {
    name: String,
    domain: Option<String>,
    /// The bridge that has been made since it was looked at before: a lease that the bridge gets may be of another address.
    on: Option<String>,
}

impl OwnAddress {
    /// That of the machine of this name; once more after this bridge was made.
    pub(super) fn of(machine: &Hostname, on: Option<String>) -> Self {
        Self { name: machine.name.clone(), domain: machine.domain.clone(), on }
    }

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

impl OwnAddress {
    /// Each file that is to be another, with what it is and what it should be.
    async fn files(&self, target: &Target) -> Result<Vec<(&'static str, Option<String>, String)>, Trouble> {
        let (links, hosts) = (Links::read(target).await?, target.read(HOSTS)?);
        let mut files = Vec::new();
        let is = hosts.as_deref().unwrap_or_default();
        if !self.holds(is, &links.addresses()) {
            let should = self.with(is, links.primary()?);
            files.push((HOSTS, hosts, should));
        }
        let told = target.read(CLOUD_HOSTS)?;
        if target.has(CLOUD) && told.as_deref() != Some(LEFT_ALONE) {
            files.push((CLOUD_HOSTS, told, LEFT_ALONE.to_owned()));
        }
        Ok(files)
    }
}

impl Resource for OwnAddress {
    fn name(&self) -> String {
        match &self.on {
            Some(bridge) => format!("own address on {bridge}"),
            None => "own address".to_owned(),
        }
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let (mut found, files) = (Differences::default(), self.files(target).await?);
            files.iter().for_each(|(path, is, should)| found.text(path, is.as_deref(), should));
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let files = self.files(target).await?;
            for (path, _, should) in &files {
                target.write(path, should, PUBLIC)?;
            }
            if files.iter().any(|(path, ..)| *path == HOSTS) && target.has(CLUSTER_PROGRAM) {
                // One that has failed over the old file too often is not tried again by itself.
                let _other = target.run(Command::new("systemctl").args(["reset-failed", CLUSTER])).await?;
                target.run(Command::new("systemctl").args(["restart", CLUSTER])).await?.well()?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_stands_for_the_own_address_and_for_no_other() {
        let own = OwnAddress { name: "root-pve".into(), domain: Some("site.example".into()), on: None };
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
