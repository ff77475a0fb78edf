//! A manifest as a tree: who carries whom, in which order, how deep, by which mode and with which vmid; and the parts of a
//! manifest that are manifests again.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use homestak_protocol::ids::Vmid;
use homestak_protocol::name::{HostName, ManifestName, NodeName};
use homestak_protocol::path::{NodePath, PathError};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::diagnostic::Code;
use crate::model::{Manifest, Mode, Node};
use crate::structure::{Finding, Link, Seat, Structure, VmidSource};

/// What is appended to a node's name to name the manifest of what it carries.
const SUBTREE: &str = "-subtree";

/// Why a manifest is no tree. One that was parsed is; one that was put together or changed may not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct GraphError {
    /// The stable code.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// A manifest's nodes and who carries whom.
#[derive(Debug)]
pub struct Graph<'m> {
    manifest: &'m Manifest,
    seats: DiGraph<Seat, ()>,
    order: Vec<usize>,
    by_name: HashMap<&'m str, usize>,
}

/// A node and its place in the tree.
#[derive(Debug, Clone, Copy)]
pub struct Member<'g> {
    graph: &'g Graph<'g>,
    index: usize,
    node: &'g Node,
    seat: Seat,
}

impl<'m> Graph<'m> {
    /// Builds the tree, or says everything that keeps the nodes from being one. Linear in the number of nodes.
    pub fn new(manifest: &'m Manifest) -> Result<Self, Vec<GraphError>> {
        let links: Vec<Link<'_>> = manifest.nodes.iter().map(link).collect();
        let Structure { graph: seats, order, defects } = Structure::new(&links, manifest.settings.vmid_base);
        if !defects.is_empty() {
            let place = |node| format!(" number {}", node + 1);
            let error =
                |finding: Finding| GraphError { code: finding.code, message: finding.message, hint: finding.hint };
            return Err(defects.iter().map(|defect| error(Finding::of(defect, &links, place))).collect());
        }
        let by_name = manifest.nodes.iter().enumerate().map(|(index, node)| (node.name.as_str(), index)).collect();
        Ok(Self { manifest, seats, order, by_name })
    }

    /// The manifest.
    pub fn manifest(&self) -> &'m Manifest {
        self.manifest
    }

    /// The nodes in the order in which they are created: parents before children, breadth first, in the manifest's order.
    pub fn create_order(&self) -> impl DoubleEndedIterator<Item = Member<'_>> {
        self.order.iter().filter_map(|index| self.member(*index))
    }

    /// The nodes in the order in which they are destroyed: that of creation, reversed.
    pub fn destroy_order(&self) -> impl DoubleEndedIterator<Item = Member<'_>> {
        self.create_order().rev()
    }

    /// The nodes on the host itself, in the manifest's order.
    pub fn roots(&self) -> impl Iterator<Item = Member<'_>> {
        self.create_order().take_while(|member| member.seat.depth == 0)
    }

    /// A node by its name.
    pub fn find(&self, name: &NodeName) -> Option<Member<'_>> {
        self.member(*self.by_name.get(name.as_str())?)
    }

    /// How many levels the tree has: 1 where all nodes are on the host itself.
    pub fn levels(&self) -> usize {
        self.create_order().next_back().map_or(0, |member| member.depth() + 1)
    }

    /// The same manifest without the nodes below the first `levels`. Vmids stay what they are in the whole.
    pub fn first_levels(&self, levels: NonZeroUsize) -> Manifest {
        let kept = (0..self.manifest.nodes.len()).filter_map(|index| self.member(index));
        let nodes = kept.filter(|member| member.depth() < levels.get()).map(|member| member.settled()).collect();
        self.part(self.manifest.name.clone(), self.manifest.description.clone(), nodes)
    }

    fn part(&self, name: ManifestName, description: Option<String>, nodes: Vec<Node>) -> Manifest {
        let Manifest { pattern, default_mode, mut settings, .. } = *self.manifest;
        settings.vmid_base = None;
        Manifest { name, description, pattern, default_mode, settings, nodes }
    }

    fn member(&self, index: usize) -> Option<Member<'_>> {
        let node = self.manifest.nodes.get(index)?;
        let seat = *self.seats.node_weight(NodeIndex::new(index))?;
        Some(Member { graph: self, index, node, seat })
    }
}

