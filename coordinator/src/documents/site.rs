//! What `site import-node` prints.

use serde::{Deserialize, Serialize};

/// `site import-node`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedNodeDocument {
    /// The node, as the site calls it.
    pub node: String,
    /// The version of PVE on it.
    pub version: String,
    /// Its file.
    pub file: String,
    /// `created`, `replaced` or `unchanged`.
    pub action: String,
    /// The secrets file; none where the host has no API token.
    pub secrets: Option<ImportedTokenDocument>,
}

/// What became of its API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedTokenDocument {
    /// The secrets file.
    pub file: String,
    /// `plain`, `sops` or `age`.
    pub form: String,
    /// The token's name below `api_tokens`.
    pub api_token: String,
    /// `created`, `replaced` or `unchanged`.
    pub action: String,
}
