//! Everything that is done to one machine of `local`, by whoever holds its gate.
//!
//! A crash between any two steps leaves what the next call finds: a folder comes into being whole, by a rename; a process
//! that was started but not put on record is found by the lock of its state folder; a folder on its way out has another
//! name.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use homestak_node::crash::Side;
use homestak_node::world::{Boot, Ensure, Ensured, Found};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::order::Machine;

use super::claims::{Claim, ordered_address};
use super::image::{self, make_folder, remove_folder};
use super::keeper::{Keeper, launch};
use super::record::{Desired, Record, boot_path, root_path, state_path};
use super::spawn::boot_text;
use super::trash::{DRAFT, GRACE, processes, trash_name, trash_of};
use super::{Gate, Slot, Yard, blocking, clear, storage};
use crate::files::{read_if_there, write_whole};
use crate::provider::Identity;

/// Makes sure that the machine is there as it was asked for. It is started by [`start`].
pub(super) async fn ensure(yard: Arc<Yard>, slot: Arc<Slot>, mut gate: Gate, ask: Ensure) -> Result<Ensured, Fault> {
    let identity = Identity { tree: ask.tree.clone(), path: ask.path.clone() };
    let Some(found) = look(&slot, &identity)? else { return create(yard, slot, ask, identity).await };
    let (record, what) = amend(&yard, &slot, found.clone(), &ask)?;
    let text = boot_text(&slot.folder, &record, &ask.boot)?;
    let reboot = read_if_there(&boot_path(&slot.folder)).ok().flatten().as_deref() != Some(&text);
    if reboot {
        // What its agent is told at its start has changed, so it starts anew. Told first, on record last: a crash in
        // between does it all again.
        halt(&slot.folder, &mut gate).await.map_err(|error| storage("the machine could not be stopped", &error))?;
        let folder = slot.folder.clone();
        blocking(move || write_whole(&boot_path(&folder), text.as_bytes()))
            .await?
            .map_err(|error| storage("what the machine is told could not be written", &error))?;
    }
    if record != found {
        let (folder, record) = (slot.folder.clone(), record.clone());
        write(folder, record).await?;
    }
    Ok(Ensured { found: what, adopted: record.adopted, vmid: Some(record.vmid), ip: Some(record.ip.into()) })
}

/// What of a machine that is there has to be put right.
fn amend(yard: &Yard, slot: &Slot, found: Record, ask: &Ensure) -> Result<(Record, Found), Fault> {
    let mut record = found;
    let fixed = |what: String| {
        let hint = format!("destroy {} first, or leave that as it was", ask.path.name());
        Fault::new(Code::Provision, what).hint(hint).at(&ask.path)
    };
    if record.machine.kind != ask.machine.kind {
        let (is, wanted) = (record.machine.kind, ask.machine.kind);
        return Err(fixed(format!("the machine is a {is} and cannot become a {wanted}")));
    }
    if let Some(wanted) = ask.machine.vmid.filter(|wanted| *wanted != record.vmid) {
        return Err(fixed(format!("the machine has the vmid {} and cannot have {wanted} instead", record.vmid)));
    }
    let mut what = Found::Unchanged;
    // An image is what a machine begins with; what it has become since stays.
    let wanted = Machine { image: record.machine.image.clone(), vmid: record.machine.vmid, ..ask.machine.clone() };
    if record.machine != wanted {
        record.machine = wanted;
        what = Found::Updated;
    }
    if let Some(ip) = ordered_address(&ask.cloud_init).filter(|ip| *ip != record.ip) {
        claim(yard, slot, ask, Some(ip))?;
        record.ip = ip;
        what = Found::Updated;
    }
    if record.incarnation != ask.incarnation {
        record.incarnation = ask.incarnation;
        record.adopted = true;
        what = Found::Adopted;
    }
    Ok((record, what))
}

async fn create(yard: Arc<Yard>, slot: Arc<Slot>, ask: Ensure, identity: Identity) -> Result<Ensured, Fault> {
    let claim = claim(&yard, &slot, &ask, ordered_address(&ask.cloud_init))?;
    let record = Record {
        site: identity.tree.site,
        host: identity.tree.host.clone(),
        manifest: identity.tree.manifest.clone(),
        path: identity.path.clone(),
        incarnation: ask.incarnation,
        adopted: false,
        vmid: claim.vmid,
        ip: claim.ip,
        machine: ask.machine,
        desired: Desired::Running,
        process: None,
    };
    let (ensured, (at, place)) = (
        Ensured { found: Found::Created, adopted: false, vmid: Some(claim.vmid), ip: Some(claim.ip.into()) },
        (Arc::clone(&yard), Arc::clone(&slot)),
    );
    let built = blocking(move || build(&at, &place, &record, &ask.boot)).await.and_then(|built| built);
    if built.is_err() {
        yard.book().claims.release(&slot.tag);
    }
    built.map(|()| ensured)
}

/// Makes the folder beside its place, and puts it there whole.
fn build(yard: &Yard, slot: &Slot, record: &Record, boot: &Boot) -> Result<(), Fault> {
    let failed =
        |error: &dyn std::error::Error| storage("the machine's folder could not be made", error).at(&record.path);
    let draft = yard.machines.join(format!("{DRAFT}{}", slot.tag));
    remove_folder(&draft).map_err(|error| failed(&error))?;
    let text = boot_text(&slot.folder, record, boot)?;
    let root = root_path(&draft);
    let made = make_folder(&state_path(&draft)).and_then(|()| match &record.machine.image {
        Some(name) => image::copy(&yard.images, name, &root),
        None => make_folder(&root),
    });
    made.and_then(|()| write_whole(&boot_path(&draft), text.as_bytes())).map_err(|error| failed(&error))?;
    record.write(&draft).map_err(|error| failed(&error))?;
    yard.reach("machine.create", Side::Before);
    std::fs::rename(&draft, &slot.folder).map_err(|error| failed(&error))?;
    yard.reach("machine.create", Side::After);
    Ok(())
}

