//! How a guest is not as it was ordered, and what PVE is told to put it right.

use std::sync::Arc;

use homestak_node::world::Ensure;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::{Differing, Wanted};
use homestak_protocol::order::Machine;
use homestak_protocol::path::TreeId;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::api::{CallError, Class, Config, Guest, GuestKind};
use super::owner::mac;
use super::vm::{CARD, DISK, ROOTFS, address};
use super::{Host, Pve};
use crate::files::read_if_there;
use crate::provider::Identity;

/// How many configurations are read at once: PVE's proxy has three workers, and others ask it too.
const READ_AT_ONCE: usize = 8;
/// Bytes of a GiB.
pub(super) const GIB: u64 = 1024 * 1024 * 1024;

/// What a machine is to be, as far as it can be compared.
pub(super) struct Shape<'a> {
    pub(super) machine: &'a Machine,
    pub(super) address: Option<&'a str>,
    pub(super) gateway: Option<&'a str>,
}

impl<'a> Shape<'a> {
    /// What was ordered.
    pub(super) fn ordered(ask: &'a Ensure) -> Self {
        let told = &ask.cloud_init;
        Self { machine: &ask.machine, address: told.address.as_deref(), gateway: told.gateway.as_deref() }
    }
}

/// Something that is not as ordered.
pub(super) struct Drift {
    /// The parameter.
    pub(super) key: &'static str,
    /// What it is to be.
    pub(super) value: String,
    /// As people say it.
    what: Vec<String>,
}

impl Host {
    /// What is not as ordered and can be put right in place. What waits for the next start counts as being so.
    pub(super) fn drift(
        &self,
        wanted: &Shape<'_>,
        identity: &Identity,
        config: &Config,
        kind: GuestKind,
    ) -> Vec<Drift> {
        let machine = wanted.machine;
        let mut drift = Vec::new();
        let (cores, memory) = (config.number("cores").unwrap_or(1), config.number("memory").unwrap_or(512));
        if cores != u64::from(machine.cores) {
            let what = vec![format!("cores {cores} → {}", machine.cores)];
            drift.push(Drift { key: "cores", value: machine.cores.to_string(), what });
        }
        if memory != machine.memory_mib {
            let what = vec![format!("memory {memory} MiB → {} MiB", machine.memory_mib)];
            drift.push(Drift { key: "memory", value: machine.memory_mib.to_string(), what });
        }
        drift.extend(self.card(wanted, identity, config, kind));
        drift
    }

    /// The network card, where it is not as ordered: on another bridge, or, of a container, with another address.
    fn card(&self, wanted: &Shape<'_>, identity: &Identity, config: &Config, kind: GuestKind) -> Option<Drift> {
        let bridge = self.bridge(wanted.machine);
        let mut set = vec![("bridge", Some(bridge))];
        let own = address(wanted.address, wanted.gateway);
        if kind == GuestKind::Lxc {
            let of =
                |property| own.split(',').filter_map(|part| part.split_once('=')).find(|(key, _)| *key == property);
            set.extend(["ip", "gw", "ip6", "gw6"].map(|key| (key, of(key).map(|(_, value)| value))));
        }
        let mut what = Vec::new();
        for (property, to) in &set {
            let from = config.property(CARD, property);
            if from != *to {
                what.push(format!("{} {} → {}", noun(property), from.unwrap_or("none"), to.unwrap_or("none")));
            }
        }
        let new = || match kind {
            GuestKind::Qemu => format!("virtio={}", mac(identity)),
            GuestKind::Lxc => format!("name=eth0,hwaddr={},type=veth", mac(identity)),
        };
        let card = config.value(CARD).map_or_else(new, str::to_owned);
        let value = set.iter().fold(card, |card, (property, to)| with_property(&card, property, *to));
        (!what.is_empty()).then_some(Drift { key: CARD, value, what })
    }

    /// The size of the disk, in bytes.
    pub(super) fn disk(config: &Config, kind: GuestKind) -> Option<u64> {
        config.property(disk_of(kind), "size").and_then(bytes)
    }

    /// The address that a virtual machine was told at its first boot, where that can be seen and is another one. Nothing but
    /// a first boot makes cloud-init read it again.
    pub(super) fn other_address(&self, name: &str, wanted: &Shape<'_>) -> Option<String> {
        let text = read_if_there(&self.snippet(name, "network")).ok()??;
        let told: Value = serde_json::from_str(&text).ok()?;
        let told = told.pointer("/ethernets/eth0/addresses/0").and_then(Value::as_str);
        (told != wanted.address).then(|| {
            let shown = |address: Option<&str>| address.unwrap_or("DHCP").to_owned();
            format!("address {} → {}", shown(told), shown(wanted.address))
        })
    }

