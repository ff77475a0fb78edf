//! The parameters by which PVE makes a machine.

use homestak_node::world::Ensure;
use homestak_protocol::ids::Vmid;
use homestak_protocol::order::Machine;

use super::Host;
use super::api::Form;
use super::disk::Origin;
use super::owner::{Ownership, mac};

/// A virtual machine's first disk. Those of the earlier system have it there, and adopted ones too.
pub(super) const DISK: &str = "virtio0";
/// A container's.
pub(super) const ROOTFS: &str = "rootfs";
/// The network card.
pub(super) const CARD: &str = "net0";

impl Host {
    /// A virtual machine: its disk is imported from a volume and grown afterwards, cloud-init has a drive of its own, and a
    /// serial console is there for images that insist on one (Debian 12). One whose disk the API cannot import has none yet.
    pub(super) fn vm_form(
        &self,
        ask: &Ensure,
        ours: &Ownership,
        vmid: Vmid,
        storage: &str,
        image: Option<&Origin>,
    ) -> Form {
        let name = ask.path.name();
        let disk = match image {
            Some(Origin::Volume(volid)) => Some(format!("{storage}:0,import-from={volid},discard=on,iothread=1")),
            Some(Origin::File(_)) => None,
            None => Some(format!("{storage}:{},discard=on,iothread=1", ask.machine.disk_gib)),
        };
        let order = disk.is_some().then(|| format!("order={DISK}"));
        common(Form::new().with("vmid", vmid).with("name", name), ask, ours)
            .with("cpu", "host")
            .with("ostype", "l26")
            .with("agent", "enabled=1")
            .with("serial0", "socket")
            .with_some(DISK, disk)
            .with("ide2", format_args!("{storage}:cloudinit"))
            .with_some("boot", order)
            .with(CARD, format_args!("virtio={},bridge={}", mac(&ours.identity), self.bridge(&ask.machine)))
            .with("cicustom", self.cicustom(name))
    }

    /// A container: unprivileged, able to carry containers itself unless that is not wanted.
    pub(super) fn ct_form(&self, ask: &Ensure, ours: &Ownership, vmid: Vmid, storage: &str, template: &str) -> Form {
        let init = &ask.cloud_init;
        let keys = (!init.ssh_keys.is_empty()).then(|| init.ssh_keys.join("\n"));
        let dns = (!init.dns_servers.is_empty()).then(|| init.dns_servers.join(" "));
        let own = address(init.address.as_deref(), init.gateway.as_deref());
        let card =
            format!("name=eth0,hwaddr={},bridge={},{},type=veth", mac(&ours.identity), self.bridge(&ask.machine), own);
        common(Form::new().with("vmid", vmid).with("hostname", ask.path.name()), ask, ours)
            .with("ostemplate", template)
            .with(ROOTFS, format_args!("{storage}:{}", ask.machine.disk_gib))
            .with_switch("unprivileged", true)
            .with_some("features", (ask.extras.nesting != Some(false)).then_some("nesting=1"))
            .with(CARD, card)
            .with_some("ssh-public-keys", keys)
            .with_some("nameserver", dns)
            .with_some("searchdomain", init.domain.as_deref())
    }

    /// The bridge that it is on.
    pub(super) fn bridge<'a>(&'a self, machine: &'a Machine) -> &'a str {
        machine.bridge.as_deref().unwrap_or(&self.settings.bridge)
    }
}

/// What both kinds have.
fn common(form: Form, ask: &Ensure, ours: &Ownership) -> Form {
    form.with("tags", ours.identity.tag())
        .with("description", ours.text(ask.run))
        .with("memory", ask.machine.memory_mib)
        .with("cores", ask.machine.cores)
        .with_switch("onboot", true)
}

/// A container's address, as its card has it.
pub(super) fn address(address: Option<&str>, gateway: Option<&str>) -> String {
    match address {
        None => "ip=dhcp".to_owned(),
        Some(address) => {
            let (ip, gw) = if address.contains(':') { ("ip6", "gw6") } else { ("ip", "gw") };
            let gateway = gateway.map(|gateway| format!(",{gw}={gateway}")).unwrap_or_default();
            format!("{ip}={address}{gateway}")
        }
    }
}
