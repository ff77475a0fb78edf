//! The packages that make a Debian a Proxmox VE host, in two goes: its kernel, which has to run before the rest comes, and
//! the rest (pve.proxmox.com, "Install Proxmox VE on Debian").

use crate::config::resource::{Difference, Resource, Step};
use crate::config::resources::dpkg::Packages as Installed;
use crate::config::resources::packages::Packages;
use crate::config::system::Target;

/// The package that stands for all of PVE.
const PVE: &str = "proxmox-ve";
const KERNEL: &str = "proxmox-default-kernel";
/// What comes with it, and what its own documentation names beside it.
const HOST: [&str; 6] = [PVE, "ifupdown2", "isc-dhcp-client", "postfix", "open-iscsi", "chrony"];

/// Packages that are to be there.
pub(super) struct Wanted {
    name: &'static str,
    /// All that are installed where something is missing.
    all: &'static [&'static str],
    /// Those without which it does not hold: whoever has made the host may have chosen among the others.
    needed: &'static [&'static str],
    /// What makes them superfluous.
    unless: Option<&'static str>,
}

impl Wanted {
    /// PVE's kernel. A host that has PVE has chosen one.
    pub(super) const fn kernel() -> Self {
        Self { name: "kernel package", all: &[KERNEL], needed: &[KERNEL], unless: Some(PVE) }
    }

    /// PVE, and what brings up bridges.
    pub(super) const fn host() -> Self {
        Self { name: "packages", all: &HOST, needed: &[PVE, "ifupdown2"], unless: None }
    }
}

fn packages(names: &[&str]) -> Packages {
    Packages(names.iter().map(|name| (*name).to_owned()).collect())
}

impl Resource for Wanted {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let there = |name: &str| Installed::read(target).map(|installed| installed.has(name));
            match self.unless {
                Some(instead) if there(instead)? => Ok(None),
                _ => packages(self.needed).check(target).await,
            }
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move { packages(self.all).apply(target).await })
    }
}
