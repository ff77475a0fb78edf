//! Starting, stopping and destroying.

use std::time::Duration;

use homestak_node::world::Task;
use homestak_protocol::fault::{Code, Fault};

use super::Host;
use super::api::{CallError, Class, Form, Guest, GuestKind, Storage};
use super::deed::Call;
use super::find::already;
use super::record::Record;
use super::task::Undone;
use crate::provider::{Identity, Tag};

/// How long a guest has to end when it is asked to.
const GRACE: Duration = Duration::from_secs(60);

impl Host {
    /// Makes sure that the machine runs.
    pub(super) async fn start(&self, identity: &Identity, task: &Task) -> Result<(), Fault> {
        let fault = |undone: Undone| undone.fault(Code::Provision).at(&identity.path);
        let _gate = self.limits.gate(&identity.tag()).await;
        let gone = || Fault::new(Code::Provision, "the machine to be started is not there").at(&identity.path);
        let (guest, mut record) = self.there(identity, task).await.map_err(fault)?.ok_or_else(gone)?;
        if self.api.power(&guest).await.map_err(|error| fault(error.into()))?.is_running() {
            return Ok(());
        }
        (task.progress)(format!("starting {}", guest.noun()));
        match self.perform(&mut record, Call::Start(&guest), task).await {
            Err(Undone::Call(error)) if already(&error, "already running") && error.class == Class::Conflict => Ok(()),
            other => other.map_err(fault),
        }
    }

    /// Makes sure that the machine does not run, if it is there.
    pub(super) async fn stop(&self, identity: &Identity, task: &Task) -> Result<(), Fault> {
        let fault = |undone: Undone| undone.fault(Code::Destroy).at(&identity.path);
        let _gate = self.limits.gate(&identity.tag()).await;
        let Some((guest, mut record)) = self.there(identity, task).await.map_err(fault)? else { return Ok(()) };
        let power = self.api.power(&guest).await.map_err(|error| fault(error.into()))?;
        if power.is_ha_managed() {
            return Err(managed(&guest, identity));
        }
        let config = self.api.config(&guest).await.map_err(|error| fault(error.into()))?;
        if config.value("protection").is_some_and(|protection| protection != "0") {
            return Err(protected(&guest, identity));
        }
        if power.is_running() { self.halt(&guest, &mut record, task).await.map_err(fault) } else { Ok(()) }
    }

    /// Asks a guest to end, and ends it when it does not.
    pub(super) async fn halt(&self, guest: &Guest, record: &mut Record, task: &Task) -> Result<(), Undone> {
        (task.progress)(format!("shutting {} down", guest.noun()));
        let form = Form::new().with("timeout", GRACE.as_secs());
        match self.once(record, Call::Shutdown(guest, &form), task).await {
            Err(Undone::Call(error)) if error.class == Class::Gone || error.message.contains("not running") => Ok(()),
            Err(Undone::Call(error)) if error.class != Class::Permission => {
                tracing::info!(%error, guest = %guest.noun(), "it does not end by itself");
                match self.perform(record, Call::Stop(guest), task).await {
                    Err(Undone::Call(error)) if already(&error, "not running") => Ok(()),
                    other => other,
                }
            }
            other => other,
        }
    }

    /// Makes sure that the machine no longer exists, if it is ours.
    pub(super) async fn destroy(&self, identity: &Identity, task: &Task) -> Result<(), Fault> {
        let fault = |undone: Undone| undone.fault(Code::Destroy).at(&identity.path);
        let tag = identity.tag();
        let _gate = self.limits.gate(&tag).await;
        let was_machine = self.records.read(&tag).is_some_and(|record| record.kind == GuestKind::Qemu);
        if let Some((guest, mut record)) = self.there(identity, task).await.map_err(fault)? {
            if guest.hastate.is_some() {
                return Err(managed(&guest, identity));
            }
            (task.progress)(format!("destroying {}", guest.noun()));
            // What is left of a creation that died goes too, by its name alone. Where others use the same storage, such a name
            // may be theirs.
            let shared = self.shares_disks().await.map_err(|error| fault(error.into()))?;
            let form = Form::new().with_switch("purge", true).with_switch("destroy-unreferenced-disks", !shared);
            match self.perform(&mut record, Call::Destroy(&guest, &form), task).await {
                Err(Undone::Call(error)) if error.class == Class::Gone => {}
                other => other.map_err(fault)?,
            }
            if guest.kind == GuestKind::Qemu {
                self.clear_snippets(identity, &tag).await.map_err(fault)?;
            }
        } else if was_machine {
            // It went when nobody was there to clear up after it.
            self.clear_snippets(identity, &tag).await.map_err(fault)?;
        }
        self.limits.release(&tag);
        self.records.remove(&tag).map_err(|error| fault(Undone::Storage(error.to_string())))
    }

    /// Removes what cloud-init read, unless another machine has the name by now, and so snippets of that name.
    async fn clear_snippets(&self, identity: &Identity, tag: &Tag) -> Result<(), Undone> {
        let (seen, name) = (self.seen().await?, identity.path.name());
        if seen.namesake(name, tag).is_none() && self.limits.take_name(name, tag, |other| seen.has(other)).is_ok() {
            self.remove_snippets(name);
        }
        Ok(())
    }

    /// Whether other hosts keep disks on a storage of this one.
    async fn shares_disks(&self) -> Result<bool, CallError> {
        let holds_disks = |storage: &Storage| storage.holds("images") || storage.holds("rootdir");
        Ok(self.api.storages(&self.settings.node()).await?.iter().any(|storage| storage.shared && holds_disks(storage)))
    }

    /// The machine's guest with its record, once nothing is being done to it; none where there is none.
    async fn there(&self, identity: &Identity, task: &Task) -> Result<Option<(Guest, Record)>, Undone> {
        let mut record = self.records.read(&identity.tag());
        if let Some(record) = &mut record {
            self.settle(record, task).await?;
        }
        let seen = self.seen().await?;
        let found = seen.machine(identity).map_err(|fault| Undone::Refused(Box::new(fault)))?;
        let Some(guest) = found.cloned() else { return Ok(None) };
        let record = match record.filter(|record| record.vmid == guest.vmid) {
            Some(record) => record,
            None => Record::new(identity, self.life(&guest).await?, guest.kind, guest.vmid),
        };
        Ok(Some((guest, record)))
    }
}

/// Somebody wants to keep it, so it is not even stopped.
fn protected(guest: &Guest, identity: &Identity) -> Fault {
    let program = match guest.kind {
        GuestKind::Qemu => "qm",
        GuestKind::Lxc => "pct",
    };
    let hint =
        format!("take the protection off first, if it may really go: `{program} set {} --protection 0`", guest.vmid);
    Fault::new(Code::Destroy, format!("{} has its protection mode enabled and is left alone", guest.noun()))
        .hint(hint)
        .at(&identity.path)
}

/// The cluster starts and stops it, so we do not.
fn managed(guest: &Guest, identity: &Identity) -> Fault {
    let resource = match guest.kind {
        GuestKind::Qemu => format!("vm:{}", guest.vmid),
        GuestKind::Lxc => format!("ct:{}", guest.vmid),
    };
    let hint = format!("take it out of HA first: `ha-manager remove {resource}`");
    Fault::new(Code::Destroy, format!("{} is managed by HA and is left alone", guest.noun()))
        .hint(hint)
        .at(&identity.path)
}
