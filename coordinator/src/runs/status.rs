//! How trees and agents stand.

use std::collections::BTreeMap;
use std::time::Duration;

use homestak_node::runtime::TreeSnapshot;
use homestak_protocol::event::{Drift, NodeView, Presence, Status};
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::Generation;
use homestak_protocol::name::{HostName, ManifestName};
use homestak_protocol::path::NodePath;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::begin::summary;
use super::{Engine, Reach, clock, next_update, outcome, refuse, waiting};
use crate::api::{Answer, ManifestSource, Refusal};
use crate::documents::{
    AgentDocument, AgentsDocument, DriftDocument, FactsDocument, RunDocument, RunsDocument, StatusDocument,
    TreeDocument, WaitingDocument,
};
use crate::store::{Record, RunFilter, RunState, TreeRow};

/// The pause between two looks of a watcher: as often as anybody reads.
const GATHER: Duration = Duration::from_millis(200);

type Presences = BTreeMap<NodePath, Presence>;

impl<R: Record, C: Reach> Engine<R, C> {
    /// How one tree stands, or all of them.
    pub async fn status(
        &self,
        manifest: Option<&ManifestSource>,
        host: Option<&HostName>,
    ) -> Result<StatusDocument, Refusal> {
        let presences = self.presences().await.map_err(|fault| refuse(&fault))?;
        if let Some(source) = manifest {
            let host = host.cloned().unwrap_or_else(HostName::local);
            let name = self.tree_name(&host, source).await?;
            let row = self.recorded(&host, &name).await?;
            let tree = self.tree_document(&host, &name, row, &presences).await?;
            return Ok(StatusDocument::Tree(Box::new(tree)));
        }
        let mut trees = Vec::new();
        for row in self.store().trees().await.map_err(|error| refuse(&error.fault()))? {
            if host.is_none_or(|host| row.host == *host) {
                let (host, name) = (row.host.clone(), row.manifest.clone());
                trees.push(self.tree_document(&host, &name, Some(row), &presences).await?);
            }
        }
        Ok(StatusDocument::Trees { trees })
    }

    /// Sends how things stand after every change, until nobody listens.
    pub async fn watch_status(
        &self,
        manifest: Option<&ManifestSource>,
        host: Option<&HostName>,
        sink: &mpsc::Sender<Answer>,
    ) -> Result<(), Refusal> {
        let (mut updates, mut turns) = (self.core().updates(), self.turns());
        let mut shown = None;
        loop {
            let now = self.status(manifest, host).await?;
            let state = without_seconds(now.clone());
            if shown.as_ref() != Some(&state) && sink.send(Answer::Snapshot(now)).await.is_err() {
                return Ok(());
            }
            shown = Some(state);
            let woken = async {
                tokio::select! {
                    _ = next_update(&mut updates, |_| true) => {}
                    _ = turns.changed() => {}
                }
                sleep(GATHER).await;
            };
            tokio::select! {
                () = sink.closed() => return Ok(()),
                () = self.0.life.ending.cancelled() => return Ok(()),
                () = woken => {}
            }
        }
    }

    /// Runs, the latest first.
    pub async fn runs(
        &self,
        manifest: Option<&ManifestSource>,
        host: Option<&HostName>,
        limit: u32,
    ) -> Result<RunsDocument, Refusal> {
        let manifest = match manifest {
            Some(source) => Some(self.tree_name(&host.cloned().unwrap_or_else(HostName::local), source).await?),
            None => None,
        };
        let filter = RunFilter { host: host.cloned(), manifest, running: false, limit: Some(limit) };
        let rows = self.store().runs(filter).await.map_err(|error| refuse(&error.fault()))?;
        Ok(RunsDocument { runs: rows.iter().map(summary).collect() })
    }

    /// Every agent that is there or was, unless its machine is gone.
    pub async fn agents(&self) -> Result<AgentsDocument, Refusal> {
        let presences = self.presences().await.map_err(|fault| refuse(&fault))?;
        let trees = self.core().trees().await.map_err(|fault| refuse(&fault))?;
        let exists = |path: &NodePath| {
            path.is_host()
                || trees.iter().flat_map(|tree| &tree.nodes).any(|view| view.path == *path && !view.status.is_gone())
        };
        let agents = presences.values().filter(|presence| exists(&presence.path)).map(agent).collect();
        Ok(AgentsDocument { agents })
    }

    /// How many agents are there, and whether any of them is not the one of `local` or below it.
    pub async fn connected(&self) -> Result<(u32, bool), Fault> {
        let hosts = self.core().hosts().await?;
        let others = hosts.iter().any(|(path, _)| *path != NodePath::host_root(&HostName::local()));
        let agents = self.core().agents().await?;
        let count = agents.iter().filter(|presence| presence.connected).count();
        Ok((u32::try_from(count).unwrap_or(u32::MAX), others))
    }

