//! A machine that is there: what of it is not as ordered, and putting it right where PVE can do so in place.

use homestak_node::world::{Ensure, Ensured, Found, Task};
use homestak_protocol::fault::{Code, Fault};

use super::Host;
use super::api::{Config, Form, Guest, GuestKind};
use super::deed::Call;
use super::make::ordered_address;
use super::owner::{Ownership, mac};
use super::record::Record;
use super::task::Undone;
use super::vm::{CARD, DISK, ROOTFS};
use crate::provider::Identity;

impl Host {
    /// Takes over a guest that has our tag.
    pub(super) async fn adopt(
        &self,
        ask: &Ensure,
        identity: &Identity,
        guest: &Guest,
        record: Option<Record>,
        task: &Task,
    ) -> Result<Ensured, Fault> {
        let fault = |undone: Undone| undone.fault(Code::Provision).at(&ask.path);
        let fixed = |what: String| {
            let hint = format!("destroy {} first, or leave that as it was", ask.path.name());
            Fault::new(Code::Provision, what).hint(hint).at(&ask.path)
        };
        if guest.kind != GuestKind::of(ask.machine.kind) {
            return Err(fixed(format!("{} cannot become a {}", guest.noun(), ask.machine.kind)));
        }
        if let Some(wanted) = ask.machine.vmid.filter(|wanted| *wanted != guest.vmid) {
            return Err(fixed(format!("the machine has the vmid {} and cannot have {wanted} instead", guest.vmid)));
        }
        let config = self.api.config(guest).await.map_err(|error| fault(error.into()))?;
        let made = Ownership::of(guest, &config);
        if let Some(other) = made.as_ref().filter(|made| made.identity != *identity) {
            let message = format!("{} has this machine's tag but describes itself as {}", guest.noun(), other.identity);
            return Err(Fault::new(Code::Conflict, message).at(&ask.path));
        }
        self.limits.take_id(guest.vmid, &identity.tag());
        let lives = made.as_ref().is_some_and(|made| made.incarnation == ask.incarnation);
        let adopted = !lives || made.is_some_and(|made| made.adopted);
        let mut kept = Record::new(identity, ask.incarnation, guest.kind, guest.vmid);
        kept.storage = record.as_ref().and_then(|record| record.storage.clone());
        let drift = self.drift(ask, identity, &config);
        let mut form = drift.iter().fold(Form::new(), |form, (key, value)| form.with(key, value));
        if !lives {
            let ours = Ownership { identity: identity.clone(), incarnation: ask.incarnation, adopted };
            form = form.with("description", ours.text(ask.run));
        }
        if guest.kind == GuestKind::Qemu {
            self.write_snippets(ask.path.name(), &self.snippets_of(ask, identity).await?)?;
        }
        let mut runs = self.api.power(guest).await.map_err(|error| fault(error.into()))?.is_running();
        if !lives && runs {
            // Another life begins with another start: what it is told is read then.
            self.halt(guest, &mut kept, task).await.map_err(fault)?;
            runs = false;
        }
        if guest.kind == GuestKind::Lxc && !runs {
            self.furnish(ask, guest.vmid).await?;
        }
        if !form.is_empty() {
            (task.progress)(format!("changing {}", guest.noun()));
            self.perform(&mut kept, Call::Configure(guest, &form), task).await.map_err(fault)?;
        }
        let grown = self.grow(ask, guest, &mut kept, task).await?;
        if record.as_ref() != Some(&kept) {
            self.put(&kept).map_err(fault)?;
        }
        let found = match (lives, drift.is_empty() && !grown) {
            (false, _) => Found::Adopted,
            (true, false) => Found::Updated,
            (true, true) => Found::Unchanged,
        };
        let vmid = Some(guest.vmid);
        Ok(Ensured { found, adopted, vmid, ip: ordered_address(ask) })
    }

    /// What is not as ordered, and what it is to be instead. What waits for the next start counts as being so.
    fn drift(&self, ask: &Ensure, identity: &Identity, config: &Config) -> Vec<(&'static str, String)> {
        let machine = &ask.machine;
        let mut drift = Vec::new();
        if config.number("cores").unwrap_or(1) != u64::from(machine.cores) {
            drift.push(("cores", machine.cores.to_string()));
        }
        if config.number("memory").unwrap_or(512) != machine.memory_mib {
            drift.push(("memory", machine.memory_mib.to_string()));
        }
        let bridge = self.bridge(ask);
        if config.property(CARD, "bridge") != Some(bridge) {
            let value = match config.value(CARD) {
                Some(card) => with_property(card, "bridge", bridge),
                None => format!("virtio={},bridge={bridge}", mac(identity)),
            };
            drift.push((CARD, value));
        }
        drift
    }

    /// Makes sure that the disk is as large as ordered. PVE grows disks and never shrinks them.
    pub(super) async fn grow(
        &self,
        ask: &Ensure,
        guest: &Guest,
        record: &mut Record,
        task: &Task,
    ) -> Result<bool, Fault> {
        let fault = |undone: Undone| undone.fault(Code::Provision).at(&ask.path);
        let disk = if guest.kind == GuestKind::Lxc { ROOTFS } else { DISK };
        let config = self.api.config(guest).await.map_err(|error| fault(error.into()))?;
        let wanted = ask.machine.disk_gib.saturating_mul(GIB);
        let has = config.property(disk, "size").and_then(bytes);
        match has {
            Some(has) if has > wanted => {
                let message = format!("the disk has {} GiB and cannot shrink to {}", has / GIB, ask.machine.disk_gib);
                let hint = format!("order a disk at least that large, or destroy {} first", ask.path.name());
                Err(Fault::new(Code::Provision, message).hint(hint).at(&ask.path))
            }
            Some(has) if has == wanted => Ok(false),
            _ => {
                let call = Call::Resize(guest, disk, ask.machine.disk_gib);
                self.perform(record, call, task).await.map_err(fault)?;
                Ok(true)
            }
        }
    }
}

const GIB: u64 = 1024 * 1024 * 1024;

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

/// A value such as `virtio=…,bridge=vmbr0` with one of its properties set anew.
fn with_property(value: &str, property: &str, to: &str) -> String {
    let kept = value.split(',').filter(|part| part.split_once('=').is_none_or(|(name, _)| name != property));
    let set = format!("{property}={to}");
    kept.chain([set.as_str()]).collect::<Vec<_>>().join(",")
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
        assert_eq!(with_property(card, "bridge", "vmbr1"), "virtio=BC:24:11:00:00:01,firewall=1,bridge=vmbr1");
    }
}
