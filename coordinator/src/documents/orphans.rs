//! What no tree names any more, and is there.

use serde::{Deserialize, Serialize};

use super::ErrorDocument;

/// `orphans`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphansDocument {
    /// The hosts that have looked, by their places.
    pub hosts: Vec<String>,
    /// What they have that no recorded tree names.
    pub orphans: Vec<OrphanDocument>,
    /// Hosts that could not be asked, and what is left alone.
    pub notes: Vec<String>,
    /// Why it was not done.
    pub error: Option<ErrorDocument>,
}

/// A machine that no recorded tree names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanDocument {
    /// The place of the host that has it.
    pub host: String,
    /// The tree that it was made for, `HOST/MANIFEST`.
    pub tree: String,
    /// Its own place in that.
    pub path: String,
    /// Its id on its host.
    pub vm_id: Option<u32>,
    /// Whether it runs.
    pub running: bool,
    /// With `--destroy`: whether it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<bool>,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDocument>,
}