    /// How many trees are on record.
    pub async fn recorded_trees(&self) -> Result<u32, Fault> {
        let trees = self.store().trees().await.map_err(|error| error.fault())?;
        Ok(u32::try_from(trees.len()).unwrap_or(u32::MAX))
    }

    async fn tree_document(
        &self,
        host: &HostName,
        name: &ManifestName,
        row: Option<TreeRow>,
        presences: &Presences,
    ) -> Result<TreeDocument, Refusal> {
        let tree_id = self.tree_id(host, name);
        let snapshot = self.core().tree(tree_id.clone()).await.map_err(|fault| refuse(&fault))?;
        let filter =
            RunFilter { host: Some(host.clone()), manifest: Some(name.clone()), running: false, limit: Some(1) };
        let last = self.store().runs(filter).await.map_err(|error| refuse(&error.fault()))?.into_iter().next();
        let running = last.as_ref().is_some_and(|run| run.state == RunState::Running);
        let mut views = snapshot.as_ref().map(|s: &TreeSnapshot| s.nodes.clone()).unwrap_or_default();
        // What went in an earlier run is no longer part of the tree.
        views.retain(|view| running || !view.status.is_gone());
        let views = outcome::arrange(row.as_ref(), views);
        let any = |status: Status| views.iter().any(|view| view.status == status);
        let state = match () {
            () if running => "running",
            () if views.is_empty() => "absent",
            () if views.iter().all(|view| view.status == Status::Completed) => "ready",
            () if any(Status::Unreachable) => "unreachable",
            () => "incomplete",
        };
        let drifts = self.store().drifts().await.map_err(|error| refuse(&error.fault()))?;
        let nodes: Vec<_> = views
            .iter()
            .map(|view| {
                let presence = presences.get(&view.path);
                let mut node = outcome::document(view);
                node.waiting = self.0.words.of(&tree_id, view).map(|waiting| now_since(waiting, view));
                node.connected = Some(presence.is_some_and(|presence| presence.connected));
                node.last_seen = presence.map(|presence| clock::shown(presence.seen_ms));
                node.drift = drifts.iter().find(|(generation, drift)| is_about(view, *generation, drift)).map(drift);
                node
            })
            .collect();
        Ok(TreeDocument {
            manifest: name.to_string(),
            host: host.to_string(),
            recorded: row.is_some(),
            state: state.into(),
            run: last.as_ref().map(summary),
            context: RunDocument::context_of(&nodes),
            nodes,
        })
    }

    /// The last word on every agent: from the core, or from before the last restart.
    async fn presences(&self) -> Result<Presences, Fault> {
        let kept = self.store().presences().await.map_err(|error| error.fault())?;
        let mut presences: Presences = kept
            .into_iter()
            .map(|presence| (presence.path.clone(), Presence { connected: false, ..presence }))
            .collect();
        for presence in self.core().agents().await? {
            presences.insert(presence.path.clone(), presence);
        }
        Ok(presences)
    }
}

/// How things stand, but for the time that passes.
fn without_seconds(mut status: StatusDocument) -> StatusDocument {
    let trees = match &mut status {
        StatusDocument::Tree(tree) => std::slice::from_mut(&mut **tree),
        StatusDocument::Trees { trees } => trees.as_mut_slice(),
    };
    let waiting = trees.iter_mut().flat_map(|tree| &mut tree.nodes).filter_map(|node| node.waiting.as_mut());
    waiting.for_each(|waiting| waiting.seconds = None);
    status
}

/// With how long that is by now.
fn now_since(waiting: WaitingDocument, view: &NodeView) -> WaitingDocument {
    let passed = waiting::since(view).map(|since| clock::seconds(clock::now_ms().saturating_sub(since)));
    WaitingDocument { seconds: passed, ..waiting }
}

/// Whether this was found of what the node's last run has made of it: what was found before, that run has put right.
fn is_about(view: &NodeView, generation: Generation, drift: &Drift) -> bool {
    drift.path == view.path && generation >= view.generation
}

fn drift((_, drift): &(Generation, Drift)) -> DriftDocument {
    DriftDocument {
        differences: drift.differences,
        lines: drift.lines.clone(),
        checked_at: clock::shown(drift.checked_ms),
    }
}

fn agent(presence: &Presence) -> AgentDocument {
    let facts = &presence.facts;
    AgentDocument {
        path: presence.path.to_string(),
        version: presence.software.clone(),
        protocol: presence.protocol,
        address: presence.address.clone(),
        connected: presence.connected,
        since: clock::shown(presence.since_ms),
        last_seen: clock::shown(if presence.connected { clock::now_ms() } else { presence.seen_ms }),
        facts: FactsDocument {
            hostname: facts.hostname.clone(),
            cpu: facts.cores,
            memory: facts.memory_mib,
            memory_free: facts.memory_free_mib,
            disk: facts.disk_gib,
            disk_free: facts.disk_free_gib,
            load: clock::seconds(facts.load_milli),
            kernel: facts.kernel.clone(),
            os: facts.os.clone(),
            arch: facts.arch.clone(),
            nested: facts.nested,
        },
    }
}