impl<'g> Member<'g> {
    /// The node.
    pub fn node(&self) -> &'g Node {
        self.node
    }

    /// Its index in the manifest.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many nodes are above it: 0 for one on the host itself.
    pub fn depth(&self) -> usize {
        self.seat.depth
    }

    /// Its id on its host: as the node says, else from the manifest's base, else none and its host assigns one.
    pub fn vmid(&self) -> Option<Vmid> {
        self.seat.vmid
    }

    /// How it is configured: as it says, else as the manifest says; a PVE host always by push.
    pub fn mode(&self) -> Mode {
        self.graph.manifest.mode(self.node)
    }

    /// The node that carries it; none for one on the host itself.
    pub fn parent(&self) -> Option<Member<'g>> {
        self.graph.member(self.seat.parent?)
    }

    /// The nodes that it carries, in the manifest's order.
    pub fn children(&self) -> impl Iterator<Item = Member<'g>> + use<'g> {
        let graph = self.graph;
        let neighbours = graph.seats.neighbors(NodeIndex::new(self.index));
        neighbours.filter_map(move |index| graph.member(index.index()))
    }

    /// All nodes below it, parents before children, breadth first, in the manifest's order.
    pub fn descendants(&self) -> Vec<Member<'g>> {
        let mut found: Vec<Member<'g>> = self.children().collect();
        let mut next = 0;
        while let Some(member) = found.get(next).copied() {
            next += 1;
            found.extend(member.children());
        }
        found
    }

    /// Its place on `host`.
    pub fn path(&self, host: &HostName) -> Result<NodePath, PathError> {
        let mut above: Vec<&NodeName> =
            std::iter::successors(Some(*self), Member::parent).map(|m| &m.node.name).collect();
        above.reverse();
        let root = NodePath::host_root(host);
        above.into_iter().try_fold(root, |path, name| path.child(&self.graph.manifest.name, name))
    }

    /// What it carries, as a manifest for it as the host; none where it carries nothing. Its children lose their parent,
    /// deeper nodes keep theirs; modes and vmids stay what they are in the whole.
    pub fn subtree(&self) -> Option<Manifest> {
        let below = self.descendants();
        let node = |member: &Member<'_>| {
            let mut node = member.settled();
            node.parent = node.parent.filter(|parent| *parent != self.node.name);
            node
        };
        let nodes: Vec<Node> = below.iter().map(node).collect();
        let description = format!("Subtree of {} rooted at children of {}", self.graph.manifest.name, self.node.name);
        let name = subtree_name(&self.node.name)?;
        (!nodes.is_empty()).then(|| self.graph.part(name, Some(description), nodes))
    }

    /// The node with the vmid that it has in the whole, so that it keeps it in a part.
    fn settled(&self) -> Node {
        Node { vmid: self.seat.vmid, ..self.node.clone() }
    }
}

/// `NODE-subtree`; of a name too long for that, as much as leaves room.
fn subtree_name(node: &NodeName) -> Option<ManifestName> {
    let room = homestak_protocol::name::MAX_NAME.saturating_sub(SUBTREE.len());
    let stem = node.as_str().get(..room).unwrap_or(node.as_str());
    ManifestName::parse(&format!("{stem}{SUBTREE}")).ok()
}

fn link(node: &Node) -> Link<'_> {
    Link {
        name: Some(node.name.as_str()),
        kind: Some(node.kind),
        parent: node.parent.as_ref().map(NodeName::as_str),
        vmid: node.vmid.map_or(VmidSource::Base, VmidSource::Chosen),
    }
}
