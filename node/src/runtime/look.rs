//! Which machines there really are, whatever the record says; and the end of one that no tree names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Incarnation;
use homestak_protocol::message::{Held, Reply, Seen};
use homestak_protocol::path::{NodePath, TreeId};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::core::step::Inquiry;
use crate::world::{Owned, Remove, Task, World};

/// How long looking may take: whoever asks makes a plan, and waits for it.
const LIMIT: Duration = Duration::from_secs(10);

/// How long destroying one machine may take: as long as in a run.
const DISCARD: Duration = Duration::from_secs(300);

/// Looks, or destroys what it is about.
pub(super) async fn answer(world: Arc<dyn World>, inquiry: Inquiry, cancel: CancellationToken) -> Reply {
    let task = Task { cancel: cancel.clone(), progress: Arc::new(|_| {}) };
    let (limit, late) = match &inquiry {
        Inquiry::Discard(machine) => (DISCARD, late("destroying the machine").at(&machine.path)),
        _ => (LIMIT, late("looking what there is")),
    };
    let found = tokio::select! {
        () = cancel.cancelled() => Err(Fault::new(Code::Unreachable, "the agent is shutting down")),
        found = timeout(limit, find(&*world, inquiry, task)) => found.unwrap_or(Err(late)),
    };
    found.unwrap_or_else(Reply::Refused)
}

async fn find(world: &dyn World, inquiry: Inquiry, task: Task) -> Result<Reply, Fault> {
    Ok(match inquiry {
        Inquiry::Look { tree, lives } => {
            Reply::Seen(world.owned(tree, task).await?.into_iter().map(|owned| seen(owned, &lives)).collect())
        }
        Inquiry::Inventory => Reply::Inventory(world.inventory(task).await?.into_iter().map(held).collect()),
        Inquiry::Sources(images) => Reply::Sources(world.sources(images, task).await?),
        Inquiry::Compare { tree, wanted } => Reply::Compared(world.compare(tree, wanted, task).await?),
        Inquiry::Discard(machine) => {
            discard(world, machine, task).await?;
            Reply::Done
        }
        Inquiry::Describe => Reply::Described(world.describe(task).await?),
    })
}

/// Destroys this machine and no other: one that has changed meanwhile is another.
async fn discard(world: &dyn World, machine: Held, task: Task) -> Result<(), Fault> {
    let owned = world.inventory(task.clone()).await?;
    let is_it =
        |tree: &TreeId, one: &Owned| *tree == machine.tree && one.path == machine.path && one.vmid == machine.vmid;
    let Some((tree, found)) = owned.into_iter().find(|(tree, one)| is_it(tree, one)) else { return Ok(()) };
    let ask = Remove { tree, path: found.path, vmid: found.vmid, only: Some(found.incarnation) };
    world.remove(ask, task).await
}

/// A machine beside the lives that are on record.
fn seen(owned: Owned, lives: &BTreeMap<NodePath, Incarnation>) -> Seen {
    let Owned { path, incarnation, vmid, running } = owned;
    let known = lives.get(&path) == Some(&incarnation);
    Seen { path, vmid, running, known }
}

fn held((tree, owned): (TreeId, Owned)) -> Held {
    Held { tree, path: owned.path, vmid: owned.vmid, running: owned.running }
}

fn late(doing: &str) -> Fault {
    Fault::new(Code::Timeout, format!("{doing} takes too long; the host is busy, or does not answer"))
}
