//! Beginning a run: everything that can be refused is refused before anything is changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use homestak_node::runtime::{TreeSnapshot, Update};
use homestak_protocol::event::NodeView;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Generation, RunId, Vmid};
use homestak_protocol::name::{HostName, ManifestName};
use homestak_protocol::order::{Directive, Policy, Verb};
use homestak_protocol::path::{NodePath, TreeId};
use tokio::time::{Instant, timeout_at};

use super::{Engine, Reach, clock, next_update, outcome, refuse};
use crate::api::{Exit, ManifestSource, Refusal, RunRequest, RunVerb};
use crate::documents::{RunDocument, RunSummary};
use crate::lower::{self, Comparison, Ordering, Planned, Resolved, may_exist};
use crate::manifest::{self, Found};
use crate::store::{PlannedNode, Record, RunFilter, RunRow, RunState, Stage, TreeRow};

/// How long a command waits for the agent of `local`, which the daemon itself starts: a cold start on a busy machine.
const LOCAL_WAIT: Duration = Duration::from_secs(20);

/// How long it waits for another host's agent that has joined before: it dials again within a few seconds after the daemon
/// has come back.
const HOST_WAIT: Duration = Duration::from_secs(10);

/// What beginning came to.
#[derive(Debug)]
pub enum Begun {
    /// It goes on.
    Run {
        /// The run.
        run: RunId,
        /// What is worth telling whoever asked.
        notes: Vec<String>,
    },
    /// There was nothing to do.
    Nothing {
        /// What is worth telling whoever asked.
        note: String,
        /// The document of it.
        document: Box<RunDocument>,
    },
}

/// A manifest, read and settled, and what goes with it.
pub(super) struct Ready {
    pub(super) found: Found,
    pub(super) resolved: Resolved,
}

impl<R: Record, C: Reach> Engine<R, C> {
    /// Begins a run. What it returns is on disk, and goes on whoever goes away.
    pub async fn begin(&self, verb: RunVerb, request: RunRequest) -> Result<Begun, Refusal> {
        match verb {
            RunVerb::Destroy => self.begin_destroy(request).await,
            RunVerb::Apply | RunVerb::Test => self.begin_build(verb, request).await,
        }
    }

    async fn begin_build(&self, verb: RunVerb, mut request: RunRequest) -> Result<Begun, Refusal> {
        let ready = self.ready(&request).await?;
        let (host, name) = (request.host.clone(), ready.found.manifest.name.clone());
        self.host_is_known(&host).await?;
        self.host_is_there(&host).await?;
        if !request.skip_preflight {
            self.is_ready(&host).await?;
        }
        let _one_at_a_time = self.0.beginning.lock().await;
        let tree = self.tree_id(&host, &name);
        self.is_free(&host, &name).await?;
        let snapshot = self.core().tree(tree.clone()).await.map_err(|fault| refuse(&fault))?;
        let views = snapshot.as_ref().map(|snapshot| snapshot.nodes.clone()).unwrap_or_default();
        if verb == RunVerb::Test {
            must_be_new(&tree, &views)?;
        }
        let former = self.recorded(&host, &name).await?;
        let wanted: Vec<PlannedNode> = ready.resolved.nodes.iter().map(|node| node.planned.clone()).collect();
        let comparison = lower::compare(&wanted, former.as_ref(), &views, request.prune);
        self.meets_no_other(&tree, &comparison, request.prune).await?;
        let tight = self.can_stand(&tree, &ready.resolved, &views).await?;
        self.can_be_carried(&ready.resolved).await?;

        // The run must be able to go on when the file is gone.
        request.manifest = ManifestSource::Text {
            file: ready.found.file.clone().unwrap_or_else(|| name.to_string()),
            text: ready.found.text.clone(),
        };
        let mut row = self.new_run(verb, request, name.clone(), next(snapshot.as_ref()))?;
        row.cleanup_on_failure = ready.found.manifest.settings.cleanup_on_failure;
        let planned = TreeRow {
            host: host.clone(),
            manifest: name.clone(),
            file: ready.found.file.clone(),
            nodes: with_orphans(wanted, comparison),
        };
        let mut notes: Vec<String> =
            ready.found.warnings.iter().map(|w| format!("{}:{}: {}", w.file, w.line, w.message)).collect();
        notes.extend(ready.resolved.notes.iter().cloned());
        notes.extend(tight);
        self.store().begin(row.clone(), Some(planned)).await.map_err(|error| refuse(&error.fault()))?;
        if let Err(fault) = self.order(&row, ready).await {
            return Err(self.take_back(&row, former, &fault).await);
        }
        Ok(self.begun(row, notes))
    }

