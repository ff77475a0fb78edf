//! What `preflight` prints.

use serde::{Deserialize, Serialize};

/// `preflight`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreflightDocument {
    /// The host.
    pub host: String,
    /// Whether no check failed.
    pub passed: bool,
    /// Every check, in the order in which one needs another.
    pub checks: Vec<CheckDocument>,
    /// What an operator types on that host, as root, so that its agent may use the API; empty where it may.
    #[serde(default)]
    pub prepare: Vec<String>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDocument {
    /// What was looked at.
    pub name: String,
    /// What it came to.
    pub status: CheckStatus,
    /// What was seen.
    pub seen: String,
    /// What to do about it, where there is something to do.
    pub hint: Option<String>,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// All is well.
    Passed,
    /// The host cannot carry a tree like this.
    Failed,
    /// Something may go wrong.
    Warning,
    /// It does not matter here, or could not be looked at.
    Skipped,
}
