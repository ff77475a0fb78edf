//! Making sure that a machine exists, is ours and is as it was ordered.

use homestak_node::world::{Ensure, Ensured, Found, Task};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Vmid;
use std::net::IpAddr;
use std::sync::Arc;

use super::Host;
use super::api::{Guest, GuestKind};
use super::deed::Call;
use super::disk::Origin;
use super::find::Seen;
use super::owner::Ownership;
use super::record::Record;
use super::room::Held;
use super::task::Undone;
use crate::provider::{Identity, Tag};

/// How many ids are tried one after the other, where others take them at the same time.
const ID_ATTEMPTS: u32 = 100;
/// How often it is tried to create one guest whose creation PVE has not confirmed.
const DOUBTS: u32 = 5;

/// What is to be made, with what is known about it.
struct Making<'a> {
    ask: &'a Ensure,
    identity: &'a Identity,
    tag: Tag,
    kind: GuestKind,
    ours: Ownership,
    task: &'a Task,
    held: Held,
}

impl Host {
    /// Makes sure that the machine is there as it was asked for.
    pub(super) async fn ensure(&self, ask: &Ensure, task: &Task) -> Result<Ensured, Fault> {
        let identity = Identity { tree: ask.tree.clone(), path: ask.path.clone() };
        let making = Making {
            ask,
            identity: &identity,
            tag: identity.tag(),
            kind: GuestKind::of(ask.machine.kind),
            ours: Ownership { identity: identity.clone(), incarnation: ask.incarnation, adopted: false },
            task,
            held: Held::gate(Arc::new(self.limits.gate(&identity.tag()).await)),
        };
        let fault = |undone: Undone| undone.fault(Code::Provision).at(&ask.path);
        let mut record = self.records.read(&making.tag);
        if let Some(record) = &mut record {
            self.settle(record, task).await.map_err(fault)?;
        }
        let seen = self.seen().await.map_err(|error| fault(error.into()))?;
        if let Some(guest) = seen.machine(&identity)? {
            return self.adopt(ask, &identity, guest, record, &making.held, task).await;
        }
        if let Some(namesake) = seen.namesake(ask.path.name(), &making.tag) {
            return Err(self.taken(&identity, &format!("the name {}", ask.path.name()), Some(namesake)).await);
        }
        let named = self.limits.take_name(ask.path.name(), &making.tag, |tag| seen.has(tag));
        if named.is_err() {
            return Err(self.taken(&identity, &format!("the name {}", ask.path.name()), None).await);
        }
        let made = self.create(&making, &seen, record).await;
        made.map_err(|fault| fault.at(&ask.path))
    }

    async fn create(&self, making: &Making<'_>, seen: &Seen, before: Option<Record>) -> Result<Ensured, Fault> {
        let (ask, task) = (making.ask, making.task);
        let source = self.source(ask, task).await?;
        let content = if making.kind == GuestKind::Lxc { "rootdir" } else { "images" };
        let storage = self.disk_storage(ask.extras.storage.as_deref(), content).await?;
        if making.kind == GuestKind::Qemu {
            self.snippets_are_taken(task).await?;
        }
        let fixed = ask.machine.vmid;
        let mut vmid = match fixed.or(before.map(|record| record.vmid)) {
            Some(vmid) => vmid,
            None => self.free_id(making, seen, None).await?,
        };
        let fault = |undone: Undone| undone.fault(Code::Provision);
        let room = self.room(&storage, source.as_ref().map(Origin::name).as_deref()).await.map_err(fault)?;
        let held = making.held.with(room);
        let (mut moves, mut doubts) = (0, 0);
        loop {
            if let Some(other) = seen.by_id(vmid).filter(|_| fixed.is_some()) {
                return Err(self.taken(making.identity, &format!("the vmid {vmid}"), Some(other)).await);
            }
            self.limits.take_id(vmid, &making.tag);
            held.is_for(vmid);
            let mut record = Record::new(making.identity, ask.incarnation, making.kind, vmid);
            record.storage = Some(storage.clone());
            if making.kind == GuestKind::Qemu {
                // On record first: what cloud-init reads has a token in it, and whoever destroys the machine has to know of it.
                self.put(&record).map_err(fault)?;
                self.write_snippets(ask.path.name(), &self.snippets_of(ask, making.identity).await?)?;
            }
            let form = match (making.kind, &source) {
                (GuestKind::Lxc, template) => {
                    let template = template.as_ref().map(Origin::name).unwrap_or_default();
                    self.ct_form(ask, &making.ours, vmid, &storage, &template)
                }
                (GuestKind::Qemu, image) => self.vm_form(ask, &making.ours, vmid, &storage, image.as_ref()),
            };
            let created = self.perform(&mut record, Call::Create(making.kind, vmid, &form, &held), task).await;
            let error = match created {
                Ok(()) => return self.finish(making, record, source.as_ref(), &held).await,
                Err(Undone::Call(error)) if error.in_doubt || error.message.contains("already exists") => error,
                Err(undone) => {
                    self.images.forget();
                    return Err(undone.fault(Code::Provision));
                }
            };
            match self.whose(making, vmid).await? {
                Whose::Ours => return self.finish(making, record, source.as_ref(), &held).await,
                Whose::Nobodys if doubts < DOUBTS => {
                    doubts += 1;
                    tracing::info!(%error, %vmid, "nothing came of it; creating it again");
                }
                Whose::Nobodys => return Err(error.fault(Code::Provision)),
                Whose::Others(guest) if fixed.is_some() => {
                    return Err(self.taken(making.identity, &format!("the vmid {vmid}"), guest.as_ref()).await);
                }
                Whose::Others(_) if moves < ID_ATTEMPTS => {
                    moves += 1;
                    vmid = self.free_id(making, seen, Some(vmid)).await?;
                }
                Whose::Others(_) => return Err(error.fault(Code::Provision)),
            }
        }
    }

