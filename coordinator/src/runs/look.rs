//! Asks hosts which machines of a tree they really have, level by level, for as long as somebody waits for a plan.

use std::collections::BTreeMap;
use std::time::Duration;

use homestak_protocol::event::NodeView;
use homestak_protocol::message::Wanted;
use homestak_protocol::order::NodeKind;
use homestak_protocol::path::{NodePath, TreeId};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::{Engine, Reach};
use crate::lower::{Resolved, Sight, may_exist};
use crate::store::Record;

/// How long a plan waits for hosts to look, all levels together, and then for what they find in their machines.
const LIMIT: Duration = Duration::from_secs(3);

impl<R: Record, C: Reach> Engine<R, C> {
    /// What there is of a tree. The notes name hosts that could not be asked, so that the record has to do.
    pub(super) async fn look_at(&self, tree: &TreeId, views: &[NodeView]) -> (Sight, Vec<String>) {
        let end = Instant::now() + LIMIT;
        let (mut sight, mut notes) = (Sight::default(), Vec::new());
        let mut level = vec![NodePath::host_root(&tree.host)];
        while !level.is_empty() {
            let mut asked = JoinSet::new();
            for at in std::mem::take(&mut level) {
                let (core, tree) = (self.core().clone(), tree.clone());
                asked.spawn(async move {
                    let seen = timeout_at(end, core.look(at.clone(), tree)).await;
                    (at, seen)
                });
            }
            while let Some(joined) = asked.join_next().await {
                // One that panicked has said so.
                let Ok((at, seen)) = joined else { continue };
                let why = match seen {
                    Ok(Ok(seen)) => {
                        sight.add(at.clone(), seen);
                        level.extend(hosts_on(&at, views).filter(|host| sight.holds(host)).cloned());
                        continue;
                    }
                    Ok(Err(fault)) => fault.message,
                    Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
                };
                notes.push(format!("{at} was not asked which machines it has, so they are as on record: {why}"));
            }
        }
        (sight, notes)
    }
}

impl<R: Record, C: Reach> Engine<R, C> {
    /// How the machines that are there are not as this manifest wants them, as their hosts see it. The notes name hosts that
    /// could not be asked, so that the record has to do.
    pub(super) async fn compare_at(&self, tree: &TreeId, resolved: &Resolved, sight: &mut Sight) -> Vec<String> {
        let end = Instant::now() + LIMIT;
        let mut wanted: BTreeMap<NodePath, Vec<Wanted>> = BTreeMap::new();
        for node in resolved.nodes.iter().filter(|node| sight.holds(&node.planned.path)) {
            let (path, told) = (node.planned.path.clone(), &node.cloud_init);
            if let Some(at) = path.parent() {
                let (address, gateway) = (told.address.clone(), told.gateway.clone());
                let machine = node.planned.machine.clone();
                wanted.entry(at).or_default().push(Wanted { path, machine, address, gateway });
            }
        }
        let mut asked = JoinSet::new();
        for (at, wanted) in wanted {
            let (core, tree) = (self.core().clone(), tree.clone());
            asked.spawn(async move {
                let told = timeout_at(end, core.compare(at.clone(), tree, wanted)).await;
                (at, told)
            });
        }
        let mut notes = Vec::new();
        while let Some(joined) = asked.join_next().await {
            let Ok((at, told)) = joined else { continue };
            let why = match told {
                Ok(Ok(differing)) => {
                    differing.into_iter().for_each(|machine| sight.differs(machine));
                    continue;
                }
                Ok(Err(fault)) => fault.message,
                Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
            };
            notes.push(format!("{at} was not asked how its machines are, so they are as on record: {why}"));
        }
        notes
    }
}

/// The hosts among the machines directly on a host, as on record.
fn hosts_on<'v>(at: &'v NodePath, views: &'v [NodeView]) -> impl Iterator<Item = &'v NodePath> {
    let is_host = |view: &&NodeView| view.kind == NodeKind::Pve && may_exist(view);
    views.iter().filter(is_host).map(|view| &view.path).filter(move |path| at.carries(path))
}
