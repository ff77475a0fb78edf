//! Who carries whom: whether nodes with names and parents make a tree, and the tree that they make.
//!
//! Works on names alone, so that the nodes of a file that has other mistakes are checked all the same.

mod finding;

use std::collections::HashMap;

use homestak_protocol::ids::Vmid;
use homestak_protocol::order::NodeKind;
use homestak_protocol::path::MAX_DEPTH;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

pub(crate) use self::finding::{At, Finding};

/// What of a node its place depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link<'a> {
    /// Its name; none where it could not be read.
    pub(crate) name: Option<&'a str>,
    /// What it is; none where it could not be read.
    pub(crate) kind: Option<NodeKind>,
    /// Its parent's name.
    pub(crate) parent: Option<&'a str>,
    /// Where its vmid comes from.
    pub(crate) vmid: VmidSource,
}

/// Where a node's vmid comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum VmidSource {
    /// Its author chose it.
    Chosen(Vmid),
    /// From the base, if there is one.
    Base,
    /// It could not be read.
    Unreadable,
}

/// Why nodes make no tree. Numbers are indices into the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Defect {
    Duplicate {
        node: usize,
        first: usize,
    },
    UnknownParent {
        node: usize,
    },
    /// In the order of parents, beginning with the one that stands first.
    Cycle {
        nodes: Vec<usize>,
    },
    ParentNotPve {
        node: usize,
        parent: usize,
    },
    TooDeep {
        node: usize,
    },
    VmidTaken {
        node: usize,
        by: usize,
        vmid: Vmid,
    },
    VmidOutOfRange {
        node: usize,
    },
}

/// The tree that nodes make, as far as they make one.
#[derive(Debug)]
pub(crate) struct Structure {
    /// Edges lead from parents to children; a node's index is its place in the file. Neighbours come in that order.
    pub(crate) graph: DiGraph<Seat, ()>,
    /// Nodes by level, parents before children, in the order of the file: the order of creation.
    pub(crate) order: Vec<usize>,
    /// What is wrong, by class.
    pub(crate) defects: Vec<Defect>,
}

/// A node's place in the tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    /// Index of the node that carries it.
    pub(crate) parent: Option<usize>,
    /// How many nodes are above it.
    pub(crate) depth: usize,
    /// Its id on its host, chosen or from the base.
    pub(crate) vmid: Option<Vmid>,
}

