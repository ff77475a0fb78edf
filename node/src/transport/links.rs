//! `HOMESTAK_LOCAL_LINKS`: for tests, another way from a child to its parent, such as a relay that loses packets.
//!
//! `PATH=HOST:PORT[,PATH=HOST:PORT...]`: the child at `PATH` is told `HOST:PORT` instead of its parent's addresses.

use std::collections::BTreeMap;

use homestak_protocol::path::NodePath;

/// The variable.
pub const LINKS: &str = "HOMESTAK_LOCAL_LINKS";

/// Which children are sent elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Links(BTreeMap<NodePath, Vec<String>>);

impl Links {
    /// Reads the variable; one that is not set sends nobody elsewhere.
    pub fn from_environment() -> Result<Self, String> {
        Self::parse(&std::env::var(LINKS).unwrap_or_default())
    }

    /// Parses the variable's value. A path that is named twice has two ways.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut links = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (path, to) = part.split_once('=').ok_or_else(|| format!("`{part}` is not PATH=HOST:PORT"))?;
            let path = NodePath::parse(path).map_err(|error| format!("`{path}`: {error}"))?;
            links.0.entry(path).or_default().push(to.to_owned());
        }
        Ok(links)
    }

    /// What the child at this place is told instead; none for most.
    pub fn instead_for(&self, child: &NodePath) -> Option<Vec<String>> {
        self.0.get(child).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_is_named_is_sent_elsewhere_and_no_other() {
        let links = Links::parse("local/m/a=127.0.0.1:7, local=127.0.0.1:8,local/m/a=127.0.0.1:9").unwrap();
        let of = |path| links.instead_for(&NodePath::parse(path).unwrap());
        assert_eq!(of("local/m/a").unwrap(), ["127.0.0.1:7", "127.0.0.1:9"]);
        assert_eq!(of("local").unwrap(), ["127.0.0.1:8"]);
        assert_eq!(of("local/m/b"), None);
        assert!(Links::parse("local/m/a").is_err() && Links::parse("../x=1:2").is_err());
    }
}
