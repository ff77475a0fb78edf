//! Manifests: random ones, the twelve small shapes that are tried exhaustively, and the orders that they come to.

use homestak_node::core::step::RootOrder;
use homestak_node::core::unseen;
use homestak_protocol::ids::{Generation, RunId, SiteId};
use homestak_protocol::name::{HostName, ManifestName, NodeName, SiteName};
use homestak_protocol::order::{
    ChildOrder, CloudInit, Configuration, Machine, NodeKind, OpaqueOrder, Order, Own, Policy, Spec,
};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;

use crate::chance::Chance;

/// How a token begins, so that one can be told wherever it turns up.
pub(crate) const TOKEN_MARK: &str = "hunter2";
/// The deepest that nodes are nested.
const LEVELS: usize = 6;

/// A node of a manifest.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    name: String,
    parent: Option<usize>,
    kind: NodeKind,
    /// Which version of its spec; none where there is nothing to configure.
    spec: Option<u32>,
    cores: u32,
}

/// The nodes of a tree, parents first.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) tree: TreeId,
    nodes: Vec<Node>,
    next: usize,
}

impl Manifest {
    /// An empty one.
    pub(crate) fn new(host: &str, name: &str) -> Self {
        let tree = TreeId {
            site: SiteId::from_bits(1),
            host: HostName::parse(host).unwrap(),
            manifest: ManifestName::parse(name).unwrap(),
        };
        Self { tree, nodes: Vec::new(), next: 0 }
    }

    /// A random one.
    pub(crate) fn random(host: &str, name: &str, size: usize, chance: &mut Chance) -> Self {
        let mut manifest = Self::new(host, name);
        let deep = chance.below(700);
        for _ in 0..size {
            manifest.grow(deep, chance);
        }
        manifest
    }

    /// From a text such as `a(b(c)d)e`: letters are nodes, brackets hold what a node carries.
    pub(crate) fn drawn(host: &str, name: &str, text: &str) -> Self {
        let mut manifest = Self::new(host, name);
        let mut above = Vec::new();
        let mut last = None;
        for letter in text.chars() {
            match letter {
                '(' => above.push(last.unwrap()),
                ')' => last = above.pop(),
                _ => {
                    let parent: Option<usize> = above.last().copied();
                    if let Some(parent) = parent {
                        manifest.nodes[parent].kind = NodeKind::Pve;
                    }
                    last = Some(manifest.nodes.len());
                    let (name, kind) = (letter.to_string(), NodeKind::Vm);
                    manifest.nodes.push(Node { name, parent, kind, spec: Some(1), cores: 2 });
                }
            }
        }
        manifest
    }

    /// Another node, below the last host in `deep` of a thousand cases and anywhere otherwise.
    fn grow(&mut self, deep: u64, chance: &mut Chance) {
        let hosts: Vec<_> = (0..self.nodes.len())
            .filter(|&index| self.nodes[index].kind == NodeKind::Pve && self.depth(index) < LEVELS)
            .collect();
        let parent = match hosts.last() {
            Some(&last) if chance.mille(deep) => Some(last),
            Some(_) if chance.mille(600) => Some(*chance.pick(&hosts)),
            _ => None,
        };
        let kind = match chance.below(10) {
            0..4 => NodeKind::Pve,
            4..8 => NodeKind::Vm,
            _ => NodeKind::Ct,
        };
        // Names that begin with each other, as `n1`, `n10` and `n1-b`, must not be taken for each other's places.
        let name = format!("n{}{}", self.next, if chance.mille(200) { "-b" } else { "" });
        let spec = chance.mille(800).then_some(1);
        self.next += 1;
        self.nodes.push(Node { name, parent, kind, spec, cores: 2 });
    }

    /// Changed a little: nodes come, go, and get another spec.
    pub(crate) fn changed(&self, chance: &mut Chance) -> Self {
        let mut manifest = self.clone();
        for _ in 0..chance.between(1, 3) {
            let index = chance.index(manifest.nodes.len());
            match chance.below(5) {
                0 => manifest.grow(300, chance),
                1 | 2 => {
                    let before = manifest.clone();
                    manifest.fell(index);
                    if manifest.nodes.is_empty() {
                        manifest = before;
                    }
                }
                3 => manifest.nodes[index].cores += 1,
                _ => {
                    let spec = &mut manifest.nodes[index].spec;
                    *spec = spec.map(|version| version + 1);
                }
            }
        }
        manifest
    }