    async fn begin_destroy(&self, mut request: RunRequest) -> Result<Begun, Refusal> {
        let host = request.host.clone();
        let name = self.tree_name(&host, &request.manifest).await?;
        let tree = self.tree_id(&host, &name);
        let snapshot = {
            let _one_at_a_time = self.0.beginning.lock().await;
            self.is_free(&host, &name).await?;
            self.core().tree(tree.clone()).await.map_err(|fault| refuse(&fault))?
        };
        let gone = snapshot.as_ref().is_none_or(|snapshot| snapshot.nodes.iter().all(|view| view.status.is_gone()));
        let forgotten = match self.forget_if_gone(&host, &name).await {
            // Its host has not said its last word: it is told once more.
            Err(fault) if gone && fault.code == Code::Busy => false,
            result => result.map_err(|fault| refuse(&fault))?,
        };
        if forgotten {
            return Ok(Begun::Nothing {
                note: self.nothing_recorded(&tree).await?,
                document: Box::new(RunDocument { success: true, error: None, ..nothing(RunVerb::Destroy, &tree) }),
            });
        }
        self.host_is_there(&host).await?;
        let _one_at_a_time = self.0.beginning.lock().await;
        self.is_free(&host, &name).await?;
        let former = self.recorded(&host, &name).await?;
        request.manifest = ManifestSource::Name(name.to_string());
        let mut row = self.new_run(RunVerb::Destroy, request, name, next(snapshot.as_ref()))?;
        row.stage = Stage::Down;
        self.store().begin(row.clone(), None).await.map_err(|error| refuse(&error.fault()))?;
        if let Err(fault) = self.say_down(&row).await {
            return Err(self.take_back(&row, former, &fault).await);
        }
        Ok(self.begun(row, Vec::new()))
    }

    /// Reads and settles a manifest, away from the tasks that must stay responsive.
    pub(super) async fn ready(&self, request: &RunRequest) -> Result<Ready, Refusal> {
        let (site, host) = (self.site(), request.host.clone());
        let (source, levels) = (request.manifest.clone(), request.depth);
        let work = move || {
            let found = manifest::read(&site, &source, levels)?;
            let resolved = lower::resolve(&site, &found.manifest, &host).map_err(|fault| site.refusal(&fault))?;
            Ok(Ready { found, resolved })
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(refuse(&broken(&error))))
    }

    /// The name of the tree that is meant, by a name, a file, or a file that once was.
    pub(super) async fn tree_name(&self, host: &HostName, source: &ManifestSource) -> Result<ManifestName, Refusal> {
        let trees = self.store().trees().await.map_err(|error| refuse(&error.fault()))?;
        let came_from = |file: &str| {
            trees.iter().find(|t| t.host == *host && t.file.as_deref() == Some(file)).map(|t| t.manifest.clone())
        };
        manifest::name(&self.site(), source, came_from)
    }

    pub(super) async fn recorded(&self, host: &HostName, name: &ManifestName) -> Result<Option<TreeRow>, Refusal> {
        self.store().tree(host.clone(), name.clone()).await.map_err(|error| refuse(&error.fault()))
    }

