//! A core that does in memory what the real one does with agents: it takes orders and words, and tells what became of them
//! as its script says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use homestak_node::runtime::{RootOrder, TreeSnapshot, Update};
use homestak_protocol::event::{Action, NodeView, Presence, Status};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Generation, RunId, Vmid};
use homestak_protocol::message::{Differing, Held, PveHost, Seen, Source, Surveyed, Wanted};
use homestak_protocol::name::SiteName;
use homestak_protocol::order::{Directive, Order, Verb};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use tokio::sync::broadcast;

use crate::runs::Reach;

/// What becomes of orders and words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// Everything works at once.
    Works,
    /// The node of this name fails, the rest works.
    Fails(&'static str),
    /// Nothing happens before [`Fake::settle`].
    Hangs,
    /// Orders and words are refused.
    Refuses(Code),
}

#[derive(Clone)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    updates: broadcast::Sender<Update>,
}

struct State {
    trees: BTreeMap<TreeId, TreeSnapshot>,
    hosts: BTreeMap<NodePath, bool>,
    script: Script,
    heard: Vec<String>,
    next_vmid: u32,
    chosen: BTreeMap<NodePath, Vmid>,
}

/// The ids that an order asks for, at any depth.
fn vmids(order: &Order, found: &mut BTreeMap<NodePath, Vmid>) {
    for child in &order.children {
        let inner = child.order.open().unwrap();
        found.extend(child.machine.vmid.map(|vmid| (inner.path.clone(), vmid)));
        vmids(&inner, found);
    }
}

impl Fake {
    pub(super) fn new() -> Self {
        let hosts = BTreeMap::from([(NodePath::parse("local").unwrap(), true)]);
        let state = State {
            trees: BTreeMap::new(),
            hosts,
            script: Script::Works,
            heard: Vec::new(),
            next_vmid: 100,
            chosen: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), updates: broadcast::Sender::new(64) }
    }

    pub(super) fn script(&self, script: Script) {
        self.state.lock().unwrap().script = script;
    }

    pub(super) fn host(&self, host: &str, there: bool) {
        self.state.lock().unwrap().hosts.insert(NodePath::parse(host).unwrap(), there);
    }

    /// Orders and words, in the order in which they came.
    pub(super) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().heard)
    }

    /// Lets a tree that hangs come to its end.
    pub(super) fn settle(&self, tree: &TreeId, script: Script) {
        let mut state = self.state.lock().unwrap();
        let State { trees, next_vmid, chosen, .. } = &mut *state;
        let snapshot = trees.get_mut(tree).unwrap();
        play(snapshot, script, next_vmid, chosen);
        let generation = snapshot.generation;
        drop(state);
        let _ = self.updates.send(Update::Settled(tree.clone(), generation));
    }

    fn act(
        &self,
        tree: &TreeId,
        what: String,
        change: impl FnOnce(&mut TreeSnapshot) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let script = {
            let mut state = self.state.lock().unwrap();
            if let Script::Refuses(code) = state.script {
                return Err(Fault::new(code, "refused by the script"));
            }
            let snapshot = state.trees.entry(tree.clone()).or_insert_with(|| TreeSnapshot {
                tree: tree.clone(),
                run: RunId::from_bits(0),
                generation: Generation(0),
                word: None,
                settled: true,
                nodes: Vec::new(),
            });
            change(snapshot)?;
            state.heard.push(what);
            state.script
        };
        if script != Script::Hangs {
            self.settle(tree, script);
        }
        Ok(())
    }
}

/// What a tree comes to.
fn play(snapshot: &mut TreeSnapshot, script: Script, next_vmid: &mut u32, chosen: &BTreeMap<NodePath, Vmid>) {
    let generation = snapshot.generation;
    for view in &mut snapshot.nodes {
        let fails = matches!(script, Script::Fails(name) if view.path.name() == name);
        match snapshot.word {
            Some(Verb::Destroy | Verb::Rollback) if fails => {
                view.fault = Some(Fault::new(Code::Destroy, "it does not go").at(&view.path));
                view.status = Status::Failed;
            }
            Some(Verb::Destroy | Verb::Rollback) => {
                (view.status, view.action) = (Status::Destroyed, Action::Destroyed);
            }
            Some(Verb::Cancel) if view.status == Status::Pending => view.status = Status::Cancelled,
            _ if view.generation < generation => view.action = Action::Orphaned,
            _ if fails => {
                view.status = Status::Failed;
                view.fault = Some(Fault::new(Code::Provision, "it does not start").at(&view.path));
            }
            _ if view.status != Status::Pending => {}
            _ => {
                view.action = if view.vmid.is_some() { Action::Unchanged } else { Action::Created };
                view.status = Status::Completed;
                if view.vmid.is_none() {
                    *next_vmid += 1;
                    view.vmid = chosen.get(&view.path).copied().or(Vmid::new(*next_vmid));
                }
                view.ip = Some([127, 1, 0, 1].into());
            }
        }
        view.generation = view.generation.max(if snapshot.word.is_some() { generation } else { view.generation });
    }
    snapshot.settled = true;
}

