//! A node's place: `father/n2-tiered/root-pve/edge` is host, manifest, then node in node.
//!
//! A path is what identity certificates name, what events come from and what orders are addressed to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::SiteId;
use crate::name::{HostName, ManifestName, NameError, NodeName};

/// The deepest nesting of nodes below a host. Each level of virtualization inside another costs a multiple of the one
/// above, and an order nests once a level: thirty-two is far past what hardware carries and far below what a stack holds.
pub const MAX_DEPTH: usize = 32;

/// How the coordinator's own place is written.
const COORDINATOR: &str = "@";

/// The place of a host (`father`) or of a node in a tree on it (`father/n2-tiered/root-pve`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodePath(Box<str>);

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// One of the names in it is not a name.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A manifest with no node: `father/n2-tiered` names a tree, not a place in it.
    #[error("a path is a host, or a host, a manifest and at least one node")]
    NoNode,
    /// Deeper than [`MAX_DEPTH`].
    #[error("a path has at most {MAX_DEPTH} levels of nodes, this one has {0}")]
    TooDeep(usize),
}

impl NodePath {
    /// Parses `host` or `host/manifest/node[/node…]`, or the coordinator's `@`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text == COORDINATOR {
            return Ok(Self::coordinator());
        }
        let mut parts = text.split('/');
        HostName::parse(parts.next().unwrap_or_default())?;
        if let Some(manifest) = parts.next() {
            ManifestName::parse(manifest)?;
            let mut depth = 0;
            for node in parts {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(PathError::TooDeep(depth));
                }
                NodeName::parse(node)?;
            }
            if depth == 0 {
                return Err(PathError::NoNode);
            }
        }
        Ok(Self(text.into()))
    }

    /// The place above all hosts. No host can be called like it.
    pub fn coordinator() -> Self {
        Self(COORDINATOR.into())
    }

    /// Whether this is the place above all hosts.
    pub fn is_coordinator(&self) -> bool {
        &*self.0 == COORDINATOR
    }

    /// Whether `child` is directly below this place.
    pub fn carries(&self, child: &NodePath) -> bool {
        match child.parent() {
            Some(parent) => parent == *self,
            None => self.is_coordinator() && !child.is_coordinator(),
        }
    }

    /// The place of a host itself.
    pub fn host_root(host: &HostName) -> Self {
        Self(host.as_str().into())
    }

    /// The path as text, the form in which it is shown, stored and sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The place of a node that this one carries. `manifest` counts only directly below a host; deeper, the path already
    /// holds it.
    pub fn child(&self, manifest: &ManifestName, node: &NodeName) -> Result<Self, PathError> {
        let depth = self.depth() + 1;
        if depth > MAX_DEPTH {
            return Err(PathError::TooDeep(depth));
        }
        let text = if self.is_host() { format!("{self}/{manifest}/{node}") } else { format!("{self}/{node}") };
        Ok(Self(text.into()))
    }

    /// The place that carries this one; none for a host, whose parent is the coordinator.
    pub fn parent(&self) -> Option<Self> {
        match self.depth() {
            0 => None,
            1 => Some(Self(self.host().into())),
            _ => self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into())),
        }
    }

    /// How many nodes deep: 0 for a host, 1 for a node directly on it.
    pub fn depth(&self) -> usize {
        self.0.split('/').count().saturating_sub(2)
    }

    /// Whether this is a host and not a node on one.
    pub fn is_host(&self) -> bool {
        !self.0.contains('/')
    }

    /// The first part.
    pub fn host(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The second part; none for a host.
    pub fn manifest(&self) -> Option<&str> {
        self.0.split('/').nth(1)
    }

    /// The last part: the node's own name, or the host's.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &NodePath) -> bool {
        if other.is_coordinator() {
            return true;
        }
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The direct child of `self` on the way to `below`, itself included; none where `below` is not underneath.
    pub fn step_towards(&self, below: &NodePath) -> Option<NodePath> {
        if self.is_coordinator() {
            return (!below.is_coordinator()).then(|| Self(below.host().into()));
        }
        let rest = below.0.strip_prefix(&*self.0)?.strip_prefix('/')?;
        let take = if self.is_host() { 2 } else { 1 };
        let step: Vec<&str> = rest.split('/').take(take).collect();
        Some(Self(format!("{self}/{}", step.join("/")).into()))
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for NodePath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for NodePath {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<NodePath> for String {
    fn from(path: NodePath) -> String {
        path.0.into()
    }
}

/// A tree: what generations, journals, runs and locks belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TreeId {
    /// The site whose configuration describes it.
    pub site: SiteId,
    /// The host that carries it.
    pub host: HostName,
    /// The manifest that names its nodes.
    pub manifest: ManifestName,
}

impl TreeId {
    /// Whether `path` is a place in this tree (the host itself is in every tree on it).
    pub fn holds(&self, path: &NodePath) -> bool {
        path.host() == self.host.as_str() && path.manifest().is_none_or(|m| m == self.manifest.as_str())
    }
}

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> NodePath {
        NodePath::parse(text).unwrap()
    }

    #[test]
    fn a_path_parses_into_its_parts_and_back() {
        let edge = path("father/n2-tiered/root-pve/edge");
        assert_eq!((edge.host(), edge.manifest(), edge.name(), edge.depth()), ("father", Some("n2-tiered"), "edge", 2));
        assert_eq!(edge.parent(), Some(path("father/n2-tiered/root-pve")));
        assert_eq!(path("father/n2-tiered/root-pve").parent(), Some(path("father")));
        assert_eq!(path("father").parent(), None);
    }

    #[test]
    fn a_child_and_its_parent_are_each_other() {
        let m = ManifestName::parse("m").unwrap();
        let (a, b) = (NodeName::parse("a").unwrap(), NodeName::parse("b").unwrap());
        let host = path("local");
        let first = host.child(&m, &a).unwrap();
        let second = first.child(&m, &b).unwrap();
        assert_eq!(second.as_str(), "local/m/a/b");
        assert_eq!(second.parent().unwrap(), first);
        assert_eq!(host.step_towards(&second), Some(first.clone()));
        assert_eq!(first.step_towards(&second), Some(second.clone()));
        assert_eq!(second.step_towards(&first), None);
    }

    #[test]
    fn a_path_that_climbs_or_hides_is_refused() {
        for bad in ["", "/", "a//b", "a/m", "a/m/", "a/m/../b", "a/m/b\0", "../m/b", "a/m/B", "a/m/b/"] {
            assert!(NodePath::parse(bad).is_err(), "{bad:?} must be refused");
        }
        let deep = format!("h/m/{}", vec!["n"; MAX_DEPTH + 1].join("/"));
        assert_eq!(NodePath::parse(&deep), Err(PathError::TooDeep(MAX_DEPTH + 1)));
    }

    #[test]
    fn the_coordinator_is_above_every_host_and_no_host() {
        let top = path("@");
        assert!(top.carries(&path("father")) && !top.carries(&path("father/m/a")) && !top.carries(&top));
        assert!(path("father").carries(&path("father/m/a")) && !path("father").carries(&path("father/m/a/b")));
        assert_eq!(top.step_towards(&path("father/m/a")), Some(path("father")));
        assert!(path("father/m/a").is_within(&top) && !top.is_within(&path("father")));
        assert!(HostName::parse("@").is_err());
    }

    #[test]
    fn within_is_about_parts_not_letters() {
        assert!(path("h/m/ab").is_within(&path("h/m/ab")));
        assert!(path("h/m/a/b").is_within(&path("h/m/a")));
        assert!(!path("h/m/ab").is_within(&path("h/m/a")));
        assert_eq!(path("h/m/a").step_towards(&path("h/m/ab/c")), None);
    }
}
