//! What a machine is made as and what its first boot is told, from its preset and the site's defaults.

use std::net::Ipv4Addr;

use homestak_protocol::extras::MachineExtras;
use homestak_protocol::fault::Fault;
use homestak_protocol::name::SiteName;
use homestak_protocol::order::{CloudInit, NodeKind};

use super::ansible::merged;
use crate::site::Site;
use crate::site::model::{Interface, Lease, Package};

/// The size of a machine where neither the node nor the site says: that of the smallest thing that boots.
const BARE: (u32, u64, u64) = (1, 1024, 8);

/// What lets PVE see into a virtual machine: installed in each, before all else.
const GUEST_AGENT: &str = "qemu-guest-agent";

/// A machine's size and place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Virtual processors.
    pub cores: u32,
    /// MiB.
    pub memory_mib: u64,
    /// GiB.
    pub disk_gib: u64,
    /// The bridge that it is on.
    pub bridge: Option<String>,
}

impl Site {
    /// A machine of this preset, or of the usual one. None where the site has no such preset.
    pub fn machine(&self, name: Option<&SiteName>) -> Option<Machine> {
        let preset = self.preset(name);
        if name.is_some() && preset.is_none() {
            return None;
        }
        let (cores, memory_mib, disk_gib) = preset.map_or(BARE, |preset| (preset.cores, preset.memory, preset.disk));
        let bridge = preset.and_then(|preset| preset.bridge.as_ref()).or(self.defaults().bridge.as_ref());
        Some(Machine { cores, memory_mib, disk_gib, bridge: bridge.map(Interface::to_string) })
    }

    /// What more there is to say of a machine of this kind, preset and image that is made on this host.
    pub fn extras(
        &self,
        kind: NodeKind,
        preset: Option<&SiteName>,
        image: Option<&SiteName>,
        host: &str,
    ) -> MachineExtras {
        MachineExtras {
            nesting: self.preset(preset).and_then(|preset| preset.nesting).filter(|_| kind == NodeKind::Ct),
            storage: self.storage_on(host),
            image: image.and_then(|image| self.defaults().images.get(image).cloned()),
        }
    }

    /// What the first boot of such a machine is told. It is told all SSH keys and root's password hash, as every machine
    /// is, and no secret of anybody else's.
    pub fn cloud_init(&self, kind: NodeKind, preset: Option<&SiteName>) -> Result<CloudInit, Fault> {
        let (defaults, preset) = (self.defaults(), self.preset(preset));
        let none = Vec::<Package>::new();
        let own = preset.map_or(&none, |preset| &preset.packages);
        let mut packages = merged([&defaults.packages, own]);
        if kind != NodeKind::Ct {
            packages.retain(|package| *package != GUEST_AGENT);
            packages.insert(0, GUEST_AGENT);
        }
        let address = preset.and_then(|preset| preset.ip).as_ref().and_then(Lease::address);
        let gateway = preset.and_then(|preset| preset.gateway).or(defaults.gateway);
        let secrets = self.secrets()?;
        Ok(CloudInit {
            user: Some(self.vm_user().to_owned()),
            ssh_keys: secrets.ssh_keys.iter().map(|(_, key)| key.clone()).collect(),
            root_password_hash: secrets.passwords.vm_root.clone(),
            packages: packages.into_iter().map(str::to_owned).collect(),
            address: address.as_ref().map(ToString::to_string),
            gateway: gateway.as_ref().map(Ipv4Addr::to_string),
            dns_servers: defaults.dns_servers.iter().map(ToString::to_string).collect(),
            domain: defaults.domain.as_ref().map(ToString::to_string),
        })
    }
}
