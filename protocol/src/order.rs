//! Orders: a subtree with everything resolved that an agent needs to build and configure it.
//!
//! An order nests: each child's own order travels inside its parent's as bytes that only the child decodes, so a parent
//! of any age can carry what a newer child understands. Nothing here decides anything.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::extras::Extras;
use crate::ids::{Generation, RunId, Vmid};
use crate::name::{NodeName, SiteName};
use crate::path::{NodePath, TreeId};
use crate::secret::Secret;

/// The newest version of the bytes in an [`OpaqueOrder`] that this build reads: 1 is an [`Order`] alone, 2 an order and its
/// [`Extras`] as a JSON text. An order without extras is written as version 1, which every agent reads.
pub const ORDER_VERSION: u16 = 2;
/// An order alone.
const PLAIN: u16 = 1;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A KVM virtual machine.
    Vm,
    /// An LXC container.
    Ct,
    /// A virtual machine that is itself a Proxmox VE host.
    Pve,
}

impl NodeKind {
    /// As manifests spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            NodeKind::Vm => "vm",
            NodeKind::Ct => "ct",
            NodeKind::Pve => "pve",
        }
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the rest of a tree does when a node fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// Start nothing new, let what is in flight finish, leave what exists.
    #[default]
    Stop,
    /// Destroy, children first, what this run created and nothing that it found.
    Rollback,
    /// Skip the descendants of the failed node and go on.
    Continue,
}

impl OnError {
    /// As manifests and flags spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            OnError::Stop => "stop",
            OnError::Rollback => "rollback",
            OnError::Continue => "continue",
        }
    }
}

impl fmt::Display for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A length of time as it travels: whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// From whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// As the standard library's type.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// How long each phase of a node may take, retries included. Tiers and defaults are the earlier system's (Quick to Extended).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Making and starting the machine.
    pub provision: Millis,
    /// From its start until its agent has joined.
    pub boot: Millis,
    /// Becoming a host.
    pub host: Millis,
    /// Applying the spec.
    pub configure: Millis,
    /// Checking that the node is what its order says.
    pub verify: Millis,
    /// Destroying one machine.
    pub destroy: Millis,
    /// How long an agent whose machine is to be destroyed may be silent before the machine is destroyed whole.
    pub answer: Millis,
    /// How long an agent may be silent before its nodes count as unreachable.
    pub grace: Millis,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            provision: Millis::from_secs(300),
            boot: Millis::from_secs(300),
            host: Millis::from_secs(1200),
            configure: Millis::from_secs(600),
            verify: Millis::from_secs(60),
            destroy: Millis::from_secs(300),
            answer: Millis::from_secs(60),
            grace: Millis::from_secs(300),
        }
    }
}

/// How a run behaves, the same for the whole tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What a failure means for the rest.
    pub on_error: OnError,
    /// Destroy nodes that are recorded but no longer named.
    pub prune: bool,
    /// Check each node after it is configured.
    pub verify: bool,
    /// How many machines of one host are worked on at once; at least 1.
    pub parallel: u16,
    /// How often a retryable failure of one step is tried, the first time included; at least 1.
    pub attempts: u8,
    /// Time limits.
    pub limits: Limits,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on_error: OnError::Stop,
            prune: false,
            verify: false,
            parallel: 8,
            attempts: 5,
            limits: Limits::default(),
        }
    }
}

/// The machine of a node, as its parent's provider makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// What it is.
    pub kind: NodeKind,
    /// The image it starts from; a container may have none.
    pub image: Option<SiteName>,
    /// Virtual processors.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in GiB.
    pub disk_gib: u64,
    /// Its id on its host; assigned by the provider where none is given.
    pub vmid: Option<Vmid>,
    /// The bridge that its network device is on.
    pub bridge: Option<String>,
}

/// What cloud-init is told at the machine's first boot, besides its parent and token.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CloudInit {
    /// The automation user.
    pub user: Option<String>,
    /// Its SSH public keys.
    pub ssh_keys: Vec<String>,
    /// Root's password hash.
    pub root_password_hash: Option<Secret>,
    /// Packages to install at first boot.
    pub packages: Vec<String>,
    /// Address with prefix length, e.g. `192.0.2.7/24`; DHCP where none.
    pub address: Option<String>,
    /// Default gateway.
    pub gateway: Option<String>,
    /// DNS servers.
    pub dns_servers: Vec<String>,
    /// DNS domain.
    pub domain: Option<String>,
}

/// A resolved spec. The document is JSON in the structure that the spec endpoint serves, so that it can grow keys without
/// changing the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Its name in the site.
    pub name: SiteName,
    /// The resolved document.
    pub document: String,
}

