//! Machines that hosts have and that no recorded tree names: what a lost record, a restored backup of a guest or an agent
//! that died at the wrong moment leaves behind. Those of other sites are not ours to judge.

use std::collections::BTreeMap;
use std::time::Duration;

use homestak_protocol::event::NodeView;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::Held;
use homestak_protocol::name::HostName;
use homestak_protocol::order::NodeKind;
use homestak_protocol::path::{NodePath, TreeId};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Engine, Reach, refuse};
use crate::api::Refusal;
use crate::documents::{ErrorDocument, OrphanDocument, OrphansDocument};
use crate::store::{Record, RunFilter, TreeRow};

/// How long a host may take to look: a little more than its agent gives itself.
const LIMIT: Duration = Duration::from_secs(12);

/// What is on record of a tree.
struct Known {
    planned: Option<TreeRow>,
    views: Vec<NodeView>,
    /// A run is in progress: what is there is being worked on.
    busy: bool,
}

/// What hosts have said.
#[derive(Default)]
struct Stock {
    hosts: Vec<String>,
    /// Machines, and the host that has them. In a cluster several hosts see one machine; the one that carries it counts.
    machines: BTreeMap<Held, NodePath>,
    notes: Vec<String>,
}

impl<R: Record, C: Reach> Engine<R, C> {
    /// What hosts have that no recorded tree names; of it, `destroy` goes.
    pub async fn orphans(
        &self,
        host: Option<&HostName>,
        destroy: Option<&[OrphanDocument]>,
    ) -> Result<OrphansDocument, Refusal> {
        if let Some(host) = host {
            self.host_is_known(host).await?;
            self.host_is_there(host).await?;
        }
        // While this is held no run begins, so that what is an orphan stays one.
        let _one_at_a_time = self.0.beginning.lock().await;
        let stock = self.stock(host).await.map_err(|fault| refuse(&fault))?;
        let mut notes = stock.notes;
        let (mut orphans, mut foreign) = (Vec::new(), 0_usize);
        let mut known = BTreeMap::new();
        for (machine, at) in stock.machines {
            if machine.tree.site != self.store().site() {
                foreign += 1;
                continue;
            }
            if !known.contains_key(&machine.tree) {
                known.insert(machine.tree.clone(), self.known(&machine.tree).await?);
            }
            if known.get(&machine.tree).is_some_and(|known| known.misses(&machine.path)) {
                orphans.push((at, machine));
            }
        }
        match foreign {
            0 => {}
            1 => notes.push("a machine of another site is there and is left alone".to_owned()),
            many => notes.push(format!("{many} machines of other sites are there and are left alone")),
        }
        let mut shown = Vec::with_capacity(orphans.len());
        for (at, machine) in orphans {
            let mut document = document(&at, &machine);
            match destroy {
                Some(chosen) if chosen.iter().any(|one| is_same(one, &document)) => {
                    let gone = self.core().discard(at, machine).await;
                    document.destroyed = Some(gone.is_ok());
                    document.error = gone.err().map(|fault| ErrorDocument::from(&fault));
                }
                Some(_) => continue,
                None => {}
            }
            shown.push(document);
        }
        Ok(OrphansDocument { hosts: stock.hosts, orphans: shown, notes, error: None })
    }

    /// Asks every host that is there what it has.
    async fn stock(&self, host: Option<&HostName>) -> Result<Stock, Fault> {
        let trees = self.core().trees().await?;
        let carries = |path: &NodePath| {
            path.is_host()
                || trees
                    .iter()
                    .flat_map(|tree| &tree.nodes)
                    .any(|view| view.path == *path && view.kind == NodeKind::Pve && !view.status.is_gone())
        };
        let within = |path: &NodePath| host.is_none_or(|host| path.is_within(&NodePath::host_root(host)));
        let agents = self.core().agents().await?;
        let (mut stock, mut asked) = (Stock::default(), JoinSet::new());
        for presence in agents.into_iter().filter(|presence| carries(&presence.path) && within(&presence.path)) {
            let at = presence.path;
            if !presence.connected {
                stock.notes.push(format!("{at} was not asked: its agent is not there"));
                continue;
            }
            let core = self.core().clone();
            asked.spawn(async move {
                let told = timeout(LIMIT, core.inventory(at.clone())).await;
                let late = || Err(Fault::new(Code::Timeout, format!("no answer within {} s", LIMIT.as_secs())));
                (at, told.unwrap_or_else(|_| late()))
            });
        }
        while let Some(Ok((at, told))) = asked.join_next().await {
            match told {
                Ok(machines) => {
                    stock.hosts.push(at.to_string());
                    for machine in machines {
                        let carried = at.carries(&machine.path);
                        let place = stock.machines.entry(machine).or_insert_with(|| at.clone());
                        if carried {
                            *place = at.clone();
                        }
                    }
                }
                Err(fault) => stock.notes.push(format!("{at} was not asked: {}", fault.message)),
            }
        }
        stock.hosts.sort();
        stock.notes.sort();
        Ok(stock)
    }

    async fn known(&self, tree: &TreeId) -> Result<Known, Refusal> {
        let (host, manifest) = (tree.host.clone(), tree.manifest.clone());
        let running =
            RunFilter { host: Some(host.clone()), manifest: Some(manifest.clone()), running: true, limit: Some(1) };
        let running = self.store().runs(running).await.map_err(|error| refuse(&error.fault()))?;
        let planned = self.recorded(&host, &manifest).await?;
        let snapshot = self.core().tree(tree.clone()).await.map_err(|fault| refuse(&fault))?;
        let views = snapshot.map(|snapshot| snapshot.nodes).unwrap_or_default();
        Ok(Known { planned, views, busy: !running.is_empty() })
    }
}

impl Known {
    /// Whether a machine that is there is none that this tree has.
    fn misses(&self, path: &NodePath) -> bool {
        if self.busy {
            return false;
        }
        match self.views.iter().find(|view| view.path == *path) {
            Some(view) => view.status.is_gone(),
            None => self.planned.iter().flat_map(|tree| &tree.nodes).all(|node| node.path != *path),
        }
    }
}

fn document(at: &NodePath, machine: &Held) -> OrphanDocument {
    OrphanDocument {
        host: at.to_string(),
        tree: format!("{}/{}", machine.tree.host, machine.tree.manifest),
        path: machine.path.to_string(),
        vm_id: machine.vmid.map(|vmid| vmid.number()),
        running: machine.running,
        destroyed: None,
        error: None,
    }
}

/// Whether it is the machine that was shown, wherever it stands now.
fn is_same(shown: &OrphanDocument, now: &OrphanDocument) -> bool {
    (&shown.host, &shown.tree, &shown.path, shown.vm_id) == (&now.host, &now.tree, &now.path, now.vm_id)
}
