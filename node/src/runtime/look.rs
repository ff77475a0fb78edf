//! Which machines there really are, whatever the record says; and the end of one that no tree names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Incarnation;
use homestak_protocol::message::{Held, Reply, Seen};
use homestak_protocol::name::SiteName;
use homestak_protocol::path::{NodePath, TreeId};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::world::{Owned, Remove, Task, World};

/// How long looking may take: whoever asks makes a plan, and waits for it.
const LIMIT: Duration = Duration::from_secs(10);

/// How long destroying one machine may take: as long as in a run.
const DISCARD: Duration = Duration::from_secs(300);

/// Looks, and compares with the lives that are on record.
pub(super) async fn reply(
    world: Arc<dyn World>,
    tree: TreeId,
    lives: BTreeMap<NodePath, Incarnation>,
    cancel: CancellationToken,
) -> Reply {
    let task = Task { cancel: cancel.clone(), progress: Arc::new(|_| {}) };
    let owned = tokio::select! {
        () = cancel.cancelled() => Err(leaving()),
        owned = timeout(LIMIT, world.owned(tree, task)) => owned.unwrap_or_else(|_| Err(too_long())),
    };
    let seen = |Owned { path, incarnation, vmid, running }: Owned| {
        let known = lives.get(&path) == Some(&incarnation);
        Seen { path, vmid, running, known }
    };
    match owned {
        Ok(owned) => Reply::Seen(owned.into_iter().map(seen).collect()),
        Err(fault) => Reply::Refused(fault),
    }
}

/// Looks at the machines of every tree.
pub(super) async fn inventory(world: Arc<dyn World>, cancel: CancellationToken) -> Reply {
    match all(&*world, &cancel).await {
        Ok(owned) => Reply::Inventory(owned.into_iter().map(held).collect()),
        Err(fault) => Reply::Refused(fault),
    }
}

/// Destroys this machine and no other: one that has changed meanwhile is another.
pub(super) async fn discard(world: Arc<dyn World>, machine: Held, cancel: CancellationToken) -> Reply {
    let gone = async {
        let owned = all(&*world, &cancel).await?;
        let is_it =
            |tree: &TreeId, one: &Owned| *tree == machine.tree && one.path == machine.path && one.vmid == machine.vmid;
        let Some((tree, found)) = owned.into_iter().find(|(tree, one)| is_it(tree, one)) else { return Ok(()) };
        let task = Task { cancel: cancel.clone(), progress: Arc::new(|_| {}) };
        let ask = Remove { tree, path: found.path, vmid: found.vmid, only: Some(found.incarnation) };
        let late = |_| Err(Fault::new(Code::Timeout, "destroying the machine takes too long").at(&machine.path));
        timeout(DISCARD, world.remove(ask, task)).await.unwrap_or_else(late)
    };
    let gone = tokio::select! {
        () = cancel.cancelled() => Err(leaving()),
        gone = gone => gone,
    };
    gone.map_or_else(Reply::Refused, |()| Reply::Done)
}

/// Looks for images.
pub(super) async fn sources(world: Arc<dyn World>, images: Vec<SiteName>, cancel: CancellationToken) -> Reply {
    let task = Task { cancel: cancel.clone(), progress: Arc::new(|_| {}) };
    let found = tokio::select! {
        () = cancel.cancelled() => Err(leaving()),
        found = timeout(LIMIT, world.sources(images, task)) => found.unwrap_or_else(|_| Err(too_long())),
    };
    found.map_or_else(Reply::Refused, Reply::Sources)
}

async fn all(world: &dyn World, cancel: &CancellationToken) -> Result<Vec<(TreeId, Owned)>, Fault> {
    let task = Task { cancel: cancel.clone(), progress: Arc::new(|_| {}) };
    tokio::select! {
        () = cancel.cancelled() => Err(leaving()),
        owned = timeout(LIMIT, world.inventory(task)) => owned.unwrap_or_else(|_| Err(too_long())),
    }
}

/// Finds out what this machine is as a host.
pub(super) async fn description(world: Arc<dyn World>, cancel: CancellationToken) -> Reply {
    let task = Task { cancel: cancel.clone(), progress: Arc::new(|_| {}) };
    let host = tokio::select! {
        () = cancel.cancelled() => Err(leaving()),
        host = timeout(LIMIT, world.describe(task)) => host.unwrap_or_else(|_| Err(too_long())),
    };
    host.map_or_else(Reply::Refused, Reply::Described)
}

fn held((tree, owned): (TreeId, Owned)) -> Held {
    Held { tree, path: owned.path, vmid: owned.vmid, running: owned.running }
}

fn leaving() -> Fault {
    Fault::new(Code::Unreachable, "the agent is shutting down")
}

fn too_long() -> Fault {
    Fault::new(Code::Timeout, "looking what there is takes too long")
}