/// Finds an id and an address for the machine. A conflict counts only with a machine that is still there.
fn claim(yard: &Yard, slot: &Slot, ask: &Ensure, ip: Option<Ipv4Addr>) -> Result<Claim, Fault> {
    let identity = Identity { tree: ask.tree.clone(), path: ask.path.clone() };
    let mut book = yard.book();
    let first = book.claims.claim(&slot.tag, &identity, ask.machine.vmid, ip);
    first.or_else(|_| {
        book.claims.retain(|tag| yard.machines.join(tag.as_str()).exists());
        book.claims.claim(&slot.tag, &identity, ask.machine.vmid, ip)
    })
}

/// Makes sure that the machine runs and is kept running.
pub(super) async fn start(yard: Arc<Yard>, slot: Arc<Slot>, mut gate: Gate, identity: Identity) -> Result<(), Fault> {
    let gone = || Fault::new(Code::Provision, "the machine to be started is not there").at(&identity.path);
    let record = look(&slot, &identity)?.ok_or_else(gone)?;
    if record.desired != Desired::Running {
        write(slot.folder.clone(), Record { desired: Desired::Running, ..record }).await?;
    }
    if gate.as_ref().is_some_and(Keeper::is_at_work) {
        return Ok(());
    }
    let held = launch(&yard, &slot).await.map_err(|fault| fault.at(&identity.path))?.ok_or_else(gone)?;
    *gate = Some(Keeper::begin(&yard, &slot, held));
    Ok(())
}

/// Makes sure that the machine does not run, if it is ours.
pub(super) async fn stop(slot: Arc<Slot>, mut gate: Gate, identity: Identity) -> Result<(), Fault> {
    let Ok(Some(record)) = look(&slot, &identity) else { return Ok(()) };
    if record.desired != Desired::Stopped {
        write(slot.folder.clone(), Record { desired: Desired::Stopped, ..record }).await?;
    }
    halt(&slot.folder, &mut gate).await.map_err(|error| not_ended(&identity, &error))
}

/// Makes sure that the machine is gone, with every machine inside it, if it is ours.
pub(super) async fn destroy(yard: Arc<Yard>, slot: Arc<Slot>, mut gate: Gate, identity: Identity) -> Result<(), Fault> {
    match look(&slot, &identity) {
        Ok(Some(_)) => {
            if let Some(keeper) = gate.take() {
                keeper.dismiss().await;
            }
            let trash = yard.machines.join(trash_name(&slot.tag));
            yard.reach("machine.trash", Side::Before);
            std::fs::rename(&slot.folder, &trash).map_err(|error| not_ended(&identity, &error))?;
            yard.reach("machine.trash", Side::After);
            yard.book().claims.release(&slot.tag);
        }
        Ok(None) => yard.book().claims.release(&slot.tag),
        Err(foreign) => tracing::info!(path = %identity.path, why = %foreign.message, "not ours, so it is left alone"),
    }
    // Also what an earlier call, or an earlier process, did not bring to its end.
    for trash in trash_of(&yard.machines, &slot.tag) {
        clear(trash).await.map_err(|fault| Fault { code: Code::Destroy, ..fault }.at(&identity.path))?;
    }
    yard.reach("machine.clear", Side::After);
    Ok(())
}

/// The record of the machine in its place; none where there is nothing. What is there but not ours is a conflict.
pub(super) fn look(slot: &Slot, identity: &Identity) -> Result<Option<Record>, Fault> {
    let conflict = |what: String| {
        let hint = format!("if nothing in {} is needed any more, remove that folder", slot.folder.display());
        Fault::new(Code::Conflict, what).hint(hint).at(&identity.path)
    };
    match Record::read(&slot.folder) {
        Ok(Some(record)) if record.identity() == *identity => Ok(Some(record)),
        Ok(Some(other)) => Err(conflict(format!("the machine in the place of this one is {}", other.identity()))),
        Ok(None) if !slot.folder.exists() => Ok(None),
        Ok(None) => Err(conflict(format!("{} holds something that is no machine", slot.folder.display()))),
        Err(error) => Err(conflict(error.to_string())),
    }
}

/// Ends the machine's process, and whoever would start it again.
async fn halt(folder: &Path, gate: &mut Gate) -> std::io::Result<()> {
    if let Some(keeper) = gate.take() {
        keeper.dismiss().await;
    }
    for mark in processes(folder) {
        if let Some(held) = mark.hold()? {
            held.end(GRACE).await?;
            held.collect();
        }
    }
    Ok(())
}

async fn write(folder: std::path::PathBuf, record: Record) -> Result<(), Fault> {
    let path = record.path.clone();
    let written = blocking(move || record.write(&folder)).await?;
    written.map_err(|error| storage("the machine's record could not be written", &error).at(&path))
}

fn not_ended(identity: &Identity, error: &std::io::Error) -> Fault {
    let message = format!("the machine could not be ended: {error}");
    Fault { retryable: true, ..Fault::new(Code::Destroy, message).at(&identity.path) }
}
