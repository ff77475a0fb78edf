//! `HOMESTAK_LOCAL_LINKS`: for tests, another way from a child to its parent, such as a relay that loses packets.
//!
//! `PATH=HOST:PORT[,PATH=HOST:PORT...]`: the child at `PATH` is told `HOST:PORT` instead of its parent's addresses. Agents
//! read the same variable for their own children.

use std::collections::BTreeMap;

use homestak_protocol::path::NodePath;

/// The variable.
pub(super) const LINKS: &str = "HOMESTAK_LOCAL_LINKS";

/// Which children are sent elsewhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Links(BTreeMap<NodePath, Vec<String>>);

impl Links {
    pub(super) fn from_environment() -> Result<Self, String> {
        Self::parse(&std::env::var(LINKS).unwrap_or_default())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut links = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (path, to) = part.split_once('=').ok_or_else(|| format!("`{part}` is not PATH=HOST:PORT"))?;
            let path = NodePath::parse(path).map_err(|error| format!("`{path}`: {error}"))?;
            links.0.entry(path).or_default().push(to.to_owned());
        }
        Ok(links)
    }

    /// What the child at this place is told instead; none for most.
    pub(super) fn instead_for(&self, child: &NodePath) -> Option<Vec<String>> {
        self.0.get(child).cloned()
    }
}
