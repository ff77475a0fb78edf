//! Which machines there really are, whatever the record says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Incarnation;
use homestak_protocol::message::{Reply, Seen};
use homestak_protocol::path::{NodePath, TreeId};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::world::{Owned, Task, World};

/// How long looking may take: whoever asks makes a plan, and waits for it.
const LIMIT: Duration = Duration::from_secs(10);

/// Looks, and compares with the lives that are on record.
pub(super) async fn reply(
    world: &dyn World,
    tree: TreeId,
    lives: &BTreeMap<NodePath, Incarnation>,
    cancel: CancellationToken,
) -> Reply {
    let task = Task { cancel: cancel.clone(), progress: Arc::new(|_| {}) };
    let owned = tokio::select! {
        () = cancel.cancelled() => Err(Fault::new(Code::Unreachable, "the agent is shutting down")),
        owned = timeout(LIMIT, world.owned(tree, task)) => {
            owned.unwrap_or_else(|_| Err(Fault::new(Code::Timeout, "looking which machines there are takes too long")))
        }
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
