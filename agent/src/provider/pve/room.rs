//! Room on a storage: how many machines are made on it at once, whoever makes them, and whether somebody waits for them or not.
//!
//! Whoever makes a machine holds [`Held`]: the machine's gate, and its room. What must not be left half done goes on in a task
//! of its own that holds it as well. When the last of them lets go before all is well, a task of the agent's life keeps the
//! room until PVE has no task of that machine any more; it ends with the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use homestak_node::lifecycle::Lifecycle;
use homestak_protocol::ids::Vmid;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::Host;
use super::api::{Api, Class};
use super::limits::Gate;
use super::record::{Deed, Step};
use super::task::Undone;

/// How often it is asked whether a creation that nobody waits for has ended.
const AGAIN: Duration = Duration::from_millis(100);

/// What whoever makes a machine holds meanwhile. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// One does something to it at a time.
    gate: Arc<Gate>,
    room: Option<Arc<Room>>,
}

impl Held {
    /// The gate alone.
    pub(super) fn gate(gate: Arc<Gate>) -> Self {
        Self { gate, room: None }
    }

    /// The gate, and room.
    pub(super) fn with(&self, room: Room) -> Self {
        Self { gate: Arc::clone(&self.gate), room: Some(Arc::new(room)) }
    }

    /// The machine that the room is for.
    pub(super) fn is_for(&self, vmid: Vmid) {
        if let Some(room) = &self.room {
            room.vmid.store(vmid.number(), Ordering::Relaxed);
        }
    }

    /// All is well: the next one, please.
    pub(super) fn leave(&self) {
        if let Some(room) = &self.room {
            room.done.store(true, Ordering::Relaxed);
        }
    }
}

/// A place among those that are made on a storage, and from an image.
pub(super) struct Room {
    permits: Vec<OwnedSemaphorePermit>,
    /// The machine that is made; 0 until that is known.
    vmid: AtomicU32,
    done: AtomicBool,
    node: String,
    api: Api,
    life: Lifecycle,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("vmid", &self.vmid).field("done", &self.done).finish_non_exhaustive()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let vmid = *self.vmid.get_mut();
        if *self.done.get_mut() || vmid == 0 {
            return;
        }
        let permits = std::mem::take(&mut self.permits);
        let (api, node, ending) = (self.api.clone(), std::mem::take(&mut self.node), self.life.ending.clone());
        self.life.tracker.spawn(async move {
            let _permits = permits;
            // A host that cannot be asked any more is not waited for.
            let busy = async || api.running_tasks(&node, vmid).await.is_ok_and(|tasks| !tasks.is_empty());
            let _ended = ending
                .run_until_cancelled(async {
                    while busy().await {
                        sleep(AGAIN).await;
                    }
                })
                .await;
        });
    }
}

impl Host {
    /// Waits for room on a storage and, where a machine is made from one, at an image. The image's comes always after the
    /// storage's, so that nobody waits for somebody who waits for him.
    pub(super) async fn room(&self, storage: &str, image: Option<&str>) -> Result<Room, Undone> {
        self.inherited.get_or_try_init(|| self.inherit()).await?;
        let mut permits = Vec::from_iter(self.limits.storage(storage).await);
        if let Some(image) = image {
            permits.extend(self.limits.storage(image).await);
        }
        Ok(self.room_of(permits, 0))
    }

    fn room_of(&self, permits: Vec<OwnedSemaphorePermit>, vmid: u32) -> Room {
        let (api, life, node) = (self.api.clone(), self.life.clone(), self.settings.node());
        Room { permits, vmid: AtomicU32::new(vmid), done: AtomicBool::new(false), node, api, life }
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
            let permit = record.storage.as_deref().filter(|_| runs).and_then(|storage| self.limits.room(storage));
            if let Some(permit) = permit {
                tracing::info!(path = %record.path, vmid = %record.vmid, "a creation of an earlier life goes on");
                drop(self.room_of(vec![permit], record.vmid.number()));
            }
        }
        Ok(())
    }
}
