//! What a manifest says, once it is known to be one.
//!
//! What it means together — parents, order, depth, vmids from a base — is in [`crate::graph`].

use std::num::NonZeroU32;

use homestak_protocol::ids::Vmid;
use homestak_protocol::name::{ManifestName, NodeName, SiteName};
pub use homestak_protocol::order::{NodeKind, OnError};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// The schema version that is read and written.
pub const SCHEMA_VERSION: u32 = 2;

/// A tree of nodes. One that came from [`crate::parse()`] is sound: [`crate::Graph::new`] takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its name; with the host it names the tree.
    pub name: ManifestName,
    /// For people.
    pub description: Option<String>,
    /// The shape that its author had in mind; parents decide.
    pub pattern: Pattern,
    /// How nodes that don't say are configured.
    pub default_mode: Mode,
    /// How it is run.
    pub settings: Settings,
    /// The nodes, in the order of the file; at least one.
    pub nodes: Vec<Node>,
}

/// The shape of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// All nodes directly on the host.
    #[default]
    Flat,
    /// Nodes inside nodes.
    Tiered,
}

/// Who brings a node its spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It comes with the node's order.
    #[default]
    Push,
    /// The node fetches it from its parent.
    Pull,
}

/// How a manifest is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `test` checks that SSH answers on each node.
    pub verify_ssh: bool,
    /// `test` destroys what it made when a node has failed.
    pub cleanup_on_failure: bool,
    /// Seconds that each level adds to the time limits.
    pub timeout_buffer: u32,
    /// What a failure means for the rest of the tree.
    pub on_error: OnError,
    /// Nodes without a vmid get this plus their index in the manifest.
    pub vmid_base: Option<Vmid>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            verify_ssh: true,
            cleanup_on_failure: true,
            timeout_buffer: 60,
            on_error: OnError::Stop,
            vmid_base: None,
        }
    }
}

/// A machine of the tree, as its author wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, unique in the manifest, and its hostname.
    pub name: NodeName,
    /// What it is.
    pub kind: NodeKind,
    /// The spec that it becomes.
    pub spec: Option<SiteName>,
    /// The preset that sizes it.
    pub preset: Option<SiteName>,
    /// The image that it starts from; only a container may have none.
    pub image: Option<SiteName>,
    /// Its id on its host, where its author chose one.
    pub vmid: Option<Vmid>,
    /// Its disk in GiB, in place of the preset's.
    pub disk: Option<NonZeroU32>,
    /// The node that carries it; none for a node on the host itself.
    pub parent: Option<NodeName>,
    /// How it is configured, where its author said so.
    pub mode: Option<Mode>,
}

impl Pattern {
    /// As manifests spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Pattern::Flat => "flat",
            Pattern::Tiered => "tiered",
        }
    }
}

impl Mode {
    /// As manifests spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Push => "push",
            Mode::Pull => "pull",
        }
    }
}

impl Manifest {
    /// How a node is configured: as it says, else as the manifest says; a PVE host always by push.
    pub fn mode(&self, node: &Node) -> Mode {
        match node.kind {
            NodeKind::Pve => Mode::Push,
            NodeKind::Vm | NodeKind::Ct => node.mode.unwrap_or(self.default_mode),
        }
    }
}

/// The schema's own form, what is at its default left out.
impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Manifest", 7)?;
        out.serialize_field("schema_version", &SCHEMA_VERSION)?;
        out.serialize_field("name", &self.name)?;
        optional(&mut out, "description", self.description.as_ref())?;
        out.serialize_field("pattern", &self.pattern)?;
        let execution = DefaultExecution { default_mode: self.default_mode };
        optional(&mut out, "execution", (self.default_mode != Mode::default()).then_some(execution))?;
        optional(&mut out, "settings", (self.settings != Settings::default()).then_some(self.settings))?;
        out.serialize_field("nodes", &self.nodes)?;
        out.end()
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let usual = Self::default();
        let mut out = serializer.serialize_struct("Settings", 5)?;
        optional(&mut out, "verify_ssh", changed(self.verify_ssh, usual.verify_ssh))?;
        optional(&mut out, "cleanup_on_failure", changed(self.cleanup_on_failure, usual.cleanup_on_failure))?;
        optional(&mut out, "timeout_buffer", changed(self.timeout_buffer, usual.timeout_buffer))?;
        optional(&mut out, "on_error", changed(self.on_error, usual.on_error))?;
        optional(&mut out, "vmid_base", self.vmid_base)?;
        out.end()
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Node", 9)?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("type", &self.kind)?;
        optional(&mut out, "spec", self.spec.as_ref())?;
        optional(&mut out, "preset", self.preset.as_ref())?;
        optional(&mut out, "image", self.image.as_ref())?;
        optional(&mut out, "vmid", self.vmid)?;
        optional(&mut out, "disk", self.disk)?;
        optional(&mut out, "parent", self.parent.as_ref())?;
        optional(&mut out, "execution", self.mode.map(|mode| NodeExecution { mode }))?;
        out.end()
    }
}

#[derive(Serialize)]
struct DefaultExecution {
    default_mode: Mode,
}

#[derive(Serialize)]
struct NodeExecution {
    mode: Mode,
}

fn changed<T: PartialEq>(value: T, usual: T) -> Option<T> {
    (value != usual).then_some(value)
}

fn optional<S: SerializeStruct, T: Serialize>(
    out: &mut S,
    key: &'static str,
    value: Option<T>,
) -> Result<(), S::Error> {
    match value {
        Some(value) => out.serialize_field(key, &value),
        None => out.skip_field(key),
    }
}