    /// What is left to do to a guest that was just made.
    async fn finish(
        &self,
        making: &Making<'_>,
        mut record: Record,
        source: Option<&Origin>,
        held: &Held,
    ) -> Result<Ensured, Fault> {
        let guest = self.guest_of(&record);
        if let (GuestKind::Qemu, Some(file @ Origin::File(_)), Some(storage)) =
            (making.kind, source, record.storage.clone())
        {
            let imported = self.import(&mut record, &storage, file, held, making.task).await;
            imported.map_err(|undone| undone.fault(Code::Provision))?;
        }
        self.grow(making.ask, &guest, &mut record, making.task).await?;
        if making.kind == GuestKind::Lxc {
            self.furnish(making.ask, &mut record, held, making.task)
                .await
                .map_err(|undone| undone.fault(Code::Provision))?;
        }
        held.leave();
        Ok(Ensured { found: Found::Created, adopted: false, vmid: Some(record.vmid), ip: ordered_address(making.ask) })
    }

    /// An id that nobody has, after one that somebody has.
    async fn free_id(&self, making: &Making<'_>, seen: &Seen, after: Option<Vmid>) -> Result<Vmid, Fault> {
        let from = match after {
            Some(vmid) => vmid.number().saturating_add(1),
            None => self.api.next_id().await.map_err(|error| error.fault(Code::Provision))?,
        };
        let found = self.limits.next_id(from, &seen.ids(), &making.tag);
        found.ok_or_else(|| Fault::new(Code::Provision, "every vmid is taken"))
    }

    /// Who has an id, after whatever is being done to it.
    async fn whose(&self, making: &Making<'_>, vmid: Vmid) -> Result<Whose, Fault> {
        let fault = |undone: Undone| undone.fault(Code::Provision);
        self.begun(vmid, making.task).await.map_err(fault)?;
        let seen = self.seen().await.map_err(|error| fault(error.into()))?;
        if seen.machine(making.identity)?.is_some_and(|guest| guest.vmid == vmid) {
            return Ok(Whose::Ours);
        }
        if let Some(guest) = seen.by_id(vmid) {
            return Ok(Whose::Others(Some(guest.clone())));
        }
        // The token may not see every guest, but PVE says whether an id is free.
        match self.api.is_free(vmid).await {
            Ok(true) => Ok(Whose::Nobodys),
            Ok(false) => Ok(Whose::Others(None)),
            Err(error) => Err(error.fault(Code::Provision)),
        }
    }

    /// The guest of a record, as far as paths need it.
    pub(super) fn guest_of(&self, record: &Record) -> Guest {
        Guest {
            vmid: record.vmid,
            kind: record.kind,
            node: self.settings.node(),
            name: record.path.name().to_owned(),
            status: String::new(),
            tags: record.identity().tag().to_string(),
            hastate: None,
            lock: None,
        }
    }
}

/// Who has an id.
enum Whose {
    Ours,
    Nobodys,
    Others(Option<Guest>),
}

/// The address that was ordered.
pub(super) fn ordered_address(ask: &Ensure) -> Option<IpAddr> {
    ask.cloud_init.address.as_deref()?.split('/').next()?.parse().ok()
}
