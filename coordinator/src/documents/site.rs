//! What `site` prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DiagnosticDocument;

/// `site check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteDocument {
    /// The folder, or `demo`.
    pub site: String,
    /// Whether it can be used.
    pub valid: bool,
    /// How many files there are, by the folder that they lie in; empty where the site cannot be used.
    pub files: BTreeMap<String, usize>,
    /// All that refuses it, file by file.
    pub errors: Vec<DiagnosticDocument>,
    /// What is probably not meant.
    pub warnings: Vec<DiagnosticDocument>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

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