/// Where a node's spec comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Configuration {
    /// There is nothing to configure.
    Nothing,
    /// The spec comes with the order.
    Push(Spec),
    /// The node fetches its spec from its parent's endpoint; this one is what the parent answers when nobody above does.
    Pull(Spec),
}

/// What an agent does to the machine that it runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// What the machine was made as; checked against the machine's facts by `verify`.
    pub machine: Machine,
    /// What it becomes.
    pub configuration: Configuration,
}

/// A child: the machine that the addressee makes, and the order that it then hands on unread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildOrder {
    /// Its name.
    pub name: NodeName,
    /// Its machine.
    pub machine: Machine,
    /// What its first boot is told.
    pub cloud_init: CloudInit,
    /// Its provisioning token.
    pub token: Secret,
    /// Its own order.
    pub order: OpaqueOrder,
}

/// A subtree, addressed to the agent at `path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The tree that it is part of.
    pub tree: TreeId,
    /// The addressee.
    pub path: NodePath,
    /// The run that it serves.
    pub run: RunId,
    /// Its generation; an older one is refused.
    pub generation: Generation,
    /// How the run behaves.
    pub policy: Policy,
    /// What the addressee does to itself; none for a host, which is not ours to change.
    pub own: Option<Own>,
    /// The machines of its level, in the manifest's order.
    pub children: Vec<ChildOrder>,
}

/// An order as bytes that only its addressee decodes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpaqueOrder {
    /// The version of the bytes.
    pub version: u16,
    #[serde(with = "plain_bytes")]
    bytes: Vec<u8>,
}

/// Why an opaque order cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Written by a newer coordinator than this agent knows.
    #[error("the order has version {0}, this agent reads up to {ORDER_VERSION}")]
    Version(u16),
    /// Not an order.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// An order, but what it says besides is not what belongs there.
    #[error("what the order says besides cannot be read: {0}")]
    Extras(String),
}

impl OpaqueOrder {
    /// Encodes an order for its addressee.
    pub fn close(order: &Order) -> Result<Self, CodecError> {
        Ok(Self { version: PLAIN, bytes: codec::encode(order)? })
    }

    /// The same with what there is to say besides.
    pub fn close_with(order: &Order, extras: &Extras) -> Result<Self, OrderError> {
        if extras.is_empty() {
            return Ok(Self::close(order)?);
        }
        let text = serde_json::to_string(extras).map_err(|error| OrderError::Extras(error.to_string()))?;
        Ok(Self { version: ORDER_VERSION, bytes: codec::encode(&(order, text))? })
    }

    /// Decodes it; for the addressee.
    pub fn open(&self) -> Result<Order, OrderError> {
        self.open_with().map(|(order, _)| order)
    }

    /// The same with what it says besides.
    pub fn open_with(&self) -> Result<(Order, Extras), OrderError> {
        match self.version {
            PLAIN => Ok((codec::decode(&self.bytes)?, Extras::default())),
            ORDER_VERSION => {
                let (order, text): (Order, String) = codec::decode(&self.bytes)?;
                let extras = serde_json::from_str(&text).map_err(|error| OrderError::Extras(error.to_string()))?;
                Ok((order, extras))
            }
            other => Err(OrderError::Version(other)),
        }
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for OpaqueOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpaqueOrder(v{}, {} bytes)", self.version, self.bytes.len())
    }
}

/// What a directive asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// Start nothing new; what is in flight finishes.
    Halt,
    /// Start nothing new and give up what is in flight; what exists stays.
    Cancel,
    /// Destroy what this run created.
    Rollback,
    /// Destroy the recorded tree. The only verb that brings a generation of its own.
    Destroy,
}

/// A word to everybody who holds a part of a tree, handed down from agent to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directive {
    /// The tree.
    pub tree: TreeId,
    /// The run that it serves.
    pub run: RunId,
    /// The generation that it is about.
    pub generation: Generation,
    /// What to do.
    pub verb: Verb,
    /// How the run behaves.
    pub policy: Policy,
    /// For [`Verb::Destroy`]: what the sender has on record directly below the addressee, for one that has lost its own
    /// record. Empty otherwise.
    pub recorded: Vec<Recorded>,
}

/// A machine as somebody else has it on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its place.
    pub path: NodePath,
    /// What it is.
    pub kind: NodeKind,
    /// Its id on its host.
    pub vmid: Option<Vmid>,
}

/// Bytes as one piece, not as a sequence of numbers.
mod plain_bytes {
    use std::fmt;

    use serde::de::Visitor;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
