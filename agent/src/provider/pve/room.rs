//! Room on a storage: how many machines are made on it at once, whoever makes them, and whether somebody waits for them or not.

use std::time::Duration;

use homestak_node::lifecycle::Lifecycle;
use homestak_protocol::ids::Vmid;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::Host;
use super::api::{Api, Class};
use super::record::{Deed, Step};
use super::task::Undone;

/// How often it is asked whether a creation that nobody waits for has ended.
const AGAIN: Duration = Duration::from_millis(100);

/// A place among those that are made on a storage. Whoever lets go of it before all is well, because nobody wants the machine
/// any more, leaves it to PVE's task: that has it until it ends.
pub(super) struct Room {
    held: Option<OwnedSemaphorePermit>,
    /// The machine that is made.
    pub(super) vmid: Option<Vmid>,
    node: String,
    api: Api,
    life: Lifecycle,
}

impl Room {
    /// All is well: the next one, please.
    pub(super) fn leave(mut self) {
        self.held = None;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let (Some(held), Some(vmid)) = (self.held.take(), self.vmid) else { return };
        let (api, node, ending) = (self.api.clone(), std::mem::take(&mut self.node), self.life.ending.clone());
        self.life.tracker.spawn(async move {
            let _held = held;
            loop {
                // What was sent a moment ago may not have begun yet.
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = sleep(AGAIN) => {}
                }
                // A host that cannot be asked any more is not waited for.
                if api.running_tasks(&node, vmid.number()).await.map_or(true, |tasks| tasks.is_empty()) {
                    return;
                }
            }
        });
    }
}

impl Host {
    /// Waits for room on a storage.
    pub(super) async fn room(&self, storage: &str) -> Result<Room, Undone> {
        self.inherited.get_or_try_init(|| self.inherit()).await?;
        Ok(self.room_with(self.limits.storage(storage).await, None))
    }

    fn room_with(&self, held: Option<OwnedSemaphorePermit>, vmid: Option<Vmid>) -> Room {
        let (api, life) = (self.api.clone(), self.life.clone());
        Room { held, vmid, node: self.settings.node(), api, life }
    }

    /// Counts the creations that lives before this one have begun and that PVE is still at: each takes room on its storage
    /// until it has ended, so that the limit holds however often their maker dies. Before the first creation of this life.
    async fn inherit(&self) -> Result<(), Undone> {
        for record in self.records.all() {
            let Some(Step { deed: Deed::Create, task }) = &record.step else { continue };
            let runs = match task {
                Some(upid) => match self.api.task(upid).await {
                    Ok(status) => status.ended().is_none(),
                    Err(error) if error.class == Class::Gone => false,
                    Err(error) => return Err(error.into()),
                },
                None => !self.api.running_tasks(&self.settings.node(), record.vmid.number()).await?.is_empty(),
            };
            let held = record.storage.as_deref().filter(|_| runs).and_then(|storage| self.limits.room(storage));
            if held.is_some() {
                tracing::info!(path = %record.path, vmid = %record.vmid, "a creation of an earlier life goes on");
                drop(self.room_with(held, Some(record.vmid)));
            }
        }
        Ok(())
    }
}
