//! The JSON documents that programs read. Their keys are promises; new ones may be added.
//!
//! Times are RFC 3339 in UTC, durations seconds with three digits after the point.

mod orphans;
mod preflight;
mod secrets;
mod site;

use std::collections::BTreeMap;

use homestak_node::waiting::Layer;
use homestak_protocol::event::{Action, Phase, PhaseStatus, Status};
use homestak_protocol::fault::Fault;
use homestak_protocol::ids::RunId;
use homestak_protocol::order::NodeKind;
use serde::{Deserialize, Serialize};

pub use self::orphans::{OrphanDocument, OrphansDocument};
pub use self::preflight::{CheckDocument, CheckStatus, PreflightDocument};
pub use self::secrets::{DecryptedDocument, SecretsCheckDocument, SecretsSections, SecretsWrittenDocument};
pub use self::site::{ImportedNodeDocument, ImportedTokenDocument, SiteDocument};
use crate::api::RunVerb;

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// The stable code.
    pub code: String,
    /// What was wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The path of the node that it is about.
    pub node: Option<String>,
}

impl From<&Fault> for ErrorDocument {
    fn from(fault: &Fault) -> Self {
        Self {
            code: fault.code.as_str().into(),
            message: fault.message.clone(),
            hint: fault.hint.clone(),
            node: fault.node.as_ref().map(|path| path.as_str().into()),
        }
    }
}

/// A phase of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseDocument {
    /// Which.
    pub name: Phase,
    /// How it stands.
    pub status: PhaseStatus,
    /// Seconds; 0 while it is running.
    pub duration: f64,
    /// A word about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeDocument {
    /// Its name.
    pub name: String,
    /// Its place.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: NodeKind,
    /// The name of the node that carries it.
    pub parent: Option<String>,
    /// Levels of nodes above it.
    pub depth: u32,
    /// How it stands.
    pub status: Status,
    /// What was (in a plan: would be) done to its machine.
    pub action: Action,
    /// Its machine's id on its host.
    pub vm_id: Option<u32>,
    /// Its address.
    pub ip: Option<String>,
    /// Seconds from its first phase to its last.
    pub duration: Option<f64>,
    /// What went wrong.
    pub error: Option<ErrorDocument>,
    /// Whether nothing real was made or installed.
    pub simulated: bool,
    /// Its phases, in the order in which they began.
    pub phases: Vec<PhaseDocument>,
    /// `test` only: it was verified, and is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<bool>,
    /// `plan` only: the path of the host that must exist before more can be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_after: Option<String>,
    /// `plan` only: why its `action` is that, where it is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `plan` only, of a machine that would be made: where its image would come from. None where nothing real is made, or
    /// that could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_source: Option<Box<ImageSourceDocument>>,
    /// `plan` only: what it was resolved to; none of an orphan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Box<ResolvedDocument>>,
    /// While it is worked on: what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingDocument>,
    /// `status` only: whether its agent has a link to its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<bool>,
    /// `status` only: when its agent was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// `status` only: how it is no longer what its spec says, as its agent last found. None where nothing was found, or
    /// nobody looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftDocument>,
}

/// What a node waits for that is not ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitingDocument {
    /// Where it stands still: `provision`, `boot`, `cloud-init`, `joining`, `host`, `configure`, `forward`, `verify`, `destroy`.
    pub layer: Layer,
    /// Since when it has been in the phase that this layer is part of.
    pub since: String,
    /// How long that is; `status` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What whoever works on it said last: the last line of a task's log, what is seen of the machine. None where nothing
    /// was said yet.
    pub text: Option<String>,
}

/// How a node is no longer what its spec says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftDocument {
    /// How many of its resources are not as its spec has them.
    pub differences: u32,
    /// The first of them, a line each.
    pub lines: Vec<String>,
    /// When that was found.
    pub checked_at: String,
}

/// Where a machine's image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum ImageSourceDocument {
    /// It is on the machine's host.
    Volume {
        /// The host's place.
        host: String,
        /// The volume's id.
        volume: String,
    },
    /// It comes from a host above.
    Parent {
        /// That host's place.
        host: String,
        /// The volume's id there.
        volume: String,
    },
    /// The host fetches it from there.
    Url {
        /// The address.
        url: String,
    },
    /// Nobody has it.
    Missing,
}

/// What a node was resolved to, with what is secret masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedDocument {
    /// The image that its machine starts from.
    pub image: Option<String>,
    /// Virtual processors.
    pub cores: u32,
    /// MiB.
    pub memory: u64,
    /// GiB.
    pub disk: u64,
    /// The bridge that it is on.
    pub bridge: Option<String>,
    /// The spec that it becomes.
    pub spec: Option<String>,
    /// `push` or `pull`; none where there is nothing to configure.
    pub mode: Option<String>,
    /// Its provisioning token, masked.
    pub token: String,
    /// What its first boot is told.
    pub first_boot: FirstBootDocument,
}

