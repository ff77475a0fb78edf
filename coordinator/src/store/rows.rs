//! What is kept of a run and of a tree.

use homestak_protocol::ids::{Generation, RunId};
use homestak_protocol::name::{HostName, ManifestName, SiteName};
use homestak_protocol::order::{Machine, NodeKind};
use homestak_protocol::path::NodePath;
use serde::{Deserialize, Serialize};

use crate::api::{RunRequest, RunVerb};
use crate::documents::{ErrorDocument, NodeDocument, RunDocument};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It goes on.
    Running,
    /// All is as it was to be.
    Succeeded,
    /// It is not.
    Failed,
    /// It was given up, on request or because its time was over.
    Cancelled,
}

impl RunState {
    /// As documents spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
        }
    }
}

/// Which way a run is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Building: the core has, or is to be given, the order of this generation.
    Up,
    /// Destroying what is on record: the core has, or is to be told, that word of this generation.
    Down,
    /// Destroying what this run has made and nothing else: as above.
    Back,
}

/// Why a run was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GivenUp {
    /// Somebody asked for it.
    Asked,
    /// Its time was over.
    OutOfTime,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// What it does.
    pub verb: RunVerb,
    /// The host.
    pub host: HostName,
    /// The manifest.
    pub manifest: ManifestName,
    /// How it stands.
    pub state: RunState,
    /// Which way it is going.
    pub stage: Stage,
    /// The generation that it is at.
    pub generation: Generation,
    /// Whether, and why, it is given up.
    pub given_up: Option<GivenUp>,
    /// What was asked; a manifest is in it as text, so that the run can go on after a restart.
    pub request: RunRequest,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it was over.
    pub ended_ms: Option<u64>,
    /// Why it failed, once it is over.
    pub error: Option<ErrorDocument>,
    /// `test`: what became of the building before it was destroyed again.
    pub verified: Option<Verified>,
    /// `test`: whether what was made is destroyed after a failure.
    pub cleanup_on_failure: bool,
    /// Its document, once it is over. Kept in a column of its own.
    #[serde(skip)]
    pub result: Option<Box<RunDocument>>,
}

/// What a test came to before it destroyed what it had made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// Its nodes.
    pub nodes: Vec<NodeDocument>,
    /// Why it failed; none where all was well.
    pub error: Option<ErrorDocument>,
}

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only of this host.
    pub host: Option<HostName>,
    /// Only of this manifest.
    pub manifest: Option<ManifestName>,
    /// Only those in progress.
    pub running: bool,
    /// How many at most; all where none.
    pub limit: Option<u32>,
}

/// A recorded tree: what was last ordered. How its nodes stand is the core's to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRow {
    /// The host.
    pub host: HostName,
    /// The manifest.
    pub manifest: ManifestName,
    /// The file that the manifest came from; none for one that was named.
    pub file: Option<String>,
    /// Every node, in creation order.
    pub nodes: Vec<PlannedNode>,
}

/// A node as it was ordered: what a later plan is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedNode {
    /// Its place.
    pub path: NodePath,
    /// What it is.
    pub kind: NodeKind,
    /// Its machine.
    pub machine: Machine,
    /// Its spec.
    pub spec: Option<SiteName>,
    /// SHA-256 of the resolved spec, in hex.
    pub spec_digest: Option<String>,
    /// Whether it fetches its spec.
    pub pull: bool,
    /// Whether the manifest no longer names it.
    pub orphaned: bool,
}