    /// Without a node and what it carries.
    fn fell(&mut self, index: usize) {
        let mut stays: Vec<Option<usize>> = Vec::new();
        let mut left = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let parent = node.parent.map(|parent| stays[parent]);
            if at == index || parent == Some(None) {
                stays.push(None);
                continue;
            }
            stays.push(Some(left.len()));
            left.push(Node { parent: parent.flatten(), ..node.clone() });
        }
        self.nodes = left;
    }

    /// Only its first nodes.
    pub(crate) fn first(&self, count: usize) -> Self {
        Self { nodes: self.nodes[..count].to_vec(), ..self.clone() }
    }

    fn depth(&self, index: usize) -> usize {
        std::iter::successors(Some(index), |&at| self.nodes[at].parent).count()
    }

    fn path(&self, index: usize) -> NodePath {
        let name = NodeName::parse(&self.nodes[index].name).unwrap();
        let above = match self.nodes[index].parent {
            Some(parent) => self.path(parent),
            None => NodePath::host_root(&self.tree.host),
        };
        above.child(&self.tree.manifest, &name).unwrap()
    }

    /// Every place, parents first.
    pub(crate) fn paths(&self) -> Vec<NodePath> {
        (0..self.nodes.len()).map(|index| self.path(index)).collect()
    }

    fn machine(&self, index: usize) -> Machine {
        let node = &self.nodes[index];
        Machine {
            kind: node.kind,
            image: None,
            cores: node.cores,
            memory_mib: 512,
            disk_gib: 4,
            vmid: None,
            bridge: None,
        }
    }

    /// What a whole run is given.
    pub(crate) fn order(&self, run: RunId, generation: Generation, policy: Policy) -> RootOrder {
        let order = self.subtree(None, &NodePath::host_root(&self.tree.host), run, generation, policy);
        let nodes =
            self.paths().iter().zip(&self.nodes).map(|(path, node)| unseen(path, node.kind, generation)).collect();
        RootOrder { tree: self.tree.clone(), run, generation, policy, order, nodes }
    }

    fn subtree(
        &self,
        at: Option<usize>,
        path: &NodePath,
        run: RunId,
        generation: Generation,
        policy: Policy,
    ) -> OpaqueOrder {
        let own = at.map(|index| Own { machine: self.machine(index), configuration: self.configuration(index) });
        let children = (0..self.nodes.len()).filter(|&index| self.nodes[index].parent == at).map(|index| {
            let name = NodeName::parse(&self.nodes[index].name).unwrap();
            let place = path.child(&self.tree.manifest, &name).unwrap();
            ChildOrder {
                machine: self.machine(index),
                cloud_init: CloudInit::default(),
                token: Secret::new(format!("{TOKEN_MARK}.{place}.{generation}")),
                order: self.subtree(Some(index), &place, run, generation, policy),
                name,
            }
        });
        let order = Order {
            tree: self.tree.clone(),
            path: path.clone(),
            run,
            generation,
            policy,
            own,
            children: children.collect(),
        };
        OpaqueOrder::close(&order).unwrap()
    }

    fn configuration(&self, index: usize) -> Configuration {
        let Some(version) = self.nodes[index].spec else { return Configuration::Nothing };
        let name = SiteName::parse("base").unwrap();
        Configuration::Push(Spec { name, document: format!("{{\"version\":{version}}}") })
    }
}

/// Shapes of up to eight nodes: alone, in rows, in chains, in combs, wide below narrow and narrow below wide.
pub(crate) const SHAPES: [&str; 12] = [
    "a",
    "ab",
    "a(b)",
    "a(b)c",
    "a(bc)",
    "a(b(c))",
    "a(b)c(d)",
    "a(b(c(d)))",
    "a(b(c)d)e",
    "abcdef",
    "a(b(c(d(e(f)))))",
    "a(bc(de)f)g(h)",
];
