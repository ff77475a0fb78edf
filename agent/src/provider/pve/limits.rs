//! How much is done at once, for each storage and each source of images, and who has which id and name meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homestak_protocol::ids::Vmid;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use crate::provider::Tag;

/// What this process has in hand.
#[derive(Default)]
pub(super) struct Limits {
    parallel: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    storages: BTreeMap<String, Arc<Semaphore>>,
    gates: BTreeMap<Tag, Arc<tokio::sync::Mutex<()>>>,
    ids: BTreeMap<Vmid, Tag>,
    names: BTreeMap<String, Tag>,
    paces: BTreeMap<String, Duration>,
}

/// The right to do something to one machine.
pub(super) type Gate = OwnedMutexGuard<()>;

impl Limits {
    /// So much at once on each storage.
    pub(super) fn new(parallel: usize) -> Self {
        Self { parallel, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked with it has changed one entry or none.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate of a machine: one does something to it at a time.
    pub(super) async fn gate(&self, tag: &Tag) -> Gate {
        let gate = Arc::clone(self.inner().gates.entry(tag.clone()).or_default());
        gate.lock_owned().await
    }

    /// Waits for room on a storage.
    pub(super) async fn storage(&self, name: &str) -> Option<OwnedSemaphorePermit> {
        self.rooms(name).acquire_owned().await.ok()
    }

    /// Room on a storage, if there is some now.
    pub(super) fn room(&self, name: &str) -> Option<OwnedSemaphorePermit> {
        self.rooms(name).try_acquire_owned().ok()
    }

    fn rooms(&self, name: &str) -> Arc<Semaphore> {
        let mut inner = self.inner();
        let rooms = inner.storages.entry(name.to_owned());
        Arc::clone(rooms.or_insert_with(|| Arc::new(Semaphore::new(self.parallel))))
    }

    /// Puts it on record that a machine has this id.
    pub(super) fn take_id(&self, vmid: Vmid, tag: &Tag) {
        self.inner().ids.insert(vmid, tag.clone());
    }

    /// The first id from `from` on that nobody has, for this machine.
    pub(super) fn next_id(&self, from: u32, used: &BTreeSet<Vmid>, tag: &Tag) -> Option<Vmid> {
        let mut inner = self.inner();
        let free = |vmid: &Vmid| !used.contains(vmid) && inner.ids.get(vmid).is_none_or(|holder| holder == tag);
        let found = (from.max(Vmid::MIN)..=Vmid::MAX).filter_map(Vmid::new).find(free)?;
        inner.ids.insert(found, tag.clone());
        Some(found)
    }

    /// Takes a name for a machine, unless another that `is_there` has it.
    pub(super) fn take_name(&self, name: &str, tag: &Tag, is_there: impl Fn(&Tag) -> bool) -> Result<(), Tag> {
        let mut inner = self.inner();
        if let Some(holder) = inner.names.get(name).filter(|holder| *holder != tag) {
            let busy = inner.gates.get(holder).is_some_and(|gate| gate.try_lock().is_err());
            if busy || is_there(holder) {
                return Err(holder.clone());
            }
        }
        inner.names.insert(name.to_owned(), tag.clone());
        Ok(())
    }

    /// How long a task of this kind may take, as far as others have told.
    pub(super) fn pace(&self, kind: &str) -> Option<Duration> {
        self.inner().paces.get(kind).copied()
    }

    /// A task of this kind took so long. Shorter ones count more: who asks too early asks again, who asks too late has lost.
    pub(super) fn took(&self, kind: &str, time: Duration) {
        let mut inner = self.inner();
        let pace = inner.paces.entry(kind.to_owned()).or_insert(time);
        *pace = if time < *pace { time } else { *pace + time.saturating_sub(*pace) / 4 };
    }

    /// Forgets what a machine had.
    pub(super) fn release(&self, tag: &Tag) {
        let mut inner = self.inner();
        inner.ids.retain(|_, holder| holder != tag);
        inner.names.retain(|_, holder| holder != tag);
    }
}