    /// Everything in which a guest is not as wanted, as people say it.
    fn differences(&self, wanted: &Wanted, identity: &Identity, guest: &Guest, config: &Config) -> Vec<String> {
        let shape =
            Shape { machine: &wanted.machine, address: wanted.address.as_deref(), gateway: wanted.gateway.as_deref() };
        let drift = self.drift(&shape, identity, config, guest.kind);
        let mut what: Vec<String> = drift.into_iter().flat_map(|drift| drift.what).collect();
        let ordered = wanted.machine.disk_gib.saturating_mul(GIB);
        let disk = Self::disk(config, guest.kind).filter(|disk| *disk != ordered);
        what.extend(disk.map(|disk| {
            let never = if disk > ordered { " (a disk never shrinks)" } else { "" };
            format!("disk {} GiB → {} GiB{never}", disk / GIB, wanted.machine.disk_gib)
        }));
        let other = self.other_address(wanted.path.name(), &shape).filter(|_| guest.kind == GuestKind::Qemu);
        what.extend(other.map(|other| format!("{other} (only a machine that is made anew takes it)")));
        what
    }
}

impl Pve {
    /// How machines that are there are not as wanted.
    pub(super) async fn compared(&self, tree: TreeId, wanted: Vec<Wanted>) -> Result<Vec<Differing>, Fault> {
        let failed = |error: CallError| error.fault(Code::Provision);
        let seen = self.host.seen().await.map_err(failed)?;
        let mut guests = Vec::new();
        for wanted in wanted {
            let identity = Identity { tree: tree.clone(), path: wanted.path.clone() };
            if let Some(guest) = seen.machine(&identity)? {
                guests.push((guest.clone(), (wanted, identity)));
            }
        }
        let mut differing = Vec::new();
        for (guest, (wanted, identity), config) in self.configured(guests).await.map_err(failed)? {
            let what = self.host.differences(&wanted, &identity, &guest, &config);
            if !what.is_empty() {
                differing.push(Differing { path: wanted.path, what });
            }
        }
        Ok(differing)
    }

    /// The configurations of guests, read side by side; one that went while we looked is left out.
    pub(super) async fn configured<T: Send + 'static>(
        &self,
        guests: Vec<(Guest, T)>,
    ) -> Result<Vec<(Guest, T, Config)>, CallError> {
        let (mut reading, room) = (JoinSet::new(), Arc::new(Semaphore::new(READ_AT_ONCE)));
        for (guest, about) in guests {
            let (host, room) = (Arc::clone(&self.host), Arc::clone(&room));
            reading.spawn(async move {
                let _room = room.acquire().await;
                let config = host.api.config(&guest).await;
                (guest, about, config)
            });
        }
        let mut found = Vec::new();
        while let Some(read) = reading.join_next().await {
            match read {
                Ok((guest, about, Ok(config))) => found.push((guest, about, config)),
                Ok((_, _, Err(error))) if error.class == Class::Gone => {}
                Ok((_, _, Err(error))) => return Err(error),
                // Nobody aborts them; one that panicked has said so.
                Err(_) => {}
            }
        }
        Ok(found)
    }
}

/// What the disk of a guest is called.
pub(super) const fn disk_of(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Qemu => DISK,
        GuestKind::Lxc => ROOTFS,
    }
}

fn noun(property: &str) -> &str {
    match property {
        "ip" | "ip6" => "address",
        "gw" | "gw6" => "gateway",
        other => other,
    }
}

/// A size as PVE writes it: `32G`, `512M`, a number of bytes.
fn bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let factor = match unit {
        "" => 1,
        "K" => 1024,
        "M" => 1024 * 1024,
        "G" => GIB,
        "T" => 1024 * GIB,
        _ => return None,
    };
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        // PVE writes fractions for odd sizes (`2252M` as `2.2G` in some versions): rounded up, they are at least right.
        Err(_) => number.split('.').next()?.parse::<u64>().ok()?.checked_add(1)?.checked_mul(factor),
    }
}

/// A value such as `virtio=…,bridge=vmbr0` with one of its properties set anew, or taken away.
fn with_property(value: &str, property: &str, to: Option<&str>) -> String {
    let kept = value.split(',').filter(|part| part.split_once('=').is_none_or(|(name, _)| name != property));
    let set = to.map(|to| format!("{property}={to}"));
    kept.chain(set.as_deref()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_pve_writes_them() {
        assert_eq!(
            [bytes("32G"), bytes("2048M"), bytes("1024"), bytes("1T")],
            [Some(32 * GIB), Some(2 * GIB), Some(1024), Some(1024 * GIB)]
        );
        assert_eq!(bytes("many"), None);
    }

    #[test]
    fn a_card_keeps_what_is_not_changed() {
        let card = "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1";
        let moved = "virtio=BC:24:11:00:00:01,firewall=1,bridge=vmbr1";
        assert_eq!(with_property(card, "bridge", Some("vmbr1")), moved);
        assert_eq!(with_property(card, "bridge", None), "virtio=BC:24:11:00:00:01,firewall=1");
    }
}
