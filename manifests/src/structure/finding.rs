//! What is wrong with a tree, in words.

use super::{Defect, Link};
use crate::diagnostic::{Code, quote_key};

/// The most names of a cycle that are told.
const MAX_CYCLE_SHOWN: usize = 12;

/// What of a node a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Name,
    Parent,
    Vmid,
}

/// A defect in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    /// Index of the node.
    pub(crate) node: usize,
    pub(crate) at: At,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Finding {
    /// `place` says where another node stands, as in ` on line 7`.
    pub(crate) fn of(defect: &Defect, links: &[Link<'_>], place: impl Fn(usize) -> String) -> Self {
        let link = |node: usize| links.get(node);
        let name = |node| link(node).and_then(|link| link.name).map_or_else(|| format!("node {}", node + 1), quote_key);
        let parent = |node| link(node).and_then(|link| link.parent).map_or_else(String::new, quote_key);
        let (code, node, at, message, hint) = match *defect {
            Defect::Duplicate { node, first } => (
                Code::DuplicateNode,
                node,
                At::Name,
                format!("a second node {}", name(node)),
                format!("the first is{}; names are unique in a manifest", place(first)),
            ),
            Defect::UnknownParent { node } => (
                Code::UnknownParent,
                node,
                At::Parent,
                format!("node {}: its parent {} is not in the manifest", name(node), parent(node)),
                "name a node of this manifest, or leave `parent` out for a node on the host itself".into(),
            ),
            Defect::Cycle { ref nodes } => (
                Code::Cycle,
                nodes.first().copied().unwrap_or_default(),
                At::Parent,
                match nodes.as_slice() {
                    [only] => format!("node {} is its own parent", name(*only)),
                    _ => format!("nodes that are each other's parents: {}", ring(nodes, links)),
                },
                "remove `parent` from the one that is to stand on the host itself".into(),
            ),
            Defect::ParentNotPve { node, parent } => (
                Code::ParentNotPve,
                node,
                At::Parent,
                format!(
                    "node {}: its parent {} is of type {}, and only a `pve` node carries others",
                    name(node),
                    name(parent),
                    link(parent).and_then(|link| link.kind).map_or("?", |kind| kind.as_str())
                ),
                format!("make {} of type `pve`{}, or choose another parent", name(parent), place(parent)),
            ),
            Defect::TooDeep { node } => (
                Code::TooDeep,
                node,
                At::Parent,
                format!(
                    "node {} lies on level {}, and {} are carried at most",
                    name(node),
                    homestak_protocol::path::MAX_DEPTH + 1,
                    homestak_protocol::path::MAX_DEPTH
                ),
                "nest less deep: siblings on one host cost far less than levels".into(),
            ),
            Defect::VmidTaken { node, by, vmid } => (
                Code::VmidTaken,
                node,
                At::Vmid,
                format!("node {}: vmid {vmid} is taken by {} on the same host", name(node), name(by)),
                format!("{} is{}; give one of the two another vmid", name(by), place(by)),
            ),
            Defect::VmidOutOfRange { node } => (
                Code::OutOfRange,
                node,
                At::Vmid,
                format!("node {}: `vmid_base` plus its index {node} is no vmid", name(node)),
                "choose a lower `vmid_base`, or give the node a vmid".into(),
            ),
        };
        Self { code, node, at, message, hint }
    }
}

/// The names of a cycle as `a → b → a`, long ones shortened.
fn ring(nodes: &[usize], links: &[Link<'_>]) -> String {
    let name = |node: &usize| links.get(*node).and_then(|link| link.name).unwrap_or("?").to_owned();
    let mut names: Vec<String> = nodes.iter().take(MAX_CYCLE_SHOWN).map(name).collect();
    if nodes.len() > MAX_CYCLE_SHOWN {
        names.push(format!("… ({} nodes)", nodes.len()));
    }
    names.extend(nodes.first().map(name));
    names.join(" → ")
}
