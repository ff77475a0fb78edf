//! What an order would change, as far as the record knows.

use std::collections::{BTreeMap, BTreeSet};

use homestak_protocol::event::{Action, NodeView, Status};
use homestak_protocol::ids::Vmid;
use homestak_protocol::name::SiteName;
use homestak_protocol::order::Machine;
use homestak_protocol::path::NodePath;

use crate::store::{PlannedNode, TreeRow};

/// A node, and what would be done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The node, as it is to be; as it was, where it is no longer named.
    pub node: PlannedNode,
    /// What would be done.
    pub action: Action,
    /// Why that, where it is not plain.
    pub reason: Option<String>,
    /// The host that must exist before more can be known.
    pub known_after: Option<NodePath>,
}

/// What an order would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// In creation order, those that are no longer named last.
    pub nodes: Vec<Planned>,
    /// How many would be made, changed or destroyed.
    pub changes: u32,
}

/// Whether a machine may exist for a node that stands like this.
pub(crate) fn may_exist(view: &NodeView) -> bool {
    let never_begun =
        matches!(view.status, Status::Pending | Status::Skipped | Status::Cancelled) && view.vmid.is_none();
    !view.status.is_gone() && !never_begun
}

/// Compares what is wanted with what was ordered last and how it stands.
pub fn compare(wanted: &[PlannedNode], recorded: Option<&TreeRow>, views: &[NodeView], prune: bool) -> Comparison {
    let ordered: BTreeMap<&NodePath, &PlannedNode> =
        recorded.iter().flat_map(|tree| &tree.nodes).map(|node| (&node.path, node)).collect();
    let existing: BTreeMap<&NodePath, &NodeView> =
        views.iter().filter(|view| may_exist(view)).map(|view| (&view.path, view)).collect();
    let named: BTreeSet<&NodePath> = wanted.iter().map(|node| &node.path).collect();
    let mut nodes = Vec::with_capacity(wanted.len());
    for node in wanted {
        let (action, reason) = match existing.get(&node.path) {
            None => (Action::Created, None),
            Some(view) => match difference(node, ordered.get(&node.path).copied(), view) {
                Some(reason) => (Action::Updated, Some(reason)),
                None => (Action::Unchanged, None),
            },
        };
        let known_after = node.path.parent().filter(|parent| !parent.is_host() && !existing.contains_key(parent));
        nodes.push(Planned { node: node.clone(), action, reason, known_after });
    }
    let gone = if prune { Action::Destroyed } else { Action::Orphaned };
    let left = existing.iter().filter(|(path, _)| !named.contains(*path));
    nodes.extend(left.map(|(path, view)| {
        let node = ordered.get(path).map_or_else(|| only_seen(view), |node| (*node).clone());
        Planned { node, action: gone, reason: None, known_after: None }
    }));
    let mut comparison = Comparison { nodes, changes: 0 };
    comparison.count();
    comparison
}

impl Comparison {
    /// Counts what would be made, taken over, changed or destroyed.
    pub(super) fn count(&mut self) {
        let changes = [Action::Created, Action::Adopted, Action::Updated, Action::Destroyed];
        let changed = self.nodes.iter().filter(|planned| changes.contains(&planned.action)).count();
        self.changes = u32::try_from(changed).unwrap_or(u32::MAX);
    }
}

/// In what a node differs from what was ordered, or why it must be looked at again.
fn difference(node: &PlannedNode, ordered: Option<&PlannedNode>, view: &NodeView) -> Option<String> {
    let Some(was) = ordered else { return Some("it is there, but nothing is on record of what was ordered".into()) };
    let shown = |text: Option<&str>| text.unwrap_or("none").to_owned();
    let name = |name: &Option<SiteName>| shown(name.as_ref().map(SiteName::as_str));
    let vmid = |id: Option<Vmid>| id.map_or("none".to_owned(), |id| id.to_string());
    let mode = |pull: bool| if pull { "pull" } else { "push" }.to_owned();
    let (a, b) = (&was.machine, &node.machine);
    let sides = [
        ("type", a.kind.to_string(), b.kind.to_string()),
        ("image", name(&a.image), name(&b.image)),
        ("cores", a.cores.to_string(), b.cores.to_string()),
        ("memory", format!("{} MiB", a.memory_mib), format!("{} MiB", b.memory_mib)),
        ("disk", format!("{} GiB", a.disk_gib), format!("{} GiB", b.disk_gib)),
        // One that its host assigned stays.
        ("vmid", vmid(b.vmid.and(view.vmid.or(a.vmid))), vmid(b.vmid)),
        ("bridge", shown(a.bridge.as_deref()), shown(b.bridge.as_deref())),
        ("spec", name(&was.spec), name(&node.spec)),
        ("mode", mode(was.pull), mode(node.pull)),
    ];
    let differs = |(what, from, to): &(&str, String, String)| (from != to).then(|| format!("{what} {from} → {to}"));
    let mut differences: Vec<String> = sides.iter().filter_map(differs).collect();
    if was.spec == node.spec && was.spec_digest != node.spec_digest {
        differences.push("its spec says something else".into());
    }
    if differences.is_empty() && view.status != Status::Completed {
        differences.push(format!("it is {}", view.status));
    }
    (!differences.is_empty()).then(|| differences.join(", "))
}

/// A node of which there is no more on record than that it was seen.
pub(crate) fn only_seen(view: &NodeView) -> PlannedNode {
    PlannedNode {
        path: view.path.clone(),
        kind: view.kind,
        machine: Machine {
            kind: view.kind,
            image: None,
            cores: 0,
            memory_mib: 0,
            disk_gib: 0,
            vmid: view.vmid,
            bridge: None,
        },
        spec: None,
        spec_digest: None,
        pull: false,
        orphaned: false,
    }
}