impl Reach for Fake {
    async fn order(&self, order: RootOrder) -> Result<(), Fault> {
        let opened = order.order.open().unwrap();
        assert_eq!(opened.path.as_str(), order.tree.host.as_str());
        let what = format!("order {} {}", order.tree, order.generation);
        let tree = order.tree.clone();
        vmids(&opened, &mut self.state.lock().unwrap().chosen);
        self.act(&tree, what, |snapshot| {
            assert!(order.generation > snapshot.generation);
            (snapshot.run, snapshot.generation, snapshot.word) = (order.run, order.generation, None);
            snapshot.settled = false;
            for mut view in order.nodes {
                if let Some(known) = snapshot.nodes.iter_mut().find(|known| known.path == view.path) {
                    (view.vmid, view.ip) = (known.vmid, known.ip);
                    *known = view;
                } else {
                    snapshot.nodes.push(view);
                }
            }
            Ok(())
        })
    }

    async fn directive(&self, directive: Directive) -> Result<(), Fault> {
        let what = format!("{:?} {} {}", directive.verb, directive.tree, directive.generation);
        let tree = directive.tree.clone();
        self.act(&tree, what, |snapshot| {
            if directive.generation > snapshot.generation {
                (snapshot.run, snapshot.generation, snapshot.word) = (directive.run, directive.generation, None);
            }
            snapshot.word = snapshot.word.max(Some(directive.verb));
            snapshot.settled = false;
            Ok(())
        })
    }

    async fn tree(&self, tree: TreeId) -> Result<Option<TreeSnapshot>, Fault> {
        Ok(self.state.lock().unwrap().trees.get(&tree).cloned())
    }

    async fn trees(&self) -> Result<Vec<TreeSnapshot>, Fault> {
        Ok(self.state.lock().unwrap().trees.values().cloned().collect())
    }

    async fn hosts(&self) -> Result<Vec<(NodePath, bool)>, Fault> {
        Ok(self.state.lock().unwrap().hosts.clone().into_iter().collect())
    }

    async fn agents(&self) -> Result<Vec<Presence>, Fault> {
        Ok(Vec::new())
    }

    async fn expect(&self, host: NodePath, _token: Secret, _replace: bool) -> Result<(), Fault> {
        self.state.lock().unwrap().hosts.entry(host).or_insert(false);
        Ok(())
    }

    async fn revoke(&self, _path: NodePath) -> Result<(), Fault> {
        Ok(())
    }

    async fn survey(&self, host: NodePath) -> Result<Vec<Surveyed>, Fault> {
        let state = self.state.lock().unwrap();
        let of = |snapshot: &TreeSnapshot| Surveyed {
            tree: snapshot.tree.clone(),
            generation: snapshot.generation,
            nodes: snapshot.nodes.clone(),
        };
        Ok(state.trees.values().filter(|s| s.tree.host.as_str() == host.as_str()).map(of).collect())
    }

    async fn look(&self, at: NodePath, tree: TreeId) -> Result<Vec<Seen>, Fault> {
        let state = self.state.lock().unwrap();
        let nodes = state.trees.get(&tree).map(|snapshot| snapshot.nodes.clone()).unwrap_or_default();
        let there = nodes.into_iter().filter(|view| at.carries(&view.path) && !view.status.is_gone());
        Ok(there.map(|view| Seen { path: view.path, vmid: view.vmid, running: true, known: true }).collect())
    }

    async fn inventory(&self, _at: NodePath) -> Result<Vec<Held>, Fault> {
        Ok(Vec::new())
    }

    async fn sources(&self, _at: NodePath, images: Vec<SiteName>) -> Result<Vec<Source>, Fault> {
        Ok(images.into_iter().map(|_| Source::Simulated).collect())
    }

    async fn compare(&self, _at: NodePath, _tree: TreeId, _wanted: Vec<Wanted>) -> Result<Vec<Differing>, Fault> {
        Ok(Vec::new())
    }

    async fn discard(&self, _at: NodePath, _machine: Held) -> Result<(), Fault> {
        Ok(())
    }

    async fn describe(&self, at: NodePath) -> Result<PveHost, Fault> {
        Err(Fault::new(Code::NotFound, format!("{at} is no Proxmox VE host")))
    }

    async fn adopt(&self, _host: NodePath, _surveyed: Vec<Surveyed>) -> Result<(), Fault> {
        Ok(())
    }

    async fn forget(&self, tree: TreeId) -> Result<(), Fault> {
        if let Some(snapshot) = self.state.lock().unwrap().trees.get_mut(&tree) {
            assert!(snapshot.nodes.iter().all(|view: &NodeView| view.status.is_gone()));
            snapshot.nodes.clear();
        }
        Ok(())
    }

    fn updates(&self) -> broadcast::Receiver<Update> {
        self.updates.subscribe()
    }
}
