//! The packages that make a Debian a Proxmox VE host, in two goes: its kernel, which has to run before the rest comes, and
//! the rest (pve.proxmox.com, "Install Proxmox VE on Debian").

use std::path::Path;

use super::questions::answers;
use crate::config::resource::{Difference, Resource, Step};
use crate::config::resources::dpkg::Packages as Installed;
use crate::config::resources::packages::Packages;
use crate::config::system::Target;

/// The package that stands for all of PVE.
const PVE: &str = "proxmox-ve";
const KERNEL: &str = "proxmox-default-kernel";
/// What comes with it, and what its own documentation names beside it.
const HOST: [&str; 6] = [PVE, "ifupdown2", "isc-dhcp-client", "postfix", "open-iscsi", "chrony"];
/// Where ifupdown2 locks itself in. It reloads the network when it is installed; its package makes the folder only when its
/// service starts, and up to 3.2.0-1+pmx8 is not installed without.
const LOCKED_IN: &str = "/run/network";

/// Packages that are to be there.
pub(super) struct Wanted {
    name: &'static str,
    /// All that are installed where something is missing.
    all: &'static [&'static str],
    /// Those without which it does not hold: whoever has made the host may have chosen among the others.
    needed: &'static [&'static str],
    /// What makes them superfluous.
    unless: Option<&'static str>,
    /// The machine's name with its domain, for what asks for it.
    machine: String,
}

impl Wanted {
    /// PVE's kernel. A host that has PVE has chosen one.
    pub(super) const fn kernel(machine: String) -> Self {
        Self { name: "kernel package", all: &[KERNEL], needed: &[KERNEL], unless: Some(PVE), machine }
    }

    /// PVE, and what brings up bridges.
    pub(super) const fn host(machine: String) -> Self {
        Self { name: "packages", all: &HOST, needed: &[PVE, "ifupdown2"], unless: None, machine }
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
        Box::pin(async move {
            target.folder(Path::new(LOCKED_IN))?;
            let answers = answers(target, &self.machine).await?;
            packages(self.all).install(&answers, target).await
        })
    }
}