impl Structure {
    /// Builds the tree in time linear in the number of nodes.
    pub(crate) fn new(links: &[Link<'_>], vmid_base: Option<Vmid>) -> Self {
        let mut defects = Vec::new();
        let parents = parents(links, &mut defects);
        let mut graph = DiGraph::with_capacity(links.len(), links.len());
        for ((index, link), parent) in links.iter().enumerate().zip(&parents) {
            let vmid = vmid(link.vmid, vmid_base, index, &mut defects);
            graph.add_node(Seat { parent: *parent, depth: 0, vmid });
        }
        // petgraph yields the neighbours that were added last first.
        for (child, parent) in parents.iter().enumerate().rev() {
            if let Some(parent) = parent {
                graph.add_edge(NodeIndex::new(*parent), NodeIndex::new(child), ());
            }
        }
        cycles(&graph, &mut defects);
        let order = levels(&mut graph, &mut defects);
        vmids_on_one_host(links, &graph, &mut defects);
        Self { graph, order, defects }
    }
}

/// Each node's parent by index, none where there is none to be found.
fn parents(links: &[Link<'_>], defects: &mut Vec<Defect>) -> Vec<Option<usize>> {
    let mut by_name: HashMap<&str, usize> = HashMap::with_capacity(links.len());
    for (node, link) in links.iter().enumerate() {
        let Some(name) = link.name else { continue };
        let first = *by_name.entry(name).or_insert(node);
        if first != node {
            defects.push(Defect::Duplicate { node, first });
        }
    }
    let mut find = |(node, link): (usize, &Link<'_>)| {
        let Some(&parent) = by_name.get(link.parent?) else {
            defects.push(Defect::UnknownParent { node });
            return None;
        };
        let carries = links.get(parent).and_then(|link| link.kind).is_none_or(|kind| kind == NodeKind::Pve);
        if !carries && parent != node {
            defects.push(Defect::ParentNotPve { node, parent });
        }
        Some(parent)
    };
    links.iter().enumerate().map(&mut find).collect()
}

fn vmid(source: VmidSource, base: Option<Vmid>, index: usize, defects: &mut Vec<Defect>) -> Option<Vmid> {
    match source {
        VmidSource::Chosen(vmid) => Some(vmid),
        VmidSource::Unreadable => None,
        VmidSource::Base => {
            let base = base?.number();
            let vmid = u32::try_from(index).ok().and_then(|index| Vmid::new(base.checked_add(index)?));
            if vmid.is_none() {
                defects.push(Defect::VmidOutOfRange { node: index });
            }
            vmid
        }
    }
}

/// A node has one parent at most, so what is strongly connected is a single ring.
fn cycles(graph: &DiGraph<Seat, ()>, defects: &mut Vec<Defect>) {
    let parent = |node: usize| graph.node_weight(NodeIndex::new(node)).and_then(|seat| seat.parent);
    for component in kosaraju_scc(graph) {
        let Some(first) = component.iter().map(|index| index.index()).min() else { continue };
        if component.len() == 1 && parent(first) != Some(first) {
            continue;
        }
        let ring = std::iter::successors(Some(first), |node| parent(*node).filter(|next| *next != first));
        defects.push(Defect::Cycle { nodes: ring.take(component.len()).collect() });
    }
}

/// Walks the tree level by level, seats everybody at their depth and yields them in that order. What hangs on a cycle is
/// never reached.
fn levels(graph: &mut DiGraph<Seat, ()>, defects: &mut Vec<Defect>) -> Vec<usize> {
    let is_root = |index: &NodeIndex| graph.node_weight(*index).is_some_and(|seat| seat.parent.is_none());
    let mut order: Vec<NodeIndex> = graph.node_indices().filter(is_root).collect();
    let mut next = 0;
    while let Some(index) = order.get(next).copied() {
        next += 1;
        let depth = graph.node_weight(index).map_or(0, |seat| seat.depth);
        if depth == MAX_DEPTH {
            defects.push(Defect::TooDeep { node: index.index() });
        }
        let mut children = graph.neighbors(index).detach();
        while let Some(child) = children.next_node(graph) {
            if let Some(seat) = graph.node_weight_mut(child) {
                seat.depth = depth + 1;
            }
            order.push(child);
        }
    }
    order.into_iter().map(NodeIndex::index).collect()
}

fn vmids_on_one_host(links: &[Link<'_>], graph: &DiGraph<Seat, ()>, defects: &mut Vec<Defect>) {
    let mut taken: HashMap<(Option<&str>, Vmid), usize> = HashMap::with_capacity(links.len());
    for (node, (link, seat)) in links.iter().zip(graph.node_weights()).enumerate() {
        let Some(vmid) = seat.vmid else { continue };
        let by = *taken.entry((link.parent, vmid)).or_insert(node);
        if by != node {
            defects.push(Defect::VmidTaken { node, by, vmid });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links<'a>(of: &[(&'a str, Option<&'a str>)]) -> Vec<Link<'a>> {
        let link = |&(name, parent): &(&'a str, Option<&'a str>)| Link {
            name: Some(name),
            kind: Some(NodeKind::Pve),
            parent,
            vmid: VmidSource::Base,
        };
        of.iter().map(link).collect()
    }

    #[test]
    fn levels_come_in_the_order_of_the_file_children_first_or_not() {
        let links = links(&[("c", Some("b")), ("b", None), ("d", Some("b")), ("a", None), ("e", Some("a"))]);
        let structure = Structure::new(&links, None);
        assert_eq!(structure.defects, []);
        assert_eq!(structure.order, [1, 3, 0, 2, 4]);
    }

    #[test]
    fn each_cycle_is_told_once_and_what_hangs_on_it_is_not() {
        let of =
            [("a", Some("b")), ("b", Some("c")), ("c", Some("a")), ("x", Some("a")), ("me", Some("me")), ("ok", None)];
        let links = links(&of);
        let mut defects = Structure::new(&links, None).defects;
        defects.sort_by_key(|defect| format!("{defect:?}"));
        assert_eq!(defects, [Defect::Cycle { nodes: vec![0, 1, 2] }, Defect::Cycle { nodes: vec![4] }]);
    }

    #[test]
    fn a_chain_of_ten_thousand_is_refused_where_it_gets_too_deep_and_a_ring_of_them_is_found() {
        let names: Vec<String> = (0..10_000).map(|i| format!("n{i}")).collect();
        let mut of: Vec<(&str, Option<&str>)> = Vec::new();
        let mut parent = None;
        for name in &names {
            of.push((name, parent));
            parent = Some(name);
        }
        assert_eq!(Structure::new(&links(&of), None).defects, [Defect::TooDeep { node: MAX_DEPTH }]);
        of[0].1 = Some("n9999");
        let defects = Structure::new(&links(&of), None).defects;
        assert!(matches!(&defects[..], [Defect::Cycle { nodes }] if nodes.len() == 10_000));
    }

    #[test]
    fn a_vmid_from_the_base_is_checked_like_a_chosen_one() {
        let mut links = links(&[("a", None), ("b", None), ("c", Some("a"))]);
        links[0].vmid = VmidSource::Chosen(Vmid::new(201).unwrap());
        links[2].vmid = VmidSource::Chosen(Vmid::new(201).unwrap());
        let defects = Structure::new(&links, Vmid::new(200)).defects;
        assert_eq!(defects, [Defect::VmidTaken { node: 1, by: 0, vmid: Vmid::new(201).unwrap() }]);
        let defects = Structure::new(&links, Vmid::new(Vmid::MAX)).defects;
        assert_eq!(defects, [Defect::VmidOutOfRange { node: 1 }]);
    }
}
