//! A machine that is there: what of it is not as ordered, and putting it right where PVE can do so in place.

use homestak_node::world::{Ensure, Ensured, Found, Task};
use homestak_protocol::fault::{Code, Fault};

use super::Host;
use super::api::{Form, Guest, GuestKind};
use super::deed::Call;
use super::drift::{GIB, Shape, disk_of};
use super::make::ordered_address;
use super::owner::Ownership;
use super::record::Record;
use super::room::Held;
use super::task::Undone;
use crate::provider::Identity;

impl Host {
    /// Takes over a guest that has our tag.
    pub(super) async fn adopt(
        &self,
        ask: &Ensure,
        identity: &Identity,
        guest: &Guest,
        record: Option<Record>,
        held: &Held,
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
        let wanted = Shape::ordered(ask);
        if let Some(other) =
            self.other_address(ask.path.name(), &wanted).filter(|_| lives && guest.kind == GuestKind::Qemu)
        {
            return Err(fixed(format!("the {other} of a machine that was told the first at its first boot")));
        }
        if let Some(fault) = shrinks(ask, Self::disk(&config, guest.kind)) {
            return Err(fault);
        }
        let drift = self.drift(&wanted, identity, &config, guest.kind);
        let mut form = drift.iter().fold(Form::new(), |form, drift| form.with(drift.key, &drift.value));
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
            if guest.node != self.settings.node() {
                return Err(elsewhere(guest, &self.settings.node()).at(&ask.path));
            }
            self.furnish(ask, &mut kept, held, task).await.map_err(fault)?;
        }
        if !form.is_empty() {
            (task.progress)(format!("changing {}", guest.noun()));
            self.perform(&mut kept, Call::Configure(guest, &form), task).await.map_err(fault)?;
        }
        if guest.kind == GuestKind::Qemu
            && config.any_disk().is_none()
            && let Some(origin) = self.source(ask, task).await?
        {
            // Whoever made it has died before it had its disk.
            if guest.node != self.settings.node() {
                return Err(elsewhere(guest, &self.settings.node()).at(&ask.path));
            }
            let storage = self.disk_storage(ask.extras.storage.as_deref(), "images").await?;
            let held = held.with(self.room(&storage, Some(&origin.name())).await.map_err(fault)?);
            held.is_for(guest.vmid);
            self.import(&mut kept, &storage, &origin, &held, task).await.map_err(fault)?;
            held.leave();
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

    /// Makes sure that the disk is as large as ordered. PVE grows disks and never shrinks them.
    pub(super) async fn grow(
        &self,
        ask: &Ensure,
        guest: &Guest,
        record: &mut Record,
        task: &Task,
    ) -> Result<bool, Fault> {
        let fault = |undone: Undone| undone.fault(Code::Provision).at(&ask.path);
        let config = self.api.config(guest).await.map_err(|error| fault(error.into()))?;
        let wanted = ask.machine.disk_gib.saturating_mul(GIB);
        let has = Self::disk(&config, guest.kind);
        if let Some(fault) = shrinks(ask, has) {
            return Err(fault);
        }
        match has {
            Some(has) if has == wanted => Ok(false),
            _ => {
                let call = Call::Resize(guest, disk_of(guest.kind), ask.machine.disk_gib);
                self.perform(record, call, task).await.map_err(fault)?;
                Ok(true)
            }
        }
    }
}

/// That the disk is larger than ordered, where it is.
fn shrinks(ask: &Ensure, has: Option<u64>) -> Option<Fault> {
    let has = has.filter(|has| *has > ask.machine.disk_gib.saturating_mul(GIB))?;
    let message = format!("the disk has {} GiB and cannot shrink to {}", has / GIB, ask.machine.disk_gib);
    let hint = format!("order a disk at least that large, or destroy {} first", ask.path.name());
    Some(Fault::new(Code::Provision, message).hint(hint).at(&ask.path))
}

/// An agent is put into a container, and a disk imported, by the host that has it.
fn elsewhere(guest: &Guest, here: &str) -> Fault {
    let program = if guest.kind == GuestKind::Lxc { "pct" } else { "qm" };
    let text = format!("{} is not finished, and is on {}: only {here} can finish it", guest.noun(), guest.node);
    Fault::new(Code::Provision, text)
        .hint(format!("move it back: `{program} migrate {} {here}` on {}", guest.vmid, guest.node))
}