    /// Gives the core the order of a run.
    pub(super) async fn order(&self, row: &RunRow, ready: Ready) -> Result<(), Fault> {
        let shared = Arc::clone(&self.0);
        let (row, tree) = (row.clone(), self.tree_id(&row.host, &row.manifest));
        let plain = self.plain_readers().await?;
        let work = move || {
            let settings = &ready.found.manifest.settings;
            let (key, _) = shared.signing_keys()?;
            let with = Ordering {
                tree: &tree,
                run: row.id,
                generation: row.generation,
                policy: policy(&row, Some(settings), &shared.limits),
                limits: shared.limits,
                timeout_buffer: settings.timeout_buffer,
                key: &key,
                now_s: clock::now_ms() / 1000,
                chance: &shared.chance,
                plain: &plain,
            };
            lower::order(&with, ready.resolved)
        };
        let order = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(broken(&error)))?;
        self.core().order(order).await
    }

    /// Gives the core the word that destroys.
    pub(super) async fn say_down(&self, row: &RunRow) -> Result<(), Fault> {
        let verb = if row.stage == Stage::Back { Verb::Rollback } else { Verb::Destroy };
        self.say(row, verb).await
    }

    pub(super) async fn say(&self, row: &RunRow, verb: Verb) -> Result<(), Fault> {
        let directive = Directive {
            tree: self.tree_id(&row.host, &row.manifest),
            run: row.id,
            generation: row.generation,
            verb,
            policy: policy(row, None, &self.0.limits),
            recorded: Vec::new(),
        };
        self.core().directive(directive).await
    }

    fn new_run(
        &self,
        verb: RunVerb,
        request: RunRequest,
        manifest: ManifestName,
        generation: Generation,
    ) -> Result<RunRow, Refusal> {
        let bits = self.0.chance.draw().map_err(|fault| refuse(&fault))?;
        // The id keeps 48 of them.
        let bits = u64::try_from(bits >> 64).unwrap_or_default();
        Ok(RunRow {
            id: RunId::from_bits(bits),
            verb,
            host: request.host.clone(),
            manifest,
            state: RunState::Running,
            stage: Stage::Up,
            generation,
            given_up: None,
            request,
            started_ms: clock::now_ms(),
            ended_ms: None,
            error: None,
            verified: None,
            cleanup_on_failure: true,
            result: None,
        })
    }

    fn begun(&self, row: RunRow, notes: Vec<String>) -> Begun {
        let (run, tree) = (row.id, self.tree_id(&row.host, &row.manifest));
        tracing::info!(%run, verb = row.verb.as_str(), %tree, generation = %row.generation, "a run begins");
        self.watch(row);
        Begun::Run { run, notes }
    }

    /// The core did not take it: then it never was.
    async fn take_back(&self, row: &RunRow, former: Option<TreeRow>, fault: &Fault) -> Refusal {
        let taken = self.store().take_back(row.id, row.host.clone(), row.manifest.clone(), former).await;
        if let Err(error) = taken {
            // It stays on record as in progress; the next start finds that the core never heard of it, and tells it.
            tracing::error!(run = %row.id, error = &error as &dyn std::error::Error, "a refused run cannot be taken back");
        }
        refuse(fault)
    }

    /// One run a tree.
    async fn is_free(&self, host: &HostName, name: &ManifestName) -> Result<(), Refusal> {
        let filter =
            RunFilter { host: Some(host.clone()), manifest: Some(name.clone()), running: true, limit: Some(1) };
        let running = self.store().runs(filter).await.map_err(|error| refuse(&error.fault()))?;
        let Some(other) = running.first() else { return Ok(()) };
        let text = format!("run {} is in progress on {host}/{name}: {}", other.id, outcome::doing(other.verb));
        let hint = format!(
            "follow it with `homestak-coord logs {0} --follow`, or end it with `homestak-coord cancel {0}`",
            other.id
        );
        Err(Refusal::new(Exit::Configuration, &Fault::new(Code::Busy, text).hint(hint)))
    }

    /// No machine on the host itself may take the id of another tree's, nor of one of this tree that is left in place.
    pub(super) async fn meets_no_other(
        &self,
        tree: &TreeId,
        comparison: &Comparison,
        prune: bool,
    ) -> Result<(), Refusal> {
        use homestak_protocol::event::Action;
        let mut wanted = BTreeSet::new();
        for planned in comparison.nodes.iter().filter(|p| p.action != Action::Orphaned && p.action != Action::Destroyed)
        {
            let Some(vmid) = planned.node.machine.vmid else { continue };
            if planned.node.path.depth() == 1 {
                wanted.insert(vmid);
            }
            let orphan = comparison.nodes.iter().find(|other| {
                other.action == Action::Orphaned
                    && other.node.machine.vmid == Some(vmid)
                    && other.node.path.parent() == planned.node.path.parent()
            });
            if let (Some(orphan), false) = (orphan, prune) {
                let text =
                    format!("{} is to have vmid {vmid}, which {} still has", planned.node.path, orphan.node.path);
                let hint = "it is no longer named: destroy it with --prune, or choose another vmid";
                return Err(refuse(&Fault::new(Code::Conflict, text).hint(hint).at(&planned.node.path)));
            }
        }
        for (other, path, vmid) in self.vmids_on(&tree.host, &tree.manifest).await? {
            if wanted.contains(&vmid) {
                let text = format!("vmid {vmid} on {} belongs to {path}, of the tree {other}", tree.host);
                let hint =
                    format!("choose another vmid, or `homestak-coord destroy {} -H {}`", other.manifest, other.host);
                return Err(refuse(&Fault::new(Code::Conflict, text).hint(hint)));
            }
        }
        Ok(())
    }

    /// The ids on a host itself that other trees have or are about to have.
    async fn vmids_on(&self, host: &HostName, but: &ManifestName) -> Result<Vec<(TreeId, NodePath, Vmid)>, Refusal> {
        let running = RunFilter { host: Some(host.clone()), running: true, ..RunFilter::default() };
        let running = self.store().runs(running).await.map_err(|error| refuse(&error.fault()))?;
        let mut taken = Vec::new();
        for tree in self.store().trees().await.map_err(|error| refuse(&error.fault()))? {
            if tree.host != *host || tree.manifest == *but {
                continue;
            }
            let id = self.tree_id(host, &tree.manifest);
            let snapshot = self.core().tree(id.clone()).await.map_err(|fault| refuse(&fault))?;
            let views = snapshot.map(|snapshot| snapshot.nodes).unwrap_or_default();
            let busy = running.iter().any(|run| run.manifest == tree.manifest);
            for node in tree.nodes.iter().filter(|node| node.path.depth() == 1) {
                let view = views.iter().find(|view| view.path == node.path);
                let counts = busy || view.is_some_and(may_exist);
                let vmid = view.and_then(|view| view.vmid).or(node.machine.vmid).filter(|_| counts);
                taken.extend(vmid.map(|vmid| (id.clone(), node.path.clone(), vmid)));
            }
        }
        Ok(taken)
    }

    /// Waits for the agent of a host, for as long as one may be on its way.
    pub(super) async fn host_is_there(&self, host: &HostName) -> Result<(), Refusal> {
        let place = NodePath::host_root(host);
        let until = Instant::now() + if host.is_local() { LOCAL_WAIT } else { HOST_WAIT };
        let (mut updates, mut troubles) = (self.core().updates(), self.0.troubles.clone());
        loop {
            let hosts = self.core().hosts().await.map_err(|fault| refuse(&fault))?;
            let known = hosts.iter().find(|(path, _)| *path == place);
            if known.is_some_and(|(_, there)| *there) {
                return Ok(());
            }
            if let Some(trouble) = troubles.borrow_and_update().get(host) {
                return Err(refuse(trouble));
            }
            if known.is_none() && !host.is_local() {
                let text = format!("no agent of a host called {host} has ever joined");
                let hint = format!("`homestak-coord agents join -H {host}` prints the command to run there");
                return Err(refuse(&Fault::new(Code::Unreachable, text).hint(hint)));
            }
            let joined = next_update(&mut updates, |u| matches!(u, Update::Presence(p) if p.path == place));
            let woken = async {
                tokio::select! {
                    go_on = joined => go_on,
                    changed = troubles.changed() => changed.is_ok(),
                }
            };
            match timeout_at(until, woken).await {
                Ok(true) => {}
                Ok(false) => return Err(refuse(&Fault::new(Code::Unreachable, "the daemon is ending"))),
                Err(_) => {
                    let text = format!("there is no link to the agent of {host}");
                    let hint = if host.is_local() {
                        "its log is beside the daemon's"
                    } else {
                        "is homestak-agent running there, and can it reach this machine's UDP port?"
                    };
                    return Err(refuse(&Fault::new(Code::Unreachable, text).hint(hint).at(&place)));
                }
            }
        }
    }

    /// Refuses a host that neither the site nor anybody else has heard of. The built-in site knows no hosts, and asks nobody.
    pub(super) async fn host_is_known(&self, host: &HostName) -> Result<(), Refusal> {
        let site = self.site();
        if !site.is_folder() || site.has_host(host) {
            return Ok(());
        }
        let place = NodePath::host_root(host);
        let joined = self.core().hosts().await.map_err(|fault| refuse(&fault))?.iter().any(|(path, _)| *path == place);
        if joined { Ok(()) } else { Err(Refusal::new(Exit::Configuration, &site.no_host(host.as_str()))) }
    }

    async fn nothing_recorded(&self, tree: &TreeId) -> Result<String, Refusal> {
        let trees = self.store().trees().await.map_err(|error| refuse(&error.fault()))?;
        let others: Vec<_> = trees.iter().map(|row| format!("{}/{}", row.host, row.manifest)).collect();
        let others = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
        Ok(format!("{tree} is not on record; there is nothing to destroy (on record: {others})"))
    }
}