/// What the first boot of a machine is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstBootDocument {
    /// The automation user.
    pub user: Option<String>,
    /// Its public keys: kind and comment of each.
    pub ssh_keys: Vec<String>,
    /// Root's password hash, masked; none where root has no password.
    pub root_password: Option<String>,
    /// What is installed.
    pub packages: Vec<String>,
    /// Its address with the length of its prefix; by DHCP where none.
    pub address: Option<String>,
    /// Its gateway.
    pub gateway: Option<String>,
    /// Its DNS servers.
    pub dns_servers: Vec<String>,
    /// Its domain.
    pub domain: Option<String>,
}

/// `apply`, `destroy`, `test`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunDocument {
    /// The verb.
    pub verb: RunVerb,
    /// The manifest.
    pub manifest: String,
    /// The host.
    pub host: String,
    /// The run; none where none was started.
    pub run: Option<RunId>,
    /// Whether all is as it was to be.
    pub success: bool,
    /// From the start to the end.
    pub duration_seconds: f64,
    /// In creation order: parents before children, breadth first, in the manifest's order.
    pub nodes: Vec<NodeDocument>,
    /// `{name}_vm_id` and `{name}_ip` of each node that has one.
    pub context: BTreeMap<String, serde_json::Value>,
    /// Where the report is.
    pub report: Option<String>,
    /// Why it failed.
    pub error: Option<ErrorDocument>,
}

impl RunDocument {
    /// The document of a run that was refused before it began.
    pub fn refused(verb: RunVerb, manifest: &str, host: &str, error: ErrorDocument) -> Self {
        Self {
            verb,
            manifest: manifest.into(),
            host: host.into(),
            run: None,
            success: false,
            duration_seconds: 0.0,
            nodes: Vec::new(),
            context: BTreeMap::new(),
            report: None,
            error: Some(error),
        }
    }

    /// The context of these nodes.
    pub fn context_of(nodes: &[NodeDocument]) -> BTreeMap<String, serde_json::Value> {
        let mut context = BTreeMap::new();
        for node in nodes {
            if let Some(id) = node.vm_id {
                context.insert(format!("{}_vm_id", node.name), id.into());
            }
            if let Some(ip) = &node.ip {
                context.insert(format!("{}_ip", node.name), ip.as_str().into());
            }
        }
        context
    }
}

/// `plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanDocument {
    /// Always `plan`.
    pub verb: String,
    /// The verb that is planned.
    pub plans: RunVerb,
    /// The manifest.
    pub manifest: String,
    /// The host.
    pub host: String,
    /// In creation order, with what would be done as `action`; orphans last.
    pub nodes: Vec<NodeDocument>,
    /// How many nodes would be made, changed or destroyed.
    pub changes: u32,
    /// What is worth knowing: defaults that were taken, limits that are tight.
    pub notes: Vec<String>,
    /// Always none: a plan that cannot be made is refused.
    pub error: Option<ErrorDocument>,
}

/// A problem of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticDocument {
    /// The stable code.
    pub code: String,
    /// `error` or `warning`.
    pub severity: String,
    /// What is wrong.
    pub message: String,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line itself; none where the file holds secrets.
    pub source: Option<ExcerptDocument>,
}

/// A line of a file, or the part of a long one around the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcerptDocument {
    /// The text, without control characters.
    pub text: String,
    /// How many characters of it stand before the place.
    pub before: usize,
    /// How many characters the place takes.
    pub width: usize,
}

/// `validate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidateDocument {
    /// Whether every manifest is.
    pub valid: bool,
    /// One for each that was asked about.
    pub manifests: Vec<ValidatedDocument>,
}

/// A manifest that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidatedDocument {
    /// Its name, or the file's where it has none.
    pub name: String,
    /// Whether it can be used.
    pub valid: bool,
    /// All that refuses it.
    pub errors: Vec<DiagnosticDocument>,
    /// What is probably not meant.
    pub warnings: Vec<DiagnosticDocument>,
    /// What is worth knowing, such as specs that were taken by default.
    pub notes: Vec<String>,
}

/// `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StatusDocument {
    /// Of one tree. A tree that is not on record has no nodes.
    Tree(Box<TreeDocument>),
    /// Of all recorded trees.
    Trees {
        /// By host, then manifest.
        trees: Vec<TreeDocument>,
    },
}

