//! Whether a tree can stand where it is to stand: what carries machines must have room for them and let them run machines of
//! their own, and no two machines may be taken for one another.
//!
//! Pure. Each level is measured against the machine that carries it, the first one against what the host's agent has told
//! of the host. What cannot work is an error, what is tight a warning. Where machines are processes ([`Ground::firm`] says)
//! everything fits, and what would not elsewhere is worth a warning.

mod clash;
mod room;

use homestak_manifests::diagnostic::{Code, Severity};
use homestak_protocol::event::Facts;
use homestak_protocol::order::{Machine, NodeKind};
use homestak_protocol::path::NodePath;

use super::Resolved;

/// The most findings that are told; a tree of thousands of misfits has one cause.
const MAX_FINDINGS: usize = 20;

/// Where a tree is to stand.
#[derive(Debug, Default)]
pub struct Ground<'a> {
    /// What the host's agent has told of it.
    pub facts: Option<&'a Facts>,
    /// Whether machines take real room: not on `local`, and not where the host's kernel is none of PVE's.
    pub firm: bool,
    /// What others on the host have.
    pub others: Vec<Other>,
    /// Nodes of this tree that are there already: their room is taken from the host's already.
    pub there: Vec<NodePath>,
}

/// A machine of somebody else's: a host of the site, or a node of another recorded tree.
#[derive(Debug)]
pub struct Other {
    /// Who, as it is told.
    pub who: String,
    /// Its address.
    pub address: Option<String>,
    /// Its name on the host itself.
    pub name: Option<String>,
}

/// Something that does not fit, or hardly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of misfit.
    pub code: Code,
    /// Whether it refuses the tree.
    pub severity: Severity,
    /// The node that it is about: the one that carries, or one of those that clash.
    pub path: NodePath,
    /// What does not fit.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Finding {
    /// Whether it refuses the tree.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Everything that does not fit, the first [`MAX_FINDINGS`], errors first.
pub fn findings(resolved: &Resolved, host: &NodePath, ground: &Ground<'_>) -> Vec<Finding> {
    let mut found = Found { firm: ground.firm, all: Vec::new() };
    room::levels(resolved, &mut found);
    room::host(resolved, host, ground, &mut found);
    clash::within(resolved, &mut found);
    clash::with_others(resolved, ground, &mut found);
    let mut all = found.all;
    all.sort_by_key(|finding| !finding.is_error());
    all.truncate(MAX_FINDINGS);
    all
}

/// What was found by now.
struct Found {
    firm: bool,
    all: Vec<Finding>,
}

impl Found {
    /// What cannot work; where nothing is real, what could not elsewhere. The codes are those of either.
    fn misfit(&mut self, (error, warning): (Code, Code), path: &NodePath, message: String, hint: &str) {
        let (code, severity) = if self.firm { (error, Severity::Error) } else { (warning, Severity::Warning) };
        self.all.push(Finding { code, severity, path: path.clone(), message, hint: hint.into() });
    }

    fn tight(&mut self, code: Code, path: &NodePath, message: String, hint: &str) {
        self.all.push(Finding { code, severity: Severity::Warning, path: path.clone(), message, hint: hint.into() });
    }
}

/// Whether a machine is one that KVM runs.
fn is_virtual(machine: &Machine) -> bool {
    machine.kind != NodeKind::Ct
}

#[cfg(test)]
mod tests;