/// How a run behaves: flags beat the manifest, the manifest beats the defaults.
pub(super) fn policy(
    row: &RunRow,
    settings: Option<&homestak_manifests::model::Settings>,
    limits: &lower::LimitOverrides,
) -> Policy {
    let usual = Policy::default();
    Policy {
        on_error: row.request.on_error.or(settings.map(|settings| settings.on_error)).unwrap_or_default(),
        prune: row.request.prune,
        verify: row.verb == RunVerb::Test,
        parallel: row.request.parallel.unwrap_or(usual.parallel).max(1),
        limits: limits.at_level(0, 0),
        ..usual
    }
}

/// A test destroys what it made, so there must be nothing before it.
pub(super) fn must_be_new(tree: &TreeId, views: &[NodeView]) -> Result<(), Refusal> {
    let Some(view) = views.iter().find(|view| may_exist(view)) else { return Ok(()) };
    let text = format!("{} exists already: a test destroys what it made, and makes all of it", view.path);
    let hint = format!("`homestak-coord destroy {} -H {}` first, or apply it", tree.manifest, tree.host);
    Err(refuse(&Fault::new(Code::Conflict, text).hint(hint).at(&view.path)))
}

/// What is planned, and after it what is left of what was.
fn with_orphans(wanted: Vec<PlannedNode>, comparison: Comparison) -> Vec<PlannedNode> {
    let left = comparison.nodes.into_iter().skip(wanted.len());
    let orphans = left.map(|Planned { node, .. }| PlannedNode { orphaned: true, ..node });
    let orphans: Vec<_> = orphans.collect();
    wanted.into_iter().chain(orphans).collect()
}

fn next(snapshot: Option<&TreeSnapshot>) -> Generation {
    snapshot.map_or(Generation::default(), |snapshot| snapshot.generation).next()
}

fn nothing(verb: RunVerb, tree: &TreeId) -> RunDocument {
    RunDocument {
        verb,
        manifest: tree.manifest.to_string(),
        host: tree.host.to_string(),
        run: None,
        success: false,
        duration_seconds: 0.0,
        nodes: Vec::new(),
        context: std::collections::BTreeMap::new(),
        report: None,
        error: None,
    }
}

fn broken(error: &tokio::task::JoinError) -> Fault {
    Fault::new(Code::Internal, format!("lowering the manifest broke: {error}"))
}

/// A run in a list.
pub(super) fn summary(row: &RunRow) -> RunSummary {
    let end = row.ended_ms.unwrap_or_else(clock::now_ms);
    RunSummary {
        run: row.id,
        verb: row.verb,
        manifest: row.manifest.to_string(),
        host: row.host.to_string(),
        state: row.state.as_str().into(),
        started_at: clock::shown(row.started_ms),
        ended_at: row.ended_ms.map(clock::shown),
        duration_seconds: clock::seconds(end.saturating_sub(row.started_ms)),
        error: row.error.clone(),
    }
}