/// A recorded tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeDocument {
    /// The manifest.
    pub manifest: String,
    /// The host.
    pub host: String,
    /// Whether it is on record.
    pub recorded: bool,
    /// `running`, `ready`, `incomplete` (something failed or was given up), `unreachable` or `absent`.
    pub state: String,
    /// The last run, or the one in progress.
    pub run: Option<RunSummary>,
    /// In creation order.
    pub nodes: Vec<NodeDocument>,
    /// `{name}_vm_id` and `{name}_ip` of each node that has one.
    pub context: BTreeMap<String, serde_json::Value>,
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// The verb.
    pub verb: RunVerb,
    /// The manifest.
    pub manifest: String,
    /// The host.
    pub host: String,
    /// `running`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// From its start to its end, or until now.
    pub duration_seconds: f64,
    /// Why it failed.
    pub error: Option<ErrorDocument>,
}

/// `runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunsDocument {
    /// The latest first.
    pub runs: Vec<RunSummary>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, by the clock of whoever told it.
    pub at: String,
    /// The path of the node that it is about.
    pub path: String,
    /// Who told it: `path#journal`.
    pub origin: String,
    /// Its number there.
    pub seq: u64,
    /// `node`, `phase`, `settled` or `gap`.
    pub kind: String,
    /// What happened, in a line.
    pub text: String,
    /// Whether something went wrong.
    pub failure: bool,
}

/// `logs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogsDocument {
    /// The run.
    pub run: RunSummary,
    /// In the order in which they came here. Empty where they were sent one by one before, as `Log`s.
    pub lines: Vec<LogLine>,
}

/// `agents`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentsDocument {
    /// By path.
    pub agents: Vec<AgentDocument>,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentDocument {
    /// Its place.
    pub path: String,
    /// Its software version.
    pub version: String,
    /// The protocol that it speaks with its parent.
    pub protocol: u16,
    /// The address that its parent sees.
    pub address: String,
    /// Whether its parent has a link to it.
    pub connected: bool,
    /// When that last changed.
    pub since: String,
    /// When it was last heard of.
    pub last_seen: String,
    /// What it said of its machine when it joined.
    pub facts: FactsDocument,
}

/// What an agent knows of its machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactsDocument {
    /// Host name.
    pub hostname: String,
    /// Processors.
    pub cpu: u32,
    /// MiB.
    pub memory: u64,
    /// MiB available.
    pub memory_free: u64,
    /// GiB, of the file system with its state.
    pub disk: u64,
    /// GiB free there.
    pub disk_free: u64,
    /// Load average over one minute.
    pub load: f64,
    /// Kernel release.
    pub kernel: String,
    /// Operating system and version.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Whether machines inside it may run machines of their own.
    pub nested: bool,
}

/// `agents join`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinDocument {
    /// The host.
    pub host: String,
    /// What to run there.
    pub command: String,
    /// `https://host:port[,…]`.
    pub server: String,
    /// Good for one agent, once.
    pub token: String,
    /// `sha256:<hex>` of the coordinator's CA.
    pub ca: String,
}

/// `manifests list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestsDocument {
    /// By name.
    pub manifests: Vec<ManifestDocument>,
}

/// A manifest that can be named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestDocument {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// `site` or `built-in`.
    pub source: String,
    /// How many nodes.
    pub nodes: u32,
    /// How many levels of them.
    pub levels: u32,
}

/// `server status`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ServerDocument {
    /// Whether a daemon runs.
    pub running: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// Whether its endpoint answers.
    pub healthy: bool,
    /// The port of HTTPS and QUIC.
    pub port: Option<u16>,
    /// `https://…` on this machine.
    pub url: Option<String>,
    /// `sha256:<hex>` of its CA.
    pub ca: Option<String>,
    /// `sha256:<hex>` of the operator's own HTTPS certificate; none where the hub's is shown.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// The folder whose git work trees are served.
    #[serde(default)]
    pub repos: Option<String>,
    /// What their clients show: told by `server start` alone.
    #[serde(default)]
    pub repo_token: Option<String>,
    /// The state folder.
    pub state_dir: String,
    /// The unix socket.
    pub socket: String,
    /// The log file; none where it goes to a terminal or a service manager.
    pub log: Option<String>,
    /// The site: a path, or `demo`.
    pub site: Option<String>,
    /// The software version.
    pub version: Option<String>,
    /// The build.
    pub build: Option<String>,
    /// When it was started.
    pub started_at: Option<String>,
    /// Whether a command started it, so that it ends by itself.
    pub on_demand: Option<bool>,
    /// Recorded trees.
    pub trees: Option<u32>,
    /// Connected agents.
    pub agents: Option<u32>,
    /// Runs in progress.
    pub runs: Vec<RunId>,
    /// What is wrong, one line each: why it is not healthy, or a site that could not be read again.
    pub problems: Vec<String>,
}

/// `server backup`, `server restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDocument {
    /// The file.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When the copy was taken.
    pub taken_at: String,
    /// How many trees are in it.
    pub trees: u32,
}
